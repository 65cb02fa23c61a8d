"""The checks of the Deep Learning Tuning Playbook (Godbole et al. 2023), read off the findings of a task.

No number is computed here: each check names the finding that answers it and the verdict that means its defect is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from hpkb.findings import Verdict

Status = Literal["passed", "failed", "unknown"]


class Judged(Protocol):
    """What is read of a finding."""

    @property
    def miner(self) -> str:
        """The miner whose it is."""

    @property
    def quantity(self) -> str:
        """What it states."""

    @property
    def verdict(self) -> str:
        """Whether it holds."""


F = TypeVar("F", bound=Judged)


@dataclass(frozen=True)
class Check:
    """One check: what a defect of it means, and the finding whose verdict `failed` says that it is there.

    The opposite verdict says that it was looked for and is not there.
    """

    name: str
    meaning: str
    miner: str
    quantity: str
    failed: Verdict = "supported"

    @property
    def passed(self) -> Verdict:
        """The verdict that says the defect is not there."""
        return "rejected" if self.failed == "supported" else "supported"


@dataclass(frozen=True)
class Result(Generic[F]):
    """The outcome of one check with the finding that decided it, None where there is none of its kind."""

    check: Check
    status: Status
    finding: F | None


CHECKS = (
    Check("optimum at the edge", "The search space should be moved or widened.", "design", "boundary"),
    Check("sparse sampling near the optimum", "Runs are needed where it matters.", "design", "sparse_near_optimum"),
    Check("40% infeasible", "Much of the search space cannot be trained in.", "design", "infeasible_excess"),
    Check("best run overfits", "More regularisation should be tried.", "curve_diagnosis", "best_trial_overfits"),
    Check(
        "late noise in the best run", "A lower final learning rate, or averaged weights, should be tried.",
        "curve_diagnosis", "best_trial_late_noise",
    ),
    Check("best run still improving", "Longer training may pay.", "curve_diagnosis", "best_trial_still_improving"),
    Check(
        "best step in the first 10%", "Training is far longer than needed, or falls apart after its start.",
        "curve_diagnosis", "best_trial_early_best",
    ),
    Check(
        "learning rate at the edge of divergence", "Warmup or clipping may allow a better one.",
        "design", "divergence_edge",
    ),
    Check(
        "over half of the steps clipped", "Clipping acts as a lower learning rate.",
        "curve_diagnosis", "best_trial_clipped",
    ),
    Check(
        "seed noise larger than the effect", "Differences between settings are luck without more seeds.",
        "design", "effect_over_noise", "rejected",
    ),
    Check("aliased design", "Effects of what changed together cannot be told apart.", "design", "aliasing"),
    Check("leakage", "Results are too good by an unknown amount.", "reproducibility", "leakage"),
)  # fmt: skip


def results(findings: Iterable[F]) -> list[Result[F]]:
    """Returns the outcome of each check from the findings of one task.

    Failed where any finding says so; passed where one says that the defect is not there and none that it is.
    """
    by_kind: dict[tuple[str, str], list[F]] = {}
    for finding in findings:
        by_kind.setdefault((finding.miner, finding.quantity), []).append(finding)
    return [_result(check, by_kind.get((check.miner, check.quantity), [])) for check in CHECKS]


def _result(check: Check, findings: list[F]) -> Result[F]:
    outcomes: tuple[tuple[Status, str], ...] = (
        ("failed", check.failed), ("passed", check.passed), ("unknown", "insufficient"),
    )  # fmt: skip
    for status, verdict in outcomes:
        deciding = next((f for f in findings if f.verdict == verdict), None)
        if deciding is not None:
            return Result(check, status, deciding)
    return Result(check, "unknown", None)
