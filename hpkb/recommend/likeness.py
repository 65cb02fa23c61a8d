"""How alike two tasks are: by the same configurations doing well on both, and by what is recorded of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from hpkb.recommend import candidates
from hpkb.recommend.regret import configuration_means, on_regret
from hpkb.recommend.task_model import TaskModel
from hpkb.sweep import BoolArray, FloatArray, Sweep

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase

_FACTS = """-- One row per task and fact that is the same in all of its runs that record it.
WITH told AS (
    SELECT r.task_id, CASE WHEN h.name IN ('model', 'layer_kinds') THEN h.name ELSE 'dataset' END AS name,
        lower(h.value_text) AS value
    FROM hyperparameters h JOIN runs r USING (run_id)
    WHERE h.name IN ('model', 'layer_kinds')
        OR regexp_matches(h.recorded, '(^|[./])(dataset|dataset_name|data_name|data_set|corpus)$')
    UNION ALL
    SELECT r.task_id, 'training data', s.digest FROM splits s JOIN runs r USING (run_id)
    WHERE s.role = 'training' AND s.digest IS NOT NULL)
SELECT task_id, name, min(value) FROM told WHERE task_id IS NOT NULL AND value IS NOT NULL
GROUP BY ALL HAVING min(value) = max(value) ORDER BY ALL"""

FACTS = ("dataset", "training data", "model", "layer_kinds")
FEWEST_SHARED = 5  # configurations of the task that lie within what the other one tried
FACTS_COUNT_AS = 4.0  # so many configurations' worth of evidence


@dataclass(frozen=True)
class Likeness:
    """How much one task says of another: `weight` from 0 to 1.

    `correlation` is Spearman's of the regrets of the same `n_shared` configurations, measured on the one and predicted
    for the other, None where these are too few; `facts` the recorded facts on which both agree.
    """

    sweep: Sweep
    weight: float
    correlation: float | None
    n_shared: int
    facts: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Why the weight is what it is."""
        said = (
            f"{self.n_shared} shared configurations"
            if self.correlation is None
            else f"rank correlation {self.correlation:.2f} on {self.n_shared} configurations"
        )
        return f"{said}; same {', '.join(self.facts)}" if self.facts else said


def alike(base: KnowledgeBase, target: Sweep, sweeps: Sequence[Sweep], seed: int = 0) -> list[Likeness]:
    """Returns how alike each other task of the knowledge base is to the target, its recorded facts counted in."""
    return likeness(target, [s for s in sweeps if s.task != target.task], facts_of(base), seed)


def facts_of(base: KnowledgeBase) -> dict[str, dict[str, str]]:
    """Returns what is recorded of each task's data and model and is the same in all of its runs, by task."""
    facts: dict[str, dict[str, str]] = {}
    for task, name, value in base.connection.execute(_FACTS).fetchall():
        facts.setdefault(task, {})[name] = value
    return facts


def likeness(
    target: Sweep,
    others: Sequence[Sweep],
    facts: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
) -> list[Likeness]:
    """Returns how alike each of the other tasks is to the target, in their order.

    The weight is the rank correlation, shrunk towards what the facts say: a correlation of m configurations counts as m
    of m + 4 parts of evidence, the share of agreeing facts as the other four. A negative one counts as none.
    """
    known = facts or {}
    mine = known.get(target.task, {})
    return [_of_pair(target, other, *shared_facts(mine, known.get(other.task, {})), seed) for other in others]


def _of_pair(target: Sweep, other: Sweep, agreeing: tuple[str, ...], known: int, seed: int) -> Likeness:
    correlation, shared = _correlation(target, other, seed)
    prior = len(agreeing) / known if known else 0.5
    m = float(shared) if correlation is not None else 0.0
    mixed = (m * (correlation or 0.0) + FACTS_COUNT_AS * prior) / (m + FACTS_COUNT_AS)
    return Likeness(other, float(np.clip(mixed, 0.0, 1.0)), correlation, shared, agreeing)


def _correlation(target: Sweep, other: Sweep, seed: int) -> tuple[float | None, int]:
    """Spearman's correlation of the target's measured regrets with the other's predicted ones, and on how many."""
    names = [h.name for h in other.hyperparameters]
    varied = any(target.hyperparameter(name) is not None for name in names)
    if not varied or not np.isfinite(other.y).any() or other.n_configurations < FEWEST_SHARED:
        return None, 0
    scaled = on_regret(target)
    asked = candidates.read_all(target, names)
    inside: BoolArray = np.logical_not(np.isnan(candidates.encode(other, asked)).all(axis=1))
    measured: FloatArray = configuration_means(scaled, scaled.y)[inside]
    shared = int(inside.sum())
    if shared < FEWEST_SHARED or np.ptp(measured) == 0:
        return None, shared
    model = TaskModel.fit(other, names, seed)
    predicted = model.predict([c for c, there in zip(asked, inside, strict=True) if there])
    if np.ptp(predicted) == 0:
        return None, shared
    return float(spearmanr(measured, predicted).statistic), shared


def shared_facts(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """Returns on which facts two tasks agree, and how many facts both record."""
    both = [name for name in FACTS if name in one and name in other]
    return tuple(name for name in both if one[name] == other[name]), len(both)
