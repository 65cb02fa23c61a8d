"""What kind of process this is."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OTHERS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
_JOB = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID")


def rank() -> int:
    """Returns the process's rank in a distributed job, as torchrun sets it; 0 outside one."""
    return _number("RANK", 0)


def world_size() -> int:
    """Returns how many processes train together, as torchrun sets it; 1 outside a distributed job."""
    return _number("WORLD_SIZE", 1)


def may_be_another_rank() -> bool:
    """Whether a launcher started this process as one of several alike that has no rank of torch's, or not yet.

    `srun` and `mpirun` number their processes, and the script makes ranks of the numbers or does not; a process of
    `multiprocessing` learns its rank from its arguments. Whether such a process trains, and as what, is seen at its
    first optimizer step.
    """
    if "RANK" in os.environ:
        return False
    return is_worker() or is_ray_worker() or any(_number(name, 0) > 0 for name in _OTHERS)


def is_worker() -> bool:
    """Whether `multiprocessing` started this process: a DataLoader's worker, or a rank of `mp.spawn`."""
    if "--multiprocessing-fork" in getattr(sys, "argv", ()):
        return True
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def is_ray_worker() -> bool:
    """Whether Ray started this process; what work it will get, its command line does not say."""
    return "RAY_RAYLET_PID" in os.environ


def place() -> dict[str, Any]:
    """Returns what a training process is in its job: rank, world size, which group of ranks, how often restarted.

    `group` tells the ranks of one job from those of another that runs at the same time; None for a process that
    trains by itself.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        own, size = int(distributed.get_rank()), int(distributed.get_world_size())
    else:
        own, size = rank(), world_size()
    names = [os.environ.get(name, "") for name in _JOB]
    parent = str(os.getppid()) if is_worker() else ""
    return {
        "rank": own,
        "world_size": size,
        "group": "/".join([*names, parent]) if size > 1 else None,
        "restart": _number("TORCHELASTIC_RESTART_COUNT", 0),
    }


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default


def own_script() -> bool:
    """Whether the main program is the user's, not an installed tool (torchrun, pip) that happens to run in the job.

    What a tool parses and prints says nothing of the training, so it opens no spool.
    """
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:  # python -c, a notebook
        return True
    folder = os.path.dirname(os.path.abspath(path))
    if "site-packages" in folder or "dist-packages" in folder:
        return False
    if os.path.basename(folder) == "bin" and not path.endswith(".py"):  # a console script
        return False
    return not folder.startswith(os.path.dirname(os.path.abspath(os.__file__)))
