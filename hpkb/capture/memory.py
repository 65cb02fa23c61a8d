"""The memory that a process has had, and whether the kernel has killed for want of it. Standard library only."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GIB = 1 << 30


def peak_gib() -> float | None:
    """Returns the most memory that this process has had resident at once, in GiB.

    Linux says it in `VmHWM`. `ru_maxrss` is only for systems without that: it begins at what the parent process had,
    where that was more.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / _GIB
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB


def gpu_peak_gib(torch: Any) -> float | None:
    """Returns the most memory that torch has had allocated on one GPU, in GiB; None where it uses none.

    The allocator knows it, so that no GPU is waited for.
    """
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    most = max((int(torch.cuda.max_memory_allocated(i)) for i in range(torch.cuda.device_count())), default=0)
    return most / _GIB if most else None


def oom_kills() -> int | None:
    """Returns how many processes of this control group the kernel has killed for want of memory so far.

    A supervisor asks before it starts a job, and again when SIGKILL has ended it: a larger number says why, since the
    kernel counts before it kills. None where no control group says it.
    """
    for path in _event_files():
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        except (OSError, ValueError):
            continue
    return None


def _event_files() -> list[str]:
    """Returns the files that may hold the count, of version 2 of control groups and of version 1."""
    files = []
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if not controllers:
                    files.append(f"/sys/fs/cgroup{path.rstrip('/')}/memory.events")
                elif "memory" in controllers.split(","):
                    files.append(f"/sys/fs/cgroup/memory{path.rstrip('/')}/memory.oom_control")
    except (OSError, ValueError):
        pass
    return [*files, "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]
