"""The parts of capture that look at a training beside its losses and rates, each in a module of its own.

Every one is a class that is made once with the session's `Training` and subscribes to what it needs of it:
`training.at_begin`, `before_backward`, `after_backward`, `after_step`, and `training.live.closing` for the end. It may
also have a function `watch_...(torch)` that `torch_hooks.py` calls once, right after torch was imported.
"""

from __future__ import annotations

from typing import Any, Callable  # torch has imported it by now

from .beginning import Beginning
from .evaluation import Evaluation
from .gradients import Gradients
from .model import Model
from .outcome import Outcome
from .regularization import Regularization
from .resumed import Resumption
from .throughput import Throughput

FEATURES: tuple[Callable[[Any], Any], ...] = (
    Beginning, Evaluation, Gradients, Regularization, Model, Outcome, Throughput, Resumption,
)  # fmt: skip
