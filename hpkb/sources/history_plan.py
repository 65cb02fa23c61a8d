"""Which histories to ask an MLflow server for next, many runs a request, and which of them came whole.

The server's bulk endpoint cuts its answer at `LIMIT` points and does not say so. How many points a run has is not
known beforehand, so it is estimated from the run's last step and from how many points the same metric turned out to
have a step. A wrong estimate costs a request, never a point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

LIMIT = 25_000  # points of an answer of `get-history-bulk`, and what is asked for in a page of `get-history`
_AIM = 20_000  # points of a group as estimated, below the limit because it is an estimate
_RUNS = 100  # the server's own limit
_BYTES = 3_500  # of a query; gunicorn takes 4,094 in the whole first line of a request


@dataclass(frozen=True)
class Group:
    """Runs to ask for one metric at once, each with the last step that it is known to have."""

    metric: str
    last_steps: Mapping[str, float]


@dataclass(frozen=True)
class Page:
    """A page of one metric of one run; an empty token stands for the first."""

    metric: str
    run_id: str
    token: str = ""


@dataclass
class _Left:
    """The runs whose history of a metric is still to be asked for."""

    last_steps: dict[str, float] = field(default_factory=dict)
    density: float = 1.0  # points per step


class HistoryPlan:
    """What is left to ask for; false where that is nothing."""

    def __init__(self, latest: pa.Table) -> None:
        """`latest` has run_id, key and step of the last point of every curve to be read."""
        self._left: dict[str, _Left] = {}
        self._pages: deque[Page] = deque()
        for run_id, key, step in zip(
            *(latest[name].to_pylist() for name in ("run_id", "key", "step")), strict=True
        ):
            self._left.setdefault(key, _Left()).last_steps[run_id] = step

    def __bool__(self) -> bool:
        return bool(self._left or self._pages)

    def next(self, bulk: bool) -> Group | Page:
        """Takes what to ask for next off the plan; without `bulk`, pages only."""
        if self._pages:
            return self._pages.popleft()
        # The metric with most runs first, so that no long one is left over at the end.
        metric = max(self._left, key=lambda name: len(self._left[name].last_steps))
        left = self._left[metric]
        group = _pack(metric, left) if bulk else dict([left.last_steps.popitem()])
        if not left.last_steps:
            del self._left[metric]
        return Group(metric, group) if bulk else Page(metric, next(iter(group)))

    def one_by_one(self, metric: str, runs: Iterable[str]) -> None:
        """Has this metric of these runs asked for run by run."""
        self._pages.extend(Page(metric, run_id) for run_id in runs)

    def go_on(self, page: Page, token: str) -> None:
        """Has the page that follows asked for."""
        if token and token != page.token:
            self._pages.appendleft(Page(page.metric, page.run_id, token))

    def settle(self, group: Group, points: pa.Table, cut: bool) -> pa.Table:
        """Returns the points of the runs that came whole, and has the others asked for again.

        `cut` says that the answer is as long as an answer can be.
        """
        reached = points.group_by("run_id").aggregate([("step", "max")])
        found = dict(zip(reached["run_id"].to_pylist(), reached["step_max"].to_pylist(), strict=True))
        whole = {run_id for run_id, step in group.last_steps.items() if found.get(run_id, -1 << 63) >= step}
        again: dict[str, float] = {}
        if found and (
            cut or len(whole) < len(group.last_steps)
        ):  # the latter: another limit than the one known
            last = points["run_id"][-1].as_py()
            whole.discard(last)
            # Runs come one after the other, so those that are not there follow the last that is.
            again = {run_id: step for run_id, step in group.last_steps.items() if run_id not in found}
            if len(found) > 1:
                again[last] = group.last_steps[last]
        self._ask_again(
            group.metric, again, sum(max(group.last_steps[run_id], 0) + 1 for run_id in found), points
        )
        self.one_by_one(group.metric, group.last_steps.keys() - whole - again.keys())
        if len(whole) == len(found):
            return points
        return points.filter(pc.is_in(points["run_id"], value_set=pa.array(sorted(whole), pa.string())))

    def _ask_again(self, metric: str, runs: Mapping[str, float], steps: float, points: pa.Table) -> None:
        if runs:
            self._left.setdefault(metric, _Left()).last_steps.update(runs)
        if steps and metric in self._left:
            self._left[metric].density = points.num_rows / steps


def _pack(metric: str, left: _Left) -> dict[str, float]:
    """Takes as many runs as one answer is estimated to hold."""
    group: dict[str, float] = {}
    points, length = 0.0, len(quote(metric, safe=""))
    while left.last_steps and len(group) < _RUNS:
        run_id, step = next(iter(left.last_steps.items()))
        points += max(1.0, (max(step, 0) + 1) * left.density)
        length += len(f"&run_id={quote(run_id)}")
        if group and (points > _AIM or length > _BYTES):
            break
        group[run_id] = left.last_steps.pop(run_id)
    return group
