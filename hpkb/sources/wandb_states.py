"""What W&B calls the state of a run, as a status."""

from __future__ import annotations

_STATES = {
    "finished": "FINISHED", "failed": "FAILED", "crashed": "KILLED", "killed": "KILLED", "preempted": "KILLED",
    "preempting": "RUNNING", "running": "RUNNING", "pending": "SCHEDULED",
}  # fmt: skip
_INTERRUPTED = 255  # what wandb makes of a KeyboardInterrupt


def of_state(state: str) -> tuple[str, str | None]:
    """Returns the status that a state of W&B's stands for, and the reason of the end where the state says more."""
    known = state.strip().lower()
    status = _STATES.get(known, state.strip().upper())
    return status, known if status == "KILLED" else None


def of_exit(code: int) -> tuple[str, str | None]:
    """Returns the status of a run that ended with this exit code, and the reason of the end."""
    if code == 0:
        return "FINISHED", None
    if code == _INTERRUPTED:
        return "KILLED", "interrupted"
    return "FAILED", f"exit code {code}"
