"""What came of the training: from which step on its loss was no number, and whether and why it stopped early.

The best step is that of the lowest `val_loss`, or what a callback monitors: Lightning's EarlyStopping and the Hugging
Face Trainer say it, and whether they stopped the training. Without them a job is only said to have stopped early if
its settings have a patience, it ended well, it began fewer passes through its data than its settings ask for, and the
lowest `val_loss` is not the last.
"""

from __future__ import annotations

import sys
from typing import Any, Mapping, Optional  # torch has imported it by now

from .checkpoints import Checkpoints
from .end import outcome
from .passes import Courses
from .patch import call_after
from .session import Session

_EPOCHS = ("epochs", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs")
_PATIENCE = ("patience", "early_stopping_patience", "early_stop_patience", "early_stopping", "early_stop")
_STEPS = ("steps", "max_steps", "num_steps", "n_steps", "max_iters", "max_train_steps", "num_train_steps")


class Told:
    """What callbacks and the loading of states say of one session's training."""

    def __init__(self, _live: Session) -> None:
        self.best_step: Optional[int] = None
        self.stopped = False
        self.resumed = False
        self.model_loaded_at: Optional[int] = None


class Outcome:
    """Watches the losses of one training, and tells at its end."""

    def __init__(self, training: Any) -> None:
        self._live: Session = training.live
        self._diverged_at: Optional[int] = None
        self._lowest = float("inf")
        self._best_step: Optional[int] = None
        self._evaluated_at: Optional[int] = None
        self._live.after_points = self._recorded
        self._live.closing.append(self._conclude)

    def _recorded(self, step: int, values: Mapping[str, float]) -> bool:
        loss = values.get("train_loss")
        if loss is None:
            if "val_loss" in values:
                self._evaluated(step, values["val_loss"])
        elif loss - loss == 0.0:
            if self._diverged_at is not None:
                self._diverged_at = None
        elif self._diverged_at is None:
            self._diverged_at = step
        return self._diverged_at is not None

    def _evaluated(self, step: int, loss: float) -> None:
        self._evaluated_at = step
        if loss < self._lowest:
            self._lowest, self._best_step = loss, step

    def _conclude(self) -> None:
        told = self._live.part(Told)
        tags: dict[str, str] = {}
        if self._diverged_at is not None:
            tags["hpkb.end.nan_from_step"] = str(self._diverged_at)
        best = self._best_step if told.best_step is None else told.best_step
        if best is not None:
            tags["hpkb.end.best_step"] = str(best)
            if told.stopped or self._left_early(told):
                tags["hpkb.end.early_stopping"] = f"stopped at step {self._live.step}, best at {best}"
        restored = self._restored(told)
        if restored is not None:
            tags["hpkb.end.restored_step"] = str(restored)
        self._live.tags(tags)

    def _left_early(self, told: Told) -> bool:
        """Whether the job stopped by its own decision before it had made the passes that its settings ask for."""
        course = self._live.part(Courses).only()
        epochs = self._setting(_EPOCHS)
        if course is None or not isinstance(epochs, (int, float)) or told.resumed:
            return False
        if not self._setting(_PATIENCE) or self._setting(_STEPS) or self._best_step == self._evaluated_at:
            return False
        ended_well = outcome()[0] == "FINISHED" and sys.exc_info()[1] is None
        return ended_well and course.opened < epochs

    def _setting(self, names: tuple[str, ...]) -> Any:
        """Returns the value of the first of these that the job was given, None where it was given none."""
        found = (self._live.parameter(f"{prefix}.{name}") for prefix in ("cli", "config") for name in names)
        return next((value for value in found if value not in (None, "None", 0, -1, False)), None)

    def _restored(self, told: Told) -> Optional[int]:
        """Returns the step of the checkpoint that the model was set back to at its end; None where it was not."""
        read = self._live.part(Checkpoints).read
        if read is None or not self._live.step == told.model_loaded_at == read[1]:
            return None
        return read[0]


def watch_states(torch: Any) -> None:
    """Hooks the loading of a model's and of an optimizer's state."""
    call_after(torch.nn.Module, "load_state_dict", _model_loaded)
    call_after(torch.optim.Optimizer, "load_state_dict", _optimizer_loaded)


def watch_lightning_stopping(module: Any) -> None:
    """Hooks the check that Lightning's EarlyStopping makes after each evaluation."""
    call_after(module.EarlyStopping, "_run_early_stopping_check", _lightning_checked)


def watch_trainer_end(module: Any) -> None:
    """Hooks the event by which the Hugging Face Trainer ends."""
    call_after(module.CallbackHandler, "on_train_end", _trainer_ended)


def _model_loaded(live: Session, _result: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    live.part(Told).model_loaded_at = live.step


def _optimizer_loaded(live: Session, _result: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    if not live.step:
        live.part(Told).resumed = True


def _lightning_checked(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    callback, trainer = args[0], args[1] if len(args) > 1 else kwargs["trainer"]
    told = live.part(Told)
    if live.step and callback.wait_count == 0:
        told.best_step = live.step
    told.stopped = bool(trainer.should_stop)


def _trainer_ended(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    handler, state = args[0], args[2] if len(args) > 2 else kwargs["state"]
    told = live.part(Told)
    best = getattr(state, "best_global_step", None)
    if best:
        told.best_step = int(best)
    for callback in handler.callbacks:
        if type(callback).__name__ == "EarlyStoppingCallback":
            told.stopped = callback.early_stopping_patience_counter >= callback.early_stopping_patience
