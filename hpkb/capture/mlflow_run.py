"""The MLflow run that the script starts: the one that this job is shipped to, wherever that can be.

`MLFLOW_RUN_ID` makes `mlflow.start_run` join a run. It is set around the script's first plain call in the job, if the
shipper has made the run by then, in the store that the script uses, and in the experiment that it has set. Otherwise
the script's own run is named to the shipper, in a record `mlflow_run`. Nothing is waited for.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time

from .patch import call_after
from .session import Session, current
from .tracebacks import leave_out_this_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VARIABLE = "MLFLOW_RUN_ID"
_JOINED = "mlflow.joined"  # in the run folder: one process of a job, and only once, gets the job's run
_PATIENCE = 1.0  # seconds between two looks at what the shipper has written


class OwnRuns:
    """What one session knows of MLflow runs: the one that it is shipped to, and the script's."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._shipped_to: str | None = None
        self._looked_at = float("-inf")
        self.experiments: dict[str, str] = {}  # names of those that the script has set, by their id

    def shipped_to(self) -> str | None:
        """Returns the id of the run that the shipper has made or taken, None where there is none yet."""
        if self._shipped_to is None and time.monotonic() - self._looked_at > _PATIENCE:
            self._looked_at = time.monotonic()
            self._shipped_to = _document(self._live, "shipped.json").get("run_id")
        return self._shipped_to

    def is_shipped_to(self, run_id: Any) -> bool:
        """Whether the run is the one that this job is shipped to."""
        return run_id is not None and self.shipped_to() == run_id

    def to_join(self, fluent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Returns the run that a call of `start_run` is to join, None where it is to start its own."""
        asked = any(kwargs.get(name) for name in ("run_id", "nested", "parent_run_id"))
        if args[:1] not in ((), (None,)) or len(args) > 3 or asked or os.environ.get(_VARIABLE) or fluent.active_run():
            return None
        settings = _document(self._live, "run.json")
        uri = comparable(_tracking_uri())
        experiment = _experiment(fluent, args, kwargs)
        if comparable(str(settings.get("tracking_uri"))) != uri:
            return None
        if experiment is not None and self.experiments.get(experiment, experiment) != settings.get("experiment"):
            return None
        run_id = self.shipped_to()
        return run_id if run_id and self._claim() else None

    def _claim(self) -> bool:
        """Whether this is the first call in the job: two trainings must not share the parameters of one run."""
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(os.path.join(self._live.run_dir, _JOINED), flags, 0o600))
        except OSError:
            return False
        return True


def watch_fluent(fluent: Any) -> None:
    """Hooks `mlflow.start_run` and `mlflow.set_experiment`, also where `mlflow` has taken them over already."""
    original, setting = fluent.start_run, fluent.set_experiment
    call_after(fluent, "set_experiment", _experiment_set)

    @functools.wraps(original)
    def start_run(*args: Any, **kwargs: Any) -> Any:
        live = current()
        joined = None if live is None else _joined(live, original, fluent, args, kwargs)
        if joined is not None:
            return joined
        try:
            started = original(*args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        if live is not None:
            _note(live, started, "started")
        return started

    fluent.start_run = start_run
    package = sys.modules.get("mlflow")
    for name, before in (("start_run", original), ("set_experiment", setting)):
        if getattr(package, name, None) is before:
            setattr(package, name, getattr(fluent, name))


def _joined(live: Session, original: Any, fluent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns the job's run, joined by the script's call; None where it is to start its own after all."""
    try:
        run_id = live.part(OwnRuns).to_join(fluent, args, kwargs)
        if run_id is None:
            return None
        os.environ[_VARIABLE] = run_id
        try:
            run = original(*args, **kwargs)
        finally:
            os.environ.pop(_VARIABLE, None)
    except Exception as error:
        live.failed("the script's MLflow run", error)
        return None
    _note(live, run, "joined")
    return run


def _note(live: Session, run: Any, how: str) -> None:
    try:
        uri = without_password(_tracking_uri())
        live.note("mlflow_run", run_id=run.info.run_id, tracking_uri=uri, how=how)
    except Exception as error:
        live.failed("the script's MLflow run", error)


def _experiment_set(live: Session, experiment: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    live.part(OwnRuns).experiments[str(experiment.experiment_id)] = str(experiment.name)


def _experiment(fluent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Returns the id or the name of the experiment that the script has asked for, None where it has not."""
    given = args[1] if len(args) > 1 else kwargs.get("experiment_id")
    active = given if given is not None else getattr(fluent, "_active_experiment_id", None)
    if active is not None:
        return str(active)
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or os.environ.get("MLFLOW_EXPERIMENT_ID") or None


def _tracking_uri() -> str:
    import mlflow

    return str(mlflow.get_tracking_uri())


def comparable(uri: str) -> str:
    """Returns the address of a store such that two addresses of one store are equal: absolute, without credentials."""
    uri = without_password(uri).rstrip("/")
    for prefix in ("sqlite:///", "file://"):
        if uri.startswith(prefix):
            return prefix + os.path.abspath(uri[len(prefix) :])
    return "file://" + os.path.abspath(uri) if "://" not in uri else uri


def without_password(uri: str) -> str:
    """Returns the address without the name and the password that may stand before the host."""
    scheme, separator, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else uri


def _document(live: Session, name: str) -> dict[str, Any]:
    try:
        with open(os.path.join(live.run_dir, name), encoding="utf-8") as file:
            loaded = json.load(file)
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
