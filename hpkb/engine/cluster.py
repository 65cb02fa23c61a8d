"""Ray's engine: the cores of this machine, or those of a cluster.

Ray does a job again whose process or machine was lost, and makes a result again that was lost with the machine which
held it. Beyond that nothing is asked of it: `hpkb.engine` keeps the order, and a job depends on its arguments alone.

The machines of a cluster need hpkb with the same code and the same numerical libraries: others could find something
else. That is asked of each process before its first job.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hpkb.engine import Engine, Job, in_order
from hpkb.engine.one_thread import one_thread
from hpkb.errors import HpkbError, UsageError
from hpkb.made_by import made_by

_AHEAD = 3  # jobs a core that are begun and not done
_TIMES = 8  # that a job is begun again after the loss of its process or machine
_PATIENCE = 5  # seconds for a cluster to answer


class _Cluster:
    """Does as many jobs at once as the cluster has cores."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.parallel = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._do = ray.remote(num_cpus=1, max_retries=_TIMES, retry_exceptions=False)(_do)
        self._made_by = made_by()

    def map(self, function: Callable[..., Any], jobs: Iterable[Job]) -> Iterator[Any]:
        """Yields `function(*job)` in the order of the jobs."""
        yield from in_order(_Sent(self._ray, self._do, self._made_by, function), jobs, _AHEAD * self.parallel)


class _Sent:
    """Jobs of one function, given to the cluster."""

    def __init__(self, ray: Any, do: Any, made_by: str, function: Callable[..., Any]) -> None:
        self._ray, self._do, self._made_by, self._function = ray, do, made_by, function

    def begin(self, job: Job) -> Any:
        return self._do.remote(self._made_by, self._function, *job)

    def done(self, handles: Sequence[Any], wait: bool) -> set[Any]:
        # Where they are is asked, not what they are: a result is brought here when it is its turn.
        return set(self._ray.wait(handles, num_returns=1, timeout=None if wait else 0, fetch_local=False)[0])

    def result(self, handle: Any) -> Any:
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise HpkbError(
                f"The Ray cluster gave up a job ({reason}). Look at its machines, and try again."
            ) from None


@contextmanager
def ray_engine(address: str, workers: int) -> Iterator[Engine]:
    """Yields an engine on a cluster's client server at HOST:PORT, or on this machine's cores where that is empty.

    Raises UsageError where Ray is not installed or nobody answers.
    """
    ray = _imported()
    _connect(ray, address, workers)
    try:
        yield _Cluster(ray)
    finally:
        ray.shutdown()


def _imported() -> Any:
    # What it does from its next version on, of which it warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Those of jobs that nobody waits for once one has failed.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        import ray
    except ImportError:
        raise UsageError("The engine 'ray' needs Ray: pip install 'hpkb[ray]'") from None
    return ray


def _connect(ray: Any, address: str, workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if not address:  # not the cluster that RAY_ADDRESS may name: that one is asked for by its address
            ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
            return
        host, _, port = address.rpartition(":")
        # Ray itself would try for half a minute.
        socket.create_connection((host, int(port)), _PATIENCE).close()
        try:
            ray.init(f"ray://{address}", **quiet)
        except (ConnectionError, RuntimeError):
            # A busy machine starts the process that serves us too slowly for Ray.
            ray.init(f"ray://{address}", **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"ray://{address}" if address else "this machine"
        reason = " ".join(str(error).split()[:30]).rstrip(".:")
        raise UsageError(f"No Ray cluster at {where} ({reason}). Start one: ray start --head") from None


def _do(expected: str, function: Callable[..., Any], *job: Any) -> Any:
    if (here := made_by()) != expected:
        raise UsageError(f"A machine of the cluster has {here}. Here is {expected}. Install the same there.")
    with one_thread():
        return function(*job)
