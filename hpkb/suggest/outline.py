"""What `hpkb check` needs of each task, kept by the analysis: no run has to be loaded for it, nor a forest fitted.

An outline holds for the runs that it was made of: where others came in, where findings or recommendations were
replaced, or where the code changed, it is not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hpkb.findings import Finding
from hpkb.kb.knowledge import finding_of
from hpkb.kb.store import complete, has_table
from hpkb.made_by import code_digest
from hpkb.recommend import candidates
from hpkb.recommend.packed_forest import PackedForest, packed
from hpkb.suggest.known import Known
from hpkb.suggest.space import Knob, Space, limits_of
from hpkb.sweep import Sweep

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase

_MOST_RUNS = 10_000  # of a task whose forest is kept: 0.7 kB a run

_STATES = """-- One row per task that has a run with an outcome: a digest of its runs and what it is judged by.
SELECT t.task_id, md5(concat_ws('|', $code, t.metric, t.direction, r.n, r.total)) FROM tasks t JOIN (
    SELECT task_id, count(*) AS n, sum(hash(run_id, fingerprint, seed, objective_min, infeasible)) AS total
    FROM runs GROUP BY task_id HAVING count_if(infeasible OR objective_min IS NOT NULL) > 0) r USING (task_id)
ORDER BY t.task_id"""

_KEPT = """-- One row per task with an outline that holds.
SELECT task, document FROM outlines WHERE document IS NOT NULL AND list_contains($made_of, made_of)"""
_FORESTS = """-- One row per task whose forest is kept: what it was fitted to.
SELECT task, made_of FROM outlines WHERE forest IS NOT NULL"""
_FOREST = """-- One row: the forest of a task, fitted to the runs that it has.
SELECT forest FROM outlines WHERE task = $task AND made_of = $made_of AND forest IS NOT NULL"""

_FORGET = """-- One row less per task whose runs are not as they were.
DELETE FROM outlines WHERE NOT list_contains($made_of, made_of)"""
_OUTLINE = """-- One row: the outline of a task whose forest stays.
UPDATE outlines SET document = $document WHERE task = $task"""
_ADD = """-- One row per task.
INSERT INTO outlines VALUES ($task, $made_of, $document, $forest)"""

#: What a configuration is held against; and the findings of which the chart says more than the words.
_QUANTITIES = frozenset([
    "aliasing", "attainable_loss", "coverage", "minimum_detectable_difference", "optimum", "safe_upper_bound",
])  # fmt: skip
_DRAWN = frozenset(["coverage", "optimum"])


def states(base: KnowledgeBase) -> dict[str, str]:
    """Returns a digest of the runs of each task that has one with an outcome, in the order of the tasks' names."""
    return dict(base.connection.execute(_STATES, {"code": code_digest()}).fetchall())


def keep_outlines(base: KnowledgeBase, sweeps: Iterable[Sweep]) -> None:
    """Keeps the outlines of the tasks; a forest is fitted only where the runs are not as they were."""
    from hpkb.suggest.plan import know

    complete(base.connection)
    made_of = states(base)
    base.connection.execute(_FORGET, {"made_of": [*made_of.values()]})
    fitted = dict(base.connection.execute(_FORESTS).fetchall())
    for sweep in sweeps:
        row: dict[str, Any] = {"task": sweep.task, "document": _document(know(base, sweep))}
        if sweep.task in fitted:
            base.connection.execute(_OUTLINE, row)
        else:
            base.connection.execute("DELETE FROM outlines WHERE task = $task", {"task": sweep.task})
            base.connection.execute(_ADD, row | {"made_of": made_of[sweep.task], "forest": _forest(sweep)})


def forest_of(base: KnowledgeBase, task: str, made_of: str) -> PackedForest | None:
    """Returns the forest that was fitted to the runs that the task has; None where none was."""
    if not has_table(base.connection, "outlines"):
        return None
    rows = base.connection.execute(_FOREST, {"task": task, "made_of": made_of}).fetchall()
    return PackedForest.from_bytes(rows[0][0]) if rows else None


def outlined(base: KnowledgeBase, made_of: Mapping[str, str], names: Sequence[str]) -> dict[str, Known]:
    """Returns what is known of each task of these whose outline holds, as far as it takes to judge values of `names`.

    Its sweep has no runs, but `ran` says whether the baseline is among them.
    """
    if not has_table(base.connection, "outlines"):
        return {}
    rows = base.connection.execute(_KEPT, {"made_of": [*made_of.values()]}).fetchall()
    return {task: _known(task, json.loads(text), set(names)) for task, text in rows}


def _document(known: Known) -> str:
    knobs = []
    for knob in known.space.knobs:
        only_with = knob.only_with and [knob.only_with[0], sorted(knob.only_with[1])]
        knobs.append(asdict(knob) | {"only_with": only_with})
    return json.dumps({
        "objective": known.sweep.objective, "knobs": knobs, "fixed": dict(known.space.fixed),
        "baseline": dict(known.baseline), "origin": known.origin, "has_run": bool(known.rows_of(known.baseline)),
        "findings": [[f.to_json(runs=False), _drawn(f)] for f in known.findings if f.quantity in _QUANTITIES],
    }, ensure_ascii=False)  # fmt: skip


def _drawn(finding: Finding) -> str:
    """What is read off a chart, as JSON of its own, which is read only where it is asked for; its points are not."""
    chart = dict(finding.figure) if finding.quantity in _DRAWN else {}
    return json.dumps({name: value for name, value in chart.items() if name != "points"}, ensure_ascii=False)


def _forest(sweep: Sweep) -> bytes | None:
    """The forest that `Known` would fit, as bytes; None where it is not worth its room."""
    from hpkb.recommend.regret import on_regret
    from hpkb.recommend.task_model import forest

    if not sweep.hyperparameters or sweep.n_runs > _MOST_RUNS:
        return None
    scaled = on_regret(sweep)
    return packed(forest(scaled, scaled.y, 0)).to_bytes()


def _known(task: str, document: Mapping[str, Any], names: Set[str]) -> Known:
    findings = [
        finding_of(said, json.loads(drawn) if names & {*said["hyperparameters"]} else {})
        for said, drawn in document["findings"]
    ]
    none = np.zeros(0)
    sweep = Sweep(task, document["objective"], (), none.astype(np.int64), none, none, none.astype(np.bool_), ())
    space = Space(tuple(map(_knob, document["knobs"])), document["fixed"], limits_of(findings))
    known = Known(sweep, space, findings, document["baseline"], document["origin"], 0)
    own = {name: value for name, value in known.baseline.items() if space.knob(name)}
    known.__dict__["ran"] = {candidates.key(own): [0]} if document["has_run"] else {}  # a cached property
    return known


def _knob(values: Mapping[str, Any]) -> Knob:
    only_with = values["only_with"] and (values["only_with"][0], frozenset(values["only_with"][1]))
    return Knob(**{**values, "levels": tuple(values["levels"]), "only_with": only_with})
