"""One task's page: what was run, what was best, what each finding says of it, every run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import duckdb

from hpkb.names import NAMES
from hpkb.pages.charts import Trace
from hpkb.pages.drawing import curve_figure
from hpkb.pages.formats import aligned, moment, number, plain
from hpkb.pages.model import TaskPage
from hpkb.pages.parts import Configuration, Default, Figure, FindingView, Link, RunRow, SeedRun, Store
from hpkb.pages.places import Places, evidence_of, run_in_ui, store, value, varying
from hpkb.pages.slugs import anchor
from hpkb.pages.store import Run, Task, curves
from hpkb.playbook import Result, results

_BEST = 5  # configurations in the table of the best
_GOOD_CURVES, _FAILED_CURVES = 3, 3


def task_page(
    connection: duckdb.DuckDBPyConnection, task: Task, where: Places, findings: Sequence[FindingView],
    default: Default | None, importance: Mapping[Link, Figure],
) -> TaskPage:  # fmt: skip
    """Returns everything that one task's page shows."""
    link = where.tasks[task.task_id]
    own = [f for f in findings if f.task == link]
    columns = varying(task)
    done = [r for r in task.runs if r.has_outcome]
    times = [r.started_at for r in task.runs if r.started_at]
    stores = {source: store(source) for source in sorted({r.source for r in task.runs})}
    return TaskPage(
        task=task, title=plain(task.name, 80), href=link.href, n_runs=len(task.runs),
        n_outcomes=len(done), n_infeasible=sum(r.infeasible for r in done),
        n_configurations=len({r.configuration_id for r in done}),
        period=(moment(min(times, default=None)), moment(max(times, default=None))), default=default, columns=columns,
        best=_best(task, done, columns, where), checks=_checks(own),
        importance=importance.get(link),
        responses=tuple(sorted((f for f in own if f.miner == "response" and f.figure), key=_by_name)),
        maps=tuple(f for f in own if f.miner in ("lr_weight_decay", "lr_batch_size") and f.figure),
        others=tuple(f for f in own if f.miner not in ("importance", "response", "lr_weight_decay", "lr_batch_size")),
        data=tuple(f for f in own if f.quantity in ("split_mismatch", "leakage")),
        curves=tuple(_curves(connection, task, done, where)), rows=_rows(task, columns, stores),
        evidence=evidence_of(link.href), stores=tuple(stores.values()), facts=task.hardware,
    )  # fmt: skip


def _checks(findings: Sequence[FindingView]) -> tuple[Result[FindingView], ...]:
    """The outcome of each check; nothing where no finding answers any."""
    outcomes = tuple(results(findings))
    return outcomes if any(r.finding for r in outcomes) else ()


def _by_name(finding: FindingView) -> tuple[int, str]:
    """Hyperparameters in the order of the canonical names, the learning rate first."""
    names = [name.name for name in NAMES]
    own = finding.hyperparameters[0].text if finding.hyperparameters else ""
    return (names.index(own) if own in names else len(names), own)


def _best(
    task: Task, runs: Sequence[Run], columns: Sequence[str], where: Places
) -> tuple[Configuration, ...]:
    """The configurations whose worst seed is best; those run with several seeds first, as one seed may be luck."""
    by_configuration: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_configuration[run.configuration_id].append(run)
    clean = [rows for rows in by_configuration.values() if all(r.objective_min is not None for r in rows)]
    clean.sort(
        key=lambda rows: (len(rows) < 2, max(r.objective_min or 0.0 for r in rows), rows[0].configuration_id)
    )
    return tuple(
        _configuration(rows, columns, where, *task.means[rows[0].configuration_id]) for rows in clean[:_BEST]
    )


def _configuration(
    runs: Sequence[Run], columns: Sequence[str], where: Places, mean: float, sd: float | None
) -> Configuration:
    ordered = sorted(runs, key=lambda r: (r.seed is None, r.seed or 0, r.run_id))
    texts = aligned([r.objective for r in ordered])
    seeds = [
        SeedRun(r.seed, r.objective, text, r.infeasible, where.runs[r.run_id].href)
        for r, text in zip(ordered, texts, strict=True)
    ]
    return Configuration(tuple(value(runs[0], name) for name in columns), tuple(seeds), mean, sd)


def _curves(
    connection: duckdb.DuckDBPyConnection, task: Task, done: Sequence[Run], where: Places
) -> list[tuple[str, Figure]]:
    good = sorted(
        (r for r in done if r.objective_min is not None), key=lambda r: (r.objective_min or 0.0, r.run_id)
    )
    failed = [r for r in done if r.infeasible]
    step = max(1, len(failed) // _FAILED_CURVES)
    chosen = [*good[:_GOOD_CURVES], *failed[::step][:_FAILED_CURVES]]
    metrics = list(dict.fromkeys([task.metric, "train_loss"]))
    ranks = {run.run_id: rank for rank, run in enumerate(chosen)}
    found = [c for c in curves(connection, list(ranks), metrics) if len(c.points) > 1]
    pictures = []
    for metric in metrics:
        traces = []
        for curve in sorted((c for c in found if c.metric == metric), key=lambda c: ranks[c.run_id]):
            run = where.known[curve.run_id]
            href, who = where.run(curve.run_id)
            ended = "infeasible" if run.infeasible else f"{task.metric} {number(run.objective)}"
            traces.append(Trace(f"{who}\n{ended}", href, run.infeasible, ranks[curve.run_id], curve.points))
        if any(v is not None and math.isfinite(v) for t in traces for _, v in t.points):
            pictures.append((metric, curve_figure(traces, metric)))
    return pictures


def _rows(task: Task, columns: Sequence[str], stores: dict[str, Store]) -> tuple[RunRow, ...]:
    texts = aligned([r.objective if r.has_outcome else None for r in task.runs])
    return tuple(
        RunRow(
            key=r.run_id, anchor=anchor("run", r.run_id), run_id=plain(r.run_id, 80), name=plain(r.name, 60),
            started=moment(r.started_at), state=_state(r), reason=plain(_reason(r), 160), seed=r.seed,
            objective=r.objective, objective_text=text, values=tuple(value(r, name) for name in columns),
            numbers=tuple(r.parameters[name].number if name in r.parameters else None for name in columns),
            ui=run_in_ui(stores[r.source], r.run_id), has_outcome=r.has_outcome,
        )
        for r, text in zip(task.runs, texts, strict=True)
    )  # fmt: skip


def _state(run: Run) -> str:
    if run.infeasible:
        return "infeasible"
    return run.status.lower() or "unknown" if run.objective_min is None else "finished"


def _reason(run: Run) -> str:
    if run.infeasible:
        return run.infeasible_reason
    return run.end_reason if run.objective_min is None else ""
