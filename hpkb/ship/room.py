"""The bound on the whole spool: what was delivered goes, the oldest first; what was not delivered never does."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from hpkb.capture.spool import size
from hpkb.ship.rundir import RunDir, all_runs

TOTAL = 10 << 30  # bytes of all run folders; HPKB_SPOOL_TOTAL sets another number
_ASKED = 60.0  # seconds in which its job may still look whether a run was delivered
_KEPT = 3600.0  # seconds that the folder of a delivered run is kept
_KEPT_TO_RESUME = 30 * 86_400.0  # and that of a run which did not finish: it may be resumed


def bound() -> int:
    """The bytes that the run folders may have in all."""
    return size(os.environ.get("HPKB_SPOOL_TOTAL"), TOTAL)


def make_room(root: Path) -> None:
    """Removes delivered runs that are old, and the oldest of the others until the spool is within its bound."""
    delivered, total = [], 0
    for run in all_runs(root):
        held = held_by(run.path)
        total += held
        if _delivered(run):
            delivered.append((run.created_at, held, run))
    for _, held, run in sorted(delivered, key=lambda one: one[0]):
        if ((total > bound() and _quiet_for(run) > _ASKED) or _old(run)) and _remove(run):
            total -= held


def undelivered(root: Path) -> tuple[int, int]:
    """How many runs are not delivered, and how many bytes they have."""
    sizes = [held_by(run.path) for run in all_runs(root) if not _delivered(run)]
    return len(sizes), sum(sizes)


def held_by(folder: Path) -> int:
    """The bytes of the files in a run folder."""
    total = 0
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):
                total += file.stat(follow_symlinks=False).st_size
    return total


def warning(root: Path) -> str:
    """What to tell where undelivered runs alone are more than the spool is to hold; nothing otherwise."""
    count, held = undelivered(root)
    if held <= bound():
        return ""
    return (f"{count} runs of {in_words(held)} are not shipped, more than the {in_words(bound())} of HPKB_SPOOL_TOTAL; "
            "nothing of them is removed.")  # fmt: skip


def in_words(size: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _delivered(run: RunDir) -> bool:
    """Whether MLflow has everything; whole curves that its artifacts did not take lie here as files."""
    with suppress(OSError):
        return run.finished and not run.to_ship() and not any(run.path.glob("*-curves.parquet"))
    return False


def _old(run: RunDir) -> bool:
    progress = run.progress()
    resumable = progress is not None and progress.status != "FINISHED"
    return _quiet_for(run) > (_KEPT_TO_RESUME if resumable else _KEPT)


def _quiet_for(run: RunDir) -> float:
    """For how many seconds nothing has come or gone in the folder."""
    with suppress(OSError):
        return time.time() - run.path.stat().st_mtime
    return 0.0


def _remove(run: RunDir) -> bool:
    """Whether the folder was removed: nobody works on it, and it is still delivered."""
    with suppress(OSError), run.lock() as alone:
        if alone and _delivered(run):
            shutil.rmtree(run.path, ignore_errors=True)
            return True
    return False
