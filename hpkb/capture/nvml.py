"""NVIDIA's management library through ctypes: which GPUs a job may use, and what they draw while it runs.

For the supervising process: nothing here belongs into the training. Every function returns less rather than raise
where the library, a device or one of its sensors is not there.
"""

from __future__ import annotations

import ctypes
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

_LIBRARIES = ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
_GIB = 1 << 30


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class Library:
    """The library, initialised; raises OSError where there is none."""

    def __init__(self) -> None:
        self._functions = _loaded()
        if self.call("nvmlInit_v2") is None:
            raise OSError("the NVIDIA driver does not answer")

    def call(self, function: str, *arguments: Any) -> int | None:
        """Returns 0, or None where the function failed or the driver does not have it."""
        try:
            return 0 if getattr(self._functions, function)(*arguments) == 0 else None
        except AttributeError:
            return None

    def text(self, function: str, *arguments: Any) -> str:
        """Returns what the function writes into a buffer, '' where it fails."""
        buffer = ctypes.create_string_buffer(96)
        done = self.call(function, *arguments, buffer, ctypes.c_uint(96))
        return "" if done is None else buffer.value.decode("utf-8", "replace")

    def number(self, function: str, *arguments: Any, kind: Any = ctypes.c_uint) -> int | None:
        """Returns the number that the function writes, None where it fails."""
        result = kind()
        return None if self.call(function, *arguments, ctypes.byref(result)) is None else int(result.value)


class Device:
    """One GPU, or one MIG instance of one."""

    def __init__(self, library: Library, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle
        self.name = library.text("nvmlDeviceGetName", handle)
        self.uuid = library.text("nvmlDeviceGetUUID", handle)

    def memory_gib(self) -> tuple[float, float] | None:
        """Returns (all, used)."""
        memory = _Memory()
        done = self._library.call("nvmlDeviceGetMemoryInfo", self._handle, ctypes.byref(memory))
        return None if done is None else (memory.total / _GIB, memory.used / _GIB)

    def power_watts(self) -> float | None:
        """Returns what it draws now."""
        return _thousandth(self._library.number("nvmlDeviceGetPowerUsage", self._handle))

    def power_limit_watts(self) -> float | None:
        """Returns what it may draw."""
        return _thousandth(self._library.number("nvmlDeviceGetEnforcedPowerLimit", self._handle))

    def energy_joules(self) -> float | None:
        """Returns what it has drawn since the driver was loaded."""
        function = "nvmlDeviceGetTotalEnergyConsumption"
        return _thousandth(self._library.number(function, self._handle, kind=ctypes.c_ulonglong))

    def utilization(self) -> float | None:
        """Returns the share of the last moments in which it computed, 0 to 1."""
        rates = _Utilization()
        done = self._library.call("nvmlDeviceGetUtilizationRates", self._handle, ctypes.byref(rates))
        return None if done is None else rates.gpu / 100

    def mig(self) -> bool | None:
        """Returns whether the GPU is divided into instances, None where it cannot be."""
        pending = ctypes.c_uint()
        now = ctypes.c_uint()
        done = self._library.call("nvmlDeviceGetMigMode", self._handle, ctypes.byref(now), ctypes.byref(pending))
        return None if done is None else bool(now.value)


def visible(library: Library, environ: Mapping[str, str]) -> list[Device]:
    """Returns the GPUs of `CUDA_VISIBLE_DEVICES`, all without it; none where it cannot be told which they are.

    CUDA counts the fastest GPU first, NVML by the bus: a number is unambiguous where all are of one kind or
    `CUDA_DEVICE_ORDER=PCI_BUS_ID` is set.
    """
    every = _all(library)
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return every
    same = len({device.name for device in every}) == 1 or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    found = []
    for name in (part.strip() for part in chosen.split(",")):
        device = _named(library, every, name, same)
        if device is None:  # CUDA takes those before the first that is not there
            break
        found.append(device)
    return found


def facts(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns name, number, memory, driver, power limit and MIG mode of the visible GPUs; nothing without any."""
    try:
        library = Library()
    except OSError:
        return {}
    devices = visible(library, environ)
    if not devices:
        return {}
    cuda = library.number("nvmlSystemGetCudaDriverVersion_v2", kind=ctypes.c_int) or 0
    found = {
        "gpu.name": _joined(device.name for device in devices),
        "gpu.count": str(len(devices)),
        "gpu.memory.gib": _joined(f"{memory[0]:.1f}" for memory in (d.memory_gib() for d in devices) if memory),
        "gpu.driver": library.text("nvmlSystemGetDriverVersion"),
        "gpu.driver.cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        "gpu.power_limit_watts": _joined(f"{w:g}" for w in (d.power_limit_watts() for d in devices) if w is not None),
        "gpu.mig": _joined(str(mig).lower() for mig in (d.mig() for d in devices) if mig is not None),
    }
    return {name: text for name, text in found.items() if text}


class Sampler:
    """What the visible GPUs do from its making on; raises OSError where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._devices = visible(Library(), environ)
        if not self._devices:
            raise OSError("no GPU is visible")
        self._counted = [device.energy_joules() for device in self._devices]
        self._integrated = [0.0] * len(self._devices)
        self._last: list[float | None] = [None] * len(self._devices)
        self._at = time.monotonic()

    def sample(self) -> dict[str, float]:
        """Returns power (the sum), utilisation (the mean), memory (the largest) now; of several GPUs each as well."""
        powers = [device.power_watts() for device in self._devices]
        self._integrate(powers)
        memories = [device.memory_gib() for device in self._devices]
        used = [memory[1] if memory else None for memory in memories]
        shares = [device.utilization() for device in self._devices]
        return {
            **_summarised("gpu_power_watts", powers, sum),
            **_summarised("gpu_utilization", shares, lambda known: sum(known) / len(known)),
            **_summarised("gpu_memory_used_gib", used, max),
        }

    def totals(self) -> dict[str, str]:
        """Returns the energy since the beginning as tags: of the GPUs' own counters, else integrated from samples."""
        self._integrate([device.power_watts() for device in self._devices])
        joules: list[float | None] = []
        for device, before, integrated in zip(self._devices, self._counted, self._integrated):
            now = device.energy_joules()
            counted = None if now is None or before is None or now < before else now - before
            joules.append(counted if counted is not None else integrated or None)
        if None in joules:
            return {}
        found = {"hpkb.energy_joules": f"{sum(j for j in joules if j is not None):.1f}"}
        if len(joules) > 1:
            found.update({f"hpkb.energy_joules.gpu{i}": f"{value:.1f}" for i, value in enumerate(joules)})
        return found

    def _integrate(self, powers: list[float | None]) -> None:
        now = time.monotonic()
        for i, (before, power) in enumerate(zip(self._last, powers)):
            if power is not None:
                self._integrated[i] += (power if before is None else (power + before) / 2) * (now - self._at)
        self._last, self._at = powers, now


def _loaded() -> Any:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError("there is no NVIDIA driver")


def _all(library: Library) -> list[Device]:
    found = []
    for index in range(library.number("nvmlDeviceGetCount_v2") or 0):
        handle = ctypes.c_void_p()
        if library.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)) is not None:
            found.append(Device(library, handle))
    return found


def _named(library: Library, every: list[Device], name: str, numbers_are_clear: bool) -> Device | None:
    if name.isdigit():
        return every[int(name)] if int(name) < len(every) and numbers_are_clear else None
    if name.startswith("GPU-"):
        matching = [device for device in every if device.uuid.startswith(name)]
        return matching[0] if len(matching) == 1 else None
    handle = ctypes.c_void_p()
    done = library.call("nvmlDeviceGetHandleByUUID", name.encode(), ctypes.byref(handle)) if name else None
    return None if done is None else Device(library, handle)


def _summarised(name: str, values: list[float | None], summary: Any) -> dict[str, float]:
    if None in values:
        return {}
    each = {f"{name}.{i}": value for i, value in enumerate(values) if value is not None}
    return {name: float(summary(list(each.values()))), **(each if len(each) > 1 else {})}


def _thousandth(number: int | None) -> float | None:
    return None if number is None else number / 1000


def _joined(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))
