"""Lightning, accelerate and the Hugging Face Trainer: what they log, also where they have no logger to log to."""

from __future__ import annotations

from .checkpoints import watch_accelerate_states, watch_trainer_folders
from .loggers import argument, nothing, record_configuration, record_metrics, watch_logger
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def watch_lightning_connector(module: Any) -> None:
    """Hooks the one place through which a LightningModule's logged values go to its loggers, if there are any."""
    owner = getattr(module, "_LoggerConnector", None) or module.LoggerConnector
    watch_logger(owner, "log_metrics", _lightning_metrics)


def watch_lightning_hyperparameters(module: Any) -> None:
    """Hooks what `save_hyperparameters` ends in; that itself looks at its caller's frame and is left alone."""
    watch_logger(module.HyperparametersMixin, "_set_hparams", _lightning_hyperparameters)


def watch_lightning_start(module: Any) -> None:
    """Keeps silent what loggers are told before a training of Lightning begins: placeholders of metrics to come."""
    watch_logger(module, "_log_hyperparams", nothing)


def watch_lightning_csv(module: Any) -> None:
    """Hooks the CSV logger, which some modules call by themselves."""
    watch_logger(module.CSVLogger, "log_metrics", _lightning_metrics)


def watch_accelerate(module: Any) -> None:
    """Hooks `Accelerator.log` and `init_trackers`, and the states that it saves."""
    watch_accelerate_states(module)
    watch_logger(module.Accelerator, "log", _accelerate_metrics)
    watch_logger(module.Accelerator, "init_trackers", _accelerate_configuration)


def watch_trainer(module: Any) -> None:
    """Hooks `Trainer.log` of transformers, and the checkpoints that it writes."""
    watch_trainer_folders(module)
    watch_logger(module.Trainer, "log", _trainer_metrics)


def _lightning_metrics(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_metrics(live, "Lightning", argument(args, kwargs, 1, "metrics"), argument(args, kwargs, 2, "step"))


def _lightning_hyperparameters(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_configuration(live, "Lightning", argument(args, kwargs, 1, "hp"))


def _accelerate_metrics(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_metrics(live, "accelerate", argument(args, kwargs, 1, "values"), argument(args, kwargs, 2, "step"))


def _accelerate_configuration(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_configuration(live, "accelerate", argument(args, kwargs, 2, "config"))


def _trainer_metrics(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_metrics(live, "Trainer", argument(args, kwargs, 1, "logs"), getattr(args[0].state, "global_step", None))
