"""What is known once the training begins: the configuration as it has become, and what it runs on."""

from __future__ import annotations

import sys
from typing import Any  # torch has imported it by now

from .redact import parameter
from .seeds import record_loader_seed
from .session import Session
from .settings import settings_of


class Beginning:
    """Records configurations when the first part of a training is made, the rest at its first optimizer step."""

    def __init__(self, training: Any) -> None:
        self._training = training
        settings_of(training.live).conclude()
        training.at_begin.add(self._first_step)

    def _first_step(self, _optimizer: Any, _number: int) -> None:
        training = self._training
        training.at_begin.remove(self._first_step)
        conclude(training.live)
        use = training.loaders.latest
        if use is not None and use.role == "training":
            record_loader_seed(training.live, use.loader())


def conclude(live: Session) -> None:
    """Records the configurations, and the arguments that no parser has told of; does nothing the second time."""
    settings = settings_of(live)
    settings.conclude()
    if settings.complete or not live.own_script or "kernel_launcher" in sys.argv[0]:
        return
    settings.complete = True
    from .arguments import plain_arguments

    values = plain_arguments(settings.left if settings.parsed else sys.argv[1:])
    fresh = {n: parameter(n, value) for n, value in values.items() if live.parameter(f"config.{n}") is None}
    live.params({f"cli.{name}": value for name, value in fresh.items()}, "argv", opens=False)
    scripts = {path for path in settings.paths if path.endswith(".py")}
    if scripts and not settings.parsed:
        from .configuration_files import variables_of_scripts

        found = variables_of_scripts(scripts)
        live.params({f"config.{n}": parameter(n, v) for n, v in found.items()}, "configuration", opens=False)
