"""What the job runs on and from: processor, memory, GPUs, versions, and the state of the code.

`hardware` and `code` are for the supervisor, which may take its time; `of_process` adds what only the training
process knows.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_GIB = 1 << 30
_SECONDS = 10.0  # for nvidia-smi or git to answer


def hardware() -> dict[str, str]:
    """Returns tags `hpkb.hw.*`: processor, cores that may be used, memory in GiB, GPUs as nvidia-smi has them."""
    found = {**_gathered(_cpu), **_gathered(_memory), **_gathered(_gpus)}
    return {f"hpkb.hw.{name}": text for name, text in found.items() if text}


def code(cwd: str) -> dict[str, str]:
    """Returns tags `hpkb.code.*`: commit, branch, whether tracked files were changed; nothing outside a repository."""
    return {f"hpkb.code.{name}": text for name, text in _gathered(lambda: _git(str(cwd))).items() if text}


def of_process(torch: Any) -> dict[str, str]:
    """Returns tags `hpkb.env.*` and, where the job uses CUDA already, `hpkb.hw.gpu.*`; initialises nothing."""
    found = {"hpkb.env.python": ".".join(map(str, sys.version_info[:3])), "hpkb.env.torch": str(torch.__version__)}
    for name in ("numpy", "lightning", "transformers"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version:
            found[f"hpkb.env.{name}"] = str(version)
    found["hpkb.env.torch.threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        count = torch.cuda.device_count()
        found["hpkb.hw.gpu.name"] = _joined([torch.cuda.get_device_name(i) for i in range(count)])
        found["hpkb.hw.gpu.count"] = str(count)
        found["hpkb.env.cuda"] = str(torch.version.cuda)
    return found


def _gathered(gather: Callable[[], dict[str, str]]) -> dict[str, str]:
    try:
        return gather()
    except Exception:  # a fact that cannot be had is left out
        return {}


def _cpu() -> dict[str, str]:
    import platform

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    cores = float(allowed) if quota is None else min(float(allowed), quota)
    model = _line_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    return {"cpu.model": model, "cpu.cores": f"{cores:g}", "machine": platform.machine(), "system": platform.system()}


def _memory() -> dict[str, str]:
    total = int(_line_of("/proc/meminfo", "MemTotal").split()[0]) * 1024
    limit = _text("/sys/fs/cgroup/memory.max") or _text("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    if limit.isdigit():
        total = min(total, int(limit))
    return {"memory.gib": f"{total / _GIB:.1f}"}


def _gpus() -> dict[str, str]:
    lines = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.split(",")] for line in lines.splitlines() if line.count(",") == 2]
    if not rows:
        return {}
    return {
        "gpu.name": _joined([row[0] for row in rows]),
        "gpu.count": str(len(rows)),
        "gpu.memory.gib": f"{float(rows[0][1]) / 1024:.1f}",
        "gpu.driver": rows[0][2],
    }


def _git(cwd: str) -> dict[str, str]:
    commit = _output("git", "-C", cwd, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _output("git", "-C", cwd, "status", "--porcelain", "--untracked-files=no")
    branch = _output("git", "-C", cwd, "rev-parse", "--abbrev-ref", "HEAD")
    return {"commit": commit, "branch": branch, "dirty": "true" if changed else "false"}


def _output(*command: str) -> str:
    """Returns what a command prints, '' where it fails or is not there."""
    import subprocess

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cgroup_cores() -> float | None:
    """Returns the cores that the control group grants (`cpu.max`, or version 1's quota), None without a limit."""
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").partition(" ")
    if not quota:
        quota = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(quota) > 0 else None


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


def _joined(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))
