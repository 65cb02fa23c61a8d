/* A management library for two GPUs that draw 100 W and 200 W each second of the clock; NVML_LACKS=energy hides the counters. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <stdio.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct { u64 total, free, used; } memory_t;
typedef struct { u32 gpu, memory; } utilization_t;

static int lacks(const char *what) {
    const char *missing = getenv("NVML_LACKS");
    return missing != NULL && strstr(missing, what) != NULL;
}

static u64 index_of(void *device) { return (u64)device - 1; }

int nvmlInit_v2(void) { return lacks("driver") ? 9 : 0; }
int nvmlDeviceGetCount_v2(u32 *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **device) { *device = (void *)(u64)(index + 1); return index < 2 ? 0 : 2; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { *device = (void *)1; return strncmp(uuid, "MIG-", 4) ? 2 : 0; }

int nvmlDeviceGetName(void *device, char *name, u32 length) {
    snprintf(name, length, "%s", lacks("uniformity") && index_of(device) ? "Other GPU" : "Test GPU");
    return 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, u32 length) { snprintf(uuid, length, "GPU-%llu000", index_of(device) + 7); return 0; }
int nvmlSystemGetDriverVersion(char *version, u32 length) { snprintf(version, length, "570.1"); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return 0; }

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    memory->total = 80ull << 30;
    memory->used = (index_of(device) + 1) << 30;
    memory->free = memory->total - memory->used;
    return 0;
}
int nvmlDeviceGetPowerUsage(void *device, u32 *milliwatts) { *milliwatts = 100000 * (index_of(device) + 1); return 0; }
int nvmlDeviceGetEnforcedPowerLimit(void *device, u32 *milliwatts) { (void)device; *milliwatts = 700000; return 0; }
int nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) { rates->gpu = 50 * (index_of(device) + 1); rates->memory = 1; return 0; }
int nvmlDeviceGetMigMode(void *device, u32 *now, u32 *pending) { (void)device; *now = 0; *pending = 0; return lacks("mig") ? 3 : 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, u64 *millijoules) {
    struct timespec t;
    if (lacks("energy")) return 3;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *millijoules = (u64)((t.tv_sec * 1000.0 + t.tv_nsec / 1e6) * 100 * (index_of(device) + 1));
    return 0;
}
