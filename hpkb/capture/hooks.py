"""Puts every hook in place, once a process; each finds the session of the moment by itself."""

from __future__ import annotations

import sys

from .end import watch_end
from .imports import when_imported
from .output import watch_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from .session import Session

_WATCHED = {  # modules and what hooks them: a function of a module here
    "absl.flags._flagvalues": "parsers.watch_absl",
    "argparse": "arguments.watch_arguments",
    "click.core": "parsers.watch_click",
    "typer._click.core": "parsers.watch_click",
    "fire.core": "parsers.watch_fire",
    "jsonargparse": "parsers.watch_jsonargparse",
    "transformers.hf_argparser": "parsers.watch_transformers",
    "tyro": "parsers.watch_tyro",
    "hydra.compose": "omega.watch_compose",
    "hydra.core.utils": "omega.watch_hydra",
    "omegaconf.omegaconf": "omega.watch_omegaconf",
    "yaml": "configuration_files.watch_yaml",
    "toml": "configuration_files.watch_toml",
    "tomli": "configuration_files.watch_toml",
    "tomllib": "configuration_files.watch_toml",
    "torch.utils.tensorboard.writer": "loggers_tensorboard.watch_tensorboard",
    "tensorboardX.writer": "loggers_tensorboard.watch_tensorboard",
    "wandb.sdk.wandb_run": "loggers_wandb.watch_run",
    "wandb.sdk.lib.noop_run": "loggers_wandb.watch_disabled_run",
    "wandb.sdk.wandb_config": "loggers_wandb.watch_configuration",
    "mlflow.tracking.client": "loggers_mlflow.watch_client",
    "mlflow.tracking.fluent": "mlflow_run.watch_fluent",
    "accelerate.accelerator": "loggers_trainers.watch_accelerate",
    "transformers.trainer": "loggers_trainers.watch_trainer",
    "transformers.trainer_callback": "outcome.watch_trainer_end",
    "ray.train._internal.session": "loggers_ray.watch_report",
    "ray.train.v2.api.train_fn_utils": "loggers_ray.watch_report",
    "safetensors.torch": "checkpoints.watch_safetensors",
    "sklearn.model_selection": "splitting.watch_sklearn",
}
_WATCHED_LIGHTNING = {
    "{}.trainer.connectors.logger_connector.logger_connector": "loggers_trainers.watch_lightning_connector",
    "{}.core.mixins.hparams_mixin": "loggers_trainers.watch_lightning_hyperparameters",
    "{}.loggers.utilities": "loggers_trainers.watch_lightning_start",
    "{}.callbacks.early_stopping": "outcome.watch_lightning_stopping",
}
_WATCHED_FABRIC = {
    "{}.loggers.csv_logs": "loggers_trainers.watch_lightning_csv",
    "{}.plugins.io.torch_io": "checkpoints.watch_lightning_files",
}
for _name, _fabric in (("lightning.pytorch", "lightning.fabric"), ("pytorch_lightning", "lightning_fabric")):
    _WATCHED.update((path.format(_name), function) for path, function in _WATCHED_LIGHTNING.items())
    _WATCHED.update((path.format(_fabric), function) for path, function in _WATCHED_FABRIC.items())

_installed = False


def install(live: Session) -> None:
    """Hooks the end, the output, and argparse, random, numpy and torch as soon as the job imports them."""
    global _installed
    if _installed:
        return
    _installed = True
    watch_end()
    if live.rank:  # the first process of a distributed job speaks for all; the others tell of their hardware
        when_imported("torch", _on_torch_of_another_rank)
        return
    watch_output()
    if any(argument.endswith(".json") for argument in getattr(sys, "argv", ())):
        from .settings import settings_of

        settings_of(live)  # finds the file and hooks json, which is never imported for the first time after us
    live.closing.append(lambda: _conclude(live))
    when_imported("random", _on_random)
    when_imported("numpy.random", _on_numpy)
    when_imported("torch", _on_torch)
    for module, function in _WATCHED.items():
        when_imported(module, _Hook(function))


class _Hook:
    """Calls a function of a module here that is not imported before it is needed."""

    def __init__(self, function: str) -> None:
        self._module, _, self._function = function.partition(".")

    def __call__(self, module: ModuleType) -> None:
        from importlib import import_module

        getattr(import_module("." + self._module, __package__), self._function)(module)


def _on_torch_of_another_rank(module: ModuleType) -> None:
    from .ranks import watch_other_rank

    watch_other_rank(module)


def _conclude(live: Session) -> None:
    from .beginning import conclude

    conclude(live)


def _on_random(module: ModuleType) -> None:
    from .seeds import watch_seed

    watch_seed(module, "seed", "random")


def _on_numpy(module: ModuleType) -> None:
    from .seeds import watch_numpy

    watch_numpy(module)


def _on_torch(module: ModuleType) -> None:
    from .seeds import watch_seed
    from .torch_hooks import watch_torch

    watch_seed(module, "manual_seed", "torch")
    watch_torch(module)
