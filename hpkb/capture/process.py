"""What kind of process this is."""

from __future__ import annotations

import os
import sys


def rank() -> int:
    """Returns the process's rank in a distributed job, as torchrun sets it; 0 outside one."""
    text = os.environ.get("RANK", "0")
    return int(text) if text.isdigit() else 0


def world_size() -> int:
    """Returns how many processes train together, as torchrun sets it; 1 outside a distributed job."""
    text = os.environ.get("WORLD_SIZE", "1")
    return int(text) if text.isdigit() else 1


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
