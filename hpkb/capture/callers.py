"""Who calls: the job's own code, or a library that goes about its own business."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection

_CAPTURE = __name__.rpartition(".")[0]
_BETWEEN = ("torch._compile", "torch._dynamo.eval_frame")  # through them torch calls functions that it may not compile
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))


def installed(path: str | None) -> bool:
    """Whether the file is a part of an installed package or of Python itself."""
    if not path or path.startswith("<frozen"):
        return bool(path)
    folder = os.path.dirname(os.path.abspath(path))
    return "site-packages" in folder or "dist-packages" in folder or folder.startswith(_LIBRARY)


def called_by_job(through: Collection[str]) -> bool:
    """Whether the job's code called us by way of the packages `through`, the packages of capture not counted."""
    frame = sys._getframe(1)
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    own = ("__main__", spec.name.partition(".")[0]) if spec is not None else ("__main__",)  # python -m own.train
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        package = module.partition(".")[0]
        if package in own:
            return True
        if module.rpartition(".")[0] != _CAPTURE and package not in through and module not in _BETWEEN:
            return not installed(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return False
