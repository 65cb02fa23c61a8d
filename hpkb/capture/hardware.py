"""The machine, as a job on it may use it: processor, cores, memory, GPUs, and which machine of the group it is.

For the supervising process, which may take its time.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator

_GIB = 1 << 30


def hardware() -> dict[str, str]:
    """Returns tags `hpkb.hw.*`: processor, cores that may be used, memory in GiB, GPUs, a digest for the host."""
    found: dict[str, str] = {}
    for gather in (_cpu, _memory, _gpus, _host):
        found.update(_gathered(gather))
    return {f"hpkb.hw.{name}": text for name, text in found.items() if text}


def host_digest(salt: bytes, machine: str, node: str) -> str:
    """Returns 12 hexadecimal digits that stand for a machine and say nothing of it to who does not have the salt."""
    import hashlib

    return hashlib.blake2b(f"{machine}\n{node}".encode(), key=salt, digest_size=6).hexdigest()


def _gathered(gather: Callable[[], dict[str, str]]) -> dict[str, str]:
    try:
        return gather()
    except Exception:  # a fact that cannot be had is left out
        return {}


def _cpu() -> dict[str, str]:
    import platform

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min([float(allowed), *cgroup_cores()])
    model = _line_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    return {"cpu.model": model, "cpu.cores": f"{cores:g}", "machine": platform.machine(), "system": platform.system()}


def _memory() -> dict[str, str]:
    total = int(_line_of("/proc/meminfo", "MemTotal").split()[0]) * 1024
    return {"memory.gib": f"{min([total, *cgroup_memory()]) / _GIB:.1f}"}


def _gpus() -> dict[str, str]:
    from .nvml import facts

    return facts(os.environ)


def _host() -> dict[str, str]:
    from .salt import salt

    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    own = salt(os.path.join(state, "hpkb", "salt"))  # the user's
    machine = _text("/etc/machine-id") or _text("/var/lib/dbus/machine-id")
    node = os.environ.get("SLURMD_NODENAME") or os.environ.get("NODE_NAME") or os.uname().nodename
    return {"host": host_digest(own, machine, node)}


def cgroup_cores(root: str = "/") -> list[float]:
    """Returns the cores that each control group around this process grants."""
    found = []
    for folder in _cgroups(root, "cpu"):
        quota, _, period = _text(os.path.join(folder, "cpu.max")).partition(" ")
        if not quota:
            quota = _text(os.path.join(folder, "cpu.cfs_quota_us"))
            period = _text(os.path.join(folder, "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            found.append(int(quota) / int(period))
    return found


def cgroup_memory(root: str = "/") -> list[int]:
    """Returns the bytes that each control group around this process grants."""
    texts = [
        _text(os.path.join(folder, "memory.max")) or _text(os.path.join(folder, "memory.limit_in_bytes"))
        for folder in _cgroups(root, "memory")
    ]
    return [int(text) for text in texts if text.isdigit() and int(text)]


def _cgroups(root: str, controller: str) -> Iterator[str]:
    """Yields the folders of this process's control group and of those around it, as far as they are to be seen."""
    mounts = list(_mounts(root, controller))
    for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        unified = number == "0" and not controllers
        if not unified and controller not in controllers.split(","):
            continue
        for kind, mounted_root, folder in mounts:
            if (kind == "cgroup2") != unified:
                continue
            inside = os.path.relpath(path, mounted_root) if path.startswith(mounted_root) else path.lstrip("/")
            parts = [] if inside == "." else inside.split("/")
            for length in range(len(parts), -1, -1):
                yield os.path.join(root, folder.lstrip("/"), *parts[:length])


def _mounts(root: str, controller: str) -> Iterator[tuple[str, str, str]]:
    """Yields (kind, which part of the hierarchy, where) of the mounted control groups that may have the controller."""
    for line in _text(os.path.join(root, "proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        kind, options = kinds[0], kinds[-1].split(",")
        if len(fields) > 4 and (kind == "cgroup2" or (kind == "cgroup" and controller in options)):
            yield kind, fields[3], fields[4]


def _line_of(path: str, key: str) -> str:
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
