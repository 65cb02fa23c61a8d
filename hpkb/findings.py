"""A finding: one claim with its verdict, its estimate and interval, and the runs that it rests on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

if TYPE_CHECKING:
    from hpkb.sweep import Sweep

Verdict = Literal["supported", "rejected", "insufficient"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

LEVEL = 0.05  # at which a finding's own p-value bears its verdict, before the correction for all comparisons


@dataclass(frozen=True)
class Finding:
    """What a miner says of one task, or of all tasks where `task` is None.

    `estimate`, `low`, `high` are in `unit`; None where there is nothing to state. `claim` is the sentence for the
    verdict; `claim_if_insufficient` replaces it when the correction for all comparisons of the report takes the
    verdict away. `condition` says of which part of the task it holds ("optimizer=SGD"), empty for the whole; it is
    part of what is asked. `seen_with` says where the answer was seen ("optimizer=AdamW", the best one of those that
    were tried): that is part of the answer.
    `figure` holds the numbers of the chart (JSON values only), so that a page computes none.
    """

    miner: str
    task: str | None
    hyperparameters: tuple[str, ...]
    quantity: str
    claim: str
    verdict: Verdict
    estimate: float | str | None = None
    low: float | str | None = None
    high: float | str | None = None
    confidence: float = 0.95
    unit: str = ""
    p_value: float | None = None
    q_value: float | None = None
    comparisons: int = 0
    n_runs: int = 0
    n_configurations: int = 0
    n_tasks: int = 1
    n_seeds: int = 0
    infeasible_share: float = 0.0
    caveats: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    claim_if_insufficient: str = ""
    condition: str = ""
    seen_with: str = ""
    figure: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A name that stays the same from one analysis to the next: a digest of what is asked, not of the answer."""
        asked = json.dumps([self.miner, self.task, self.quantity, list(self.hyperparameters)])
        asked += self.condition
        return hashlib.blake2b(asked.encode(), digest_size=6).hexdigest()

    def to_json(self, runs: bool = True) -> dict[str, Any]:
        """The finding as the JSON object of the contract: no NaN, tuples as lists, `figure` left out.

        Without `runs`, `run_ids` is empty: there may be a hundred thousand of them.
        """
        hidden = {"claim_if_insufficient", "figure"}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        values["run_ids"] = [*self.run_ids] if runs else []  # in the place that it has
        return {"id": self.id, **{name: _plain(value) for name, value in values.items()}}

    def judged(self) -> Finding:
        """The finding as it stands, or without its verdict where its own p-value does not bear it."""
        if self.p_value is None:
            return self.insufficient("no test: too few runs, or not told apart from another hyperparameter")
        return self if self.p_value <= LEVEL else self.insufficient(f"p = {self.p_value:.2g}: may be noise")

    def insufficient(self, reason: str) -> Finding:
        """The same finding with its verdict taken away, and why."""
        claim = self.claim_if_insufficient or self.claim
        return replace(self, verdict="insufficient", claim=claim, caveats=(*self.caveats, reason))


class Evidence(TypedDict):
    """The fields of a finding that say what it rests on."""

    task: str
    n_runs: int
    n_configurations: int
    n_seeds: int
    infeasible_share: float
    run_ids: tuple[str, ...]


def evidence(sweep: Sweep) -> Evidence:
    """Returns what a finding on the runs of `sweep` rests on: `Finding(..., **evidence(sweep))`."""
    return {
        "task": sweep.task,
        "n_runs": sweep.n_runs,
        "n_configurations": sweep.n_configurations,
        "n_seeds": sweep.n_seeds,
        "infeasible_share": sweep.infeasible_share,
        "run_ids": sweep.run_ids,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
