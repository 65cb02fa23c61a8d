"""Under which names the metrics are recorded that the script itself prints or sends to a logger.

A name belongs to whoever tells of it first: capture, a logger, or a printed line. One value often reaches several
loggers, so what another logger says under the name of the first is left out.
"""

from __future__ import annotations

from .nesting import Nesting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .session import Session

# What capture itself records; `evaluation.py` adds to it what it has named.
CURVES = {
    "train_loss", "learning_rate", "grad_norm", "gradient_noise_scale", "examples_per_second", "data_wait_share",
    "peak_memory_gib", "gpu_peak_memory_gib", "epoch",
}  # fmt: skip
_PRINTED = "a printed line"


sending = Nesting()
"""How many calls of loggers this thread is inside of: what a logger prints, and the loggers it calls, only repeat."""


class MetricNames:
    """The names of one session's metrics, and who told of them first."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._owners: dict[str, str] = {}
        self._logged: set[str] = set()  # in lower case, as printed names are

    def of_printed(self, name: str) -> str:
        """Returns the name under which a printed metric is recorded."""
        if self._is_captures(name) or name in self._logged:
            return f"printed.{name}"
        return name if self._owners.setdefault(name, _PRINTED) == _PRINTED else f"printed.{name}"

    def of_logged(self, name: str, logger: str) -> str | None:
        """Returns the name for a metric that a logger is sent, None where another logger has told of it."""
        if self._is_captures(name) or self._owners.setdefault(name, logger) == _PRINTED:
            name = f"logged.{name}"
        self._logged.add(name.lower())
        return name if self._owners.setdefault(name, logger) == logger else None

    def _is_captures(self, name: str) -> bool:
        training = self._live.training
        return name in CURVES and training is not None and training.begun
