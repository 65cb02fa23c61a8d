# ruff: noqa: E501  (a table of data; wrapping it hides its shape)
"""A small knowledge base with a known law behind it: what the tests of the pages render.

Five tasks, 72 runs each, with curves, splits, failed runs, findings of six miners and defaults. Everything is drawn
from one seed; run ids, names and times are fixed, so that the pages are the same bytes on every machine.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from hpkb.findings import Finding

Rows = dict[str, list[tuple[Any, ...]]]

SOURCE = "sqlite:////srv/team/mlflow.db"
SERVER = "https://mlflow.example.org"
START = dt.datetime(2026, 3, 2, 8, 0)
CURVE_STEPS = tuple(range(0, 400, 20))


@dataclass(frozen=True)
class Law:
    """Where a task's best learning rate lies and how its loss rises away from it."""

    name: str
    metric: str
    floor: float
    best_rate: float
    ridge: float
    batch: float
    noise: float
    source: str = SOURCE


LAWS = (
    Law("digits_cnn", "val_loss", 0.061, 3e-3, -0.15, 0.52, 0.010),
    Law("digits_mlp", "val_loss", 0.118, 5e-3, -0.22, 0.44, 0.014),
    Law("wine_mlp", "val_loss", 0.212, 2e-2, -0.05, 0.31, 0.050),
    Law("breast_cancer_mlp", "val_loss", 0.094, 1e-2, -0.10, 0.40, 0.021),
    Law("text_transformer", "val_loss", 1.710, 1e-3, -0.35, 0.61, 0.018, SERVER),
)


@dataclass(frozen=True)
class Trial:
    """One drawn run."""

    run_id: str
    configuration: str
    seed: int
    values: dict[str, Any]
    objective: float
    state: str  # finished, diverged, failed, running


def build(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Returns a connection to a knowledge base filled with the sample, in memory where no path is given."""
    connection = empty(path)
    fill(connection)
    return connection


def empty(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Returns a connection to a knowledge base with its tables and no rows, in memory where no path is given."""
    connection = duckdb.connect(str(path) if path else ":memory:")
    connection.execute(resources.files("hpkb").joinpath("kb", "schema.sql").read_text(encoding="utf-8"))
    return connection


def bare() -> duckdb.DuckDBPyConnection:
    """Returns a connection to the sample's runs with no finding and no curve: pages that are quickly drawn."""
    connection = build()
    for table in ("findings", "finding_runs", "curves", "defaults"):
        connection.execute(f"DELETE FROM {table}")
    return connection


def fill(connection: duckdb.DuckDBPyConnection) -> None:
    """Puts the sample's rows into an empty knowledge base."""
    rows: Rows = defaultdict(list)
    trials = {law.name: list(_trials(law)) for law in LAWS}
    rows["meta"] = [("hpkb_version", "0.1.0"), ("schema", "1"), ("seed", "0"), ("objective", "")]
    rows["sources"] = [(s, "mlflow", START) for s in sorted({law.source for law in LAWS})]
    for law in LAWS:
        rows["tasks"].append((law.name, law.name, law.metric, "min"))
        for number, trial in enumerate(trials[law.name]):
            _add_run(rows, law, trial, number)
    findings = [f for law in LAWS for f in _findings(law, trials[law.name])]
    for finding in [*findings, *_together(trials)]:
        _add_finding(rows, finding)
    rows["defaults"] = list(_defaults(findings))
    insert(connection, rows)


def insert_finding(connection: duckdb.DuckDBPyConnection, finding: Finding) -> None:
    """Puts one finding and its runs into the knowledge base."""
    rows: Rows = defaultdict(list)
    _add_finding(rows, finding)
    insert(connection, rows)


def insert(connection: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    """Puts rows into the tables they are filed under."""
    for table, records in rows.items():
        columns = {f"c{i}": list(column) for i, column in enumerate(zip(*records, strict=True))}
        connection.register("incoming", pa.table(columns))
        connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")
        connection.unregister("incoming")


def _add_finding(rows: Rows, finding: Finding) -> None:
    numbers = [v if isinstance(v, float) else None for v in (finding.estimate, finding.low, finding.high)]
    row = (
        finding.id, finding.miner, finding.task, finding.quantity, finding.verdict, finding.claim, *numbers,
        finding.p_value, finding.q_value, json.dumps(finding.to_json()), json.dumps(finding.figure),
    )  # fmt: skip
    rows["findings"].append(row)
    rows["finding_runs"].extend((finding.id, run) for run in finding.run_ids)


def _identifier(*parts: object, size: int = 16) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=size).hexdigest()


def _generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int(_identifier(*parts, size=4), 16))


def loss(law: Law, values: dict[str, Any]) -> float:
    """The law's loss of a configuration, with no noise."""
    distance = np.log10(
        values["learning_rate"] / best_rate(law, values["weight_decay"], values["batch_size"])
    )
    bent = 0.32 * distance**2 + (0.25 * max(distance, 0.0) ** 3)
    schedule = {"cosine": 0.0, "step": 0.03, "constant": 0.06, "warm_restarts": 0.02}[values["lr_schedule"]]
    return float(law.floor * (1 + bent + schedule + 0.25 * (values["dropout"] - 0.12) ** 2))


def best_rate(law: Law, weight_decay: float, batch_size: float) -> float:
    """The law's best learning rate at a weight decay and a batch size."""
    return float(law.best_rate * (weight_decay / 1e-3) ** law.ridge * (batch_size / 64) ** law.batch)


def _trials(law: Law) -> Iterator[Trial]:
    draw = _generator(law.name)
    for index in range(24):
        values: dict[str, Any] = {
            "learning_rate": float(f"{10 ** draw.uniform(-4.3, -0.5):.3g}"),
            "weight_decay": 0.0 if index % 9 == 8 else float(f"{10 ** draw.uniform(-5, -1):.3g}"),
            "batch_size": int(2 ** draw.integers(4, 9)),
            "optimizer": ("AdamW", "SGD")[int(draw.integers(2))],
            "lr_schedule": ("cosine", "constant", "step", "warm_restarts")[index % 4],
            "dropout": round(float(draw.uniform(0, 0.4)), 2),
        }
        for seed in range(3):
            yield _trial(law, index, seed, values, draw)


def _trial(law: Law, index: int, seed: int, values: dict[str, Any], draw: np.random.Generator) -> Trial:
    positive = {**values, "weight_decay": max(values["weight_decay"], 1e-6)}
    beyond = np.log10(
        values["learning_rate"] / best_rate(law, positive["weight_decay"], values["batch_size"])
    )
    state = "diverged" if beyond > 1.25 + 0.25 * draw.standard_normal() else "finished"
    if (index, seed) == (7, 2):
        state = "failed"
    if (index, seed) == (23, 2):
        state = "running"
    value = loss(law, positive) * float(np.exp(law.noise / law.floor * 0.3 * draw.standard_normal()))
    configuration = _identifier(law.name, index, size=8)
    return Trial(_identifier(law.name, index, seed), configuration, seed, values, round(value, 5), state)


def _add_run(rows: Rows, law: Law, trial: Trial, number: int) -> None:
    began = START + dt.timedelta(minutes=2 * number)
    ended = None if trial.state == "running" else began + dt.timedelta(seconds=41 + number)
    status = {"finished": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", "running": "RUNNING"}[
        trial.state
    ]
    diverged, done = trial.state == "diverged", trial.state == "finished"
    row = (
        trial.run_id, law.name, law.source, "demo", f"{law.name}-{number:03d}", status, began, ended,
        trial.configuration, trial.seed, trial.objective if done else (float("nan") if diverged else None),
        trial.objective if done else None, diverged, "objective is NaN" if diverged else None,
        "ValueError: the data set is not there" if trial.state == "failed" else "exit status 0", "-",
    )  # fmt: skip
    rows["runs"].append(row)
    parameters = {**trial.values, "seed": trial.seed, "steps": 400, "cli.lr": trial.values["learning_rate"]}
    for name, value in parameters.items():
        number_or_none = None if isinstance(value, str) else float(value)
        rows["hyperparameters"].append((trial.run_id, name, str(value), number_or_none, "param"))
    for role, examples in (("training", 1437), ("validation", 360)):
        rows["splits"].append((trial.run_id, role, _identifier(law.name, role, size=8), examples))
    rows["hardware"].append((trial.run_id, "hpkb.hw.cpu.model", "EPYC 7B13"))
    if trial.state != "failed":
        _add_curves(rows, trial, began)


def _add_curves(rows: Rows, trial: Trial, began: dt.datetime) -> None:
    draw = _generator(trial.run_id)
    steps = np.array(CURVE_STEPS)
    for metric, scale in (("train_loss", 0.85), ("val_loss", 1.0)):
        start = trial.objective * 6 + 1.2
        wobble = np.exp(0.03 * draw.standard_normal(steps.size))
        values = scale * (trial.objective + (start - trial.objective) * np.exp(-steps / 70)) * wobble
        if trial.state == "diverged":
            values = values[0] * np.exp(steps / 60)
            values[12:] = np.nan
        rows["curves"].extend(
            (trial.run_id, metric, step, began + dt.timedelta(seconds=step / 10), float(value))
            for step, value in zip(CURVE_STEPS, values, strict=True)
        )


def _outcomes(trials: list[Trial]) -> list[Trial]:
    return [t for t in trials if t.state in ("finished", "diverged")]


def _findings(law: Law, trials: list[Trial]) -> Iterator[Finding]:
    runs = _outcomes(trials)
    common: dict[str, Any] = {
        "n_runs": len(runs), "n_configurations": 24, "n_seeds": 3, "comparisons": 97,
        "run_ids": tuple(t.run_id for t in runs),
        "infeasible_share": sum(t.state == "diverged" for t in runs) / len(runs),
    }  # fmt: skip
    yield from _noise(law, common)
    yield from _importance(law, common)
    yield from _responses(law, runs, common)
    yield _ridge(law, runs, common)
    yield _batch(law, runs, common)
    yield _divergence(law, runs, common)


def _noise(law: Law, common: dict[str, Any]) -> Iterator[Finding]:
    sd = law.noise * 0.3
    yield Finding(
        "noise_floor", law.name, (), "seed_sd", f"Seeds alone move val_loss by {sd:.2g} on {law.name}.", "supported",
        sd, sd * 0.83, sd * 1.26, unit="val_loss", p_value=1e-6, q_value=1e-5, **common,
    )  # fmt: skip
    yield Finding(
        "noise_floor", law.name, (), "minimum_detectable_difference",
        f"With three seeds a side, differences below {3.2 * sd:.2g} are not seen on {law.name}.", "supported",
        3.2 * sd, 2.7 * sd, 4.0 * sd, unit="val_loss", p_value=1e-6, q_value=1e-5, **common,
    )  # fmt: skip


def _importance(law: Law, common: dict[str, Any]) -> Iterator[Finding]:
    shares = {
        ("learning_rate",): 0.61, ("optimizer",): 0.11, ("weight_decay",): 0.07, ("batch_size",): 0.06,
        ("lr_schedule",): 0.02, ("dropout",): 0.01, ("learning_rate", "batch_size"): 0.05,
        ("learning_rate", "weight_decay"): 0.04,
    }  # fmt: skip
    for names, share in shares.items():
        share *= 1 + 0.2 * float(_generator(law.name, names).standard_normal())
        known = share > 0.05
        label = " with ".join(names)
        yield Finding(
            "importance", law.name, names, "variance_share",
            f"{label} explains {share:.0%} of the variation on {law.name}." if known else
            f"Whether {label} matters on {law.name} cannot be told apart from chance.",
            "supported" if known else "insufficient", share, max(0.0, share * 0.7 - 0.01), share * 1.25 + 0.02,
            p_value=0.001 if known else 0.31, q_value=0.006 if known else 0.8,
            caveats=() if known else ("The interval includes what shuffled objectives give.",), **common,
        )  # fmt: skip


def _axis(name: str) -> dict[str, Any]:
    if name in ("optimizer", "lr_schedule"):
        return {"label": name, "scale": "category", "levels": sorted(_LEVELS[name])}
    return {"label": name, "scale": "linear" if name == "dropout" else "log"}


_LEVELS = {"optimizer": ("AdamW", "SGD"), "lr_schedule": ("cosine", "constant", "step", "warm_restarts")}
_GRID = {
    "learning_rate": np.geomspace(5e-5, 0.3, 33), "weight_decay": np.geomspace(1e-5, 0.1, 17),
    "batch_size": 2.0 ** np.arange(4, 9), "dropout": np.linspace(0, 0.4, 17),
}  # fmt: skip
_MIDDLE = {
    "weight_decay": 1e-3,
    "batch_size": 64,
    "lr_schedule": "cosine",
    "dropout": 0.1,
    "optimizer": "AdamW",
}


def _responses(law: Law, runs: list[Trial], common: dict[str, Any]) -> Iterator[Finding]:
    for name in ("learning_rate", "weight_decay", "batch_size", "dropout", "optimizer", "lr_schedule"):
        grid = _GRID.get(name, _LEVELS.get(name))
        assert grid is not None
        line = []
        for x in grid:
            y = loss(law, {"learning_rate": law.best_rate, **_MIDDLE, name: x})
            width = law.noise * 0.35
            line.append(
                {"x": x if isinstance(x, str) else float(x), "y": y, "low": y - width, "high": y + width}
            )
        best = min(line, key=lambda row: row["y"])
        good = [row["x"] for row in line if row["y"] < best["y"] * 1.04]
        figure = {
            "kind": "response", "x": _axis(name), "y": {"label": law.metric, "scale": "log"},
            "points": [_point(t, name) for t in runs], "line": line,
            "plateau": [] if isinstance(best["x"], str) else [good[0], good[-1]],
            "optimum": {"x": best["x"], "low": good[0], "high": good[-1]} if not isinstance(best["x"], str) else
                       {"x": best["x"], "low": None, "high": None},
        }  # fmt: skip
        known = name in ("learning_rate", "optimizer")
        shown = best["x"] if isinstance(best["x"], str) else f"{best['x']:.2g}"
        claim = (
            f"On {law.name} the best {name} is {shown}"
            if known
            else f"On {law.name} no best {name} stands out"
        )
        yield Finding(
            "response", law.name, (name,), "optimum", claim + ".", "supported" if known else "insufficient",
            best["x"], *((None, None) if isinstance(best["x"], str) else (good[0], good[-1])), p_value=0.002 if known else 0.4, q_value=0.01 if known else 0.9,
            figure=figure, caveats=() if known else ("The curve moves less than the noise floor.",), **common,
        )  # fmt: skip


def _point(trial: Trial, name: str) -> dict[str, Any]:
    diverged = trial.state == "diverged"
    y = None if diverged else trial.objective
    return {"x": trial.values[name], "y": y, "run_id": trial.run_id, "infeasible": diverged}


def _map_points(runs: list[Trial], name: str) -> list[dict[str, Any]]:
    return [
        {"x": t.values["learning_rate"], "y": t.values[name], "value": None if t.state == "diverged" else t.objective,
         "run_id": t.run_id, "infeasible": t.state == "diverged"}
        for t in runs
    ]  # fmt: skip


def _ridge(law: Law, runs: list[Trial], common: dict[str, Any]) -> Finding:
    ridge = [
        {"x": x, "y": float(y), "low": x * 0.6, "high": x * 1.7}
        for y in _GRID["weight_decay"][::2]
        for x in [best_rate(law, float(y), 64)]
    ]
    figure = {
        "kind": "map", "x": _axis("learning_rate"), "y": _axis("weight_decay"), "value": {"label": law.metric},
        "points": _map_points(runs, "weight_decay"), "ridge": ridge,
    }  # fmt: skip
    verdict = "supported" if law.ridge < -0.2 else "insufficient" if law.ridge < -0.08 else "rejected"
    claim = {
        "supported": f"On {law.name} the best learning rate falls as weight decay rises.",
        "insufficient": f"On {law.name} it cannot be told whether weight decay moves the best learning rate.",
        "rejected": f"On {law.name} the best learning rate does not depend on weight decay.",
    }[verdict]
    return Finding(
        "lr_weight_decay", law.name, ("learning_rate", "weight_decay"), "ridge_exponent", claim, verdict,  # type: ignore[arg-type]
        law.ridge, law.ridge - 0.09, law.ridge + 0.09, p_value=0.004, q_value=0.02, figure=figure, **common,
    )  # fmt: skip


def _batch(law: Law, runs: list[Trial], common: dict[str, Any]) -> Finding:
    ridge = [
        {"x": x, "y": float(y), "low": x * 0.65, "high": x * 1.6}
        for y in _GRID["batch_size"]
        for x in [best_rate(law, 1e-3, float(y))]
    ]
    figure = {
        "kind": "map", "x": _axis("learning_rate"), "y": _axis("batch_size"), "value": {"label": law.metric},
        "points": _map_points(runs, "batch_size"), "ridge": ridge,
    }  # fmt: skip
    known = law.batch > 0.35
    return Finding(
        "lr_batch_size", law.name, ("learning_rate", "batch_size"), "scaling_exponent",
        f"On {law.name} the best learning rate grows as batch_size to the power {law.batch:.2f}." if known else
        f"On {law.name} the runs do not say how the best learning rate follows the batch size.",
        "supported" if known else "insufficient", law.batch, law.batch - 0.19, law.batch + 0.17,
        p_value=0.01, q_value=0.04 if known else 0.2, figure=figure,
        caveats=() if known else ("The optimum lies at the edge of the runs for batch size 16.",), **common,
    )  # fmt: skip


def _divergence(law: Law, runs: list[Trial], common: dict[str, Any]) -> Finding:
    bound = law.best_rate * 9
    line = [
        {"x": float(x), "y": p, "low": max(0.0, p - 0.12), "high": min(1.0, p + 0.12)}
        for x in _GRID["learning_rate"]
        for p in [float(1 / (1 + (bound * 2 / x) ** 2.2))]
    ]
    points = [
        {"x": t.values["learning_rate"], "y": float(t.state == "diverged"), "run_id": t.run_id,
         "infeasible": t.state == "diverged"}
        for t in runs
    ]  # fmt: skip
    figure = {
        "kind": "response", "x": _axis("learning_rate"), "y": {"label": "probability of divergence", "scale": "linear"},
        "points": points, "line": line, "plateau": [], "optimum": {"x": bound, "low": bound * 0.6, "high": bound * 1.5},
    }  # fmt: skip
    return Finding(
        "divergence", law.name, ("learning_rate",), "safe_upper_bound",
        f"Below a learning rate of {bound:.2g} at most one run in ten diverges on {law.name}.", "supported",
        bound, bound * 0.6, bound * 1.5, p_value=1e-4, q_value=0.001, figure=figure, **common,
    )  # fmt: skip


def _together(trials: dict[str, list[Trial]]) -> Iterator[Finding]:
    runs = tuple(t.run_id for rows in trials.values() for t in _outcomes(rows))
    common: dict[str, Any] = {
        "n_runs": len(runs), "n_configurations": 120, "n_tasks": 5, "n_seeds": 3, "comparisons": 97,
        "run_ids": runs, "infeasible_share": 0.14,
    }  # fmt: skip
    rows = [
        {"label": law.name, "estimate": law.batch, "low": law.batch - 0.19, "high": law.batch + 0.17,
         "verdict": "supported" if law.batch > 0.35 else "insufficient"}
        for law in LAWS
    ]  # fmt: skip
    references = [{"label": "linear scaling", "value": 1.0}, {"label": "square root", "value": 0.5}]
    yield Finding(
        "lr_batch_size", None, ("learning_rate", "batch_size"), "scaling_exponent",
        "Over 5 tasks the best learning rate grows about with the square root of the batch size, not in proportion.",
        "supported", 0.46, 0.36, 0.57, p_value=1e-5, q_value=1e-4,
        figure={"kind": "forest", "x": {"label": "exponent"}, "rows": rows, "references": references},
        **common,
    )  # fmt: skip
    ridges = [
        {"label": law.name, "estimate": law.ridge, "low": law.ridge - 0.09, "high": law.ridge + 0.09,
         "verdict": "supported" if law.ridge < -0.2 else "insufficient"}
        for law in LAWS
    ]  # fmt: skip
    independent = [{"label": "independent", "value": 0.0}, {"label": "constant product", "value": -1.0}]
    yield Finding(
        "lr_weight_decay", None, ("learning_rate", "weight_decay"), "ridge_exponent",
        "The product of learning rate and weight decay is not what matters: the exponent is far from −1 on every task.",
        "rejected", -0.17, -0.31, -0.04, p_value=0.001, q_value=0.008,
        figure={"kind": "forest", "x": {"label": "exponent"}, "rows": ridges, "references": independent}, **common,
    )  # fmt: skip


def _defaults(findings: list[Finding]) -> Iterator[tuple[str, str, str]]:
    evidence = [
        f.id for f in findings if f.verdict == "supported" and f.miner in ("response", "lr_batch_size")
    ]
    everywhere = _recommendation(None, 4e-3, evidence[:6], 5, 350)
    everywhere["configurations"].append(
        {**everywhere["configurations"][0], "rank": 2, "worth_random_trials": 31,
         "values": {**everywhere["configurations"][0]["values"], "learning_rate": 0.02, "optimizer": "SGD"},
         "held_out_regret": {"mean": 0.07, "low": 0.04, "high": 0.11, "worst": 0.22, "worst_task": "wine_mlp", "tasks": 5}}
    )  # fmt: skip
    yield "", "recommended", json.dumps(everywhere)
    for law in LAWS:
        own = [f.id for f in findings if f.task == law.name and f.id in evidence]
        document = _recommendation(law.name, law.best_rate, own, 1, 70)
        if law.name == "wine_mlp":
            document |= {
                "verdict": "insufficient",
                "reason": "No configuration is better than the library default beyond the noise floor of 0.015.",
            }
        yield law.name, document["verdict"], json.dumps(document)


def _recommendation(
    task: str | None, rate: float, evidence: list[str], tasks: int, runs: int
) -> dict[str, Any]:
    values = {
        "learning_rate": rate,
        "weight_decay": 1e-3,
        "batch_size": 64,
        "optimizer": "AdamW",
        "lr_schedule": "cosine",
        "dropout": 0.1,
    }
    regret = {"mean": 0.083, "low": 0.05, "high": 0.12, "worst": 0.31, "worst_task": "wine_mlp", "tasks": 5}
    return {
        "task": task, "objective": "val_loss:min", "given": {},
        "configurations": [
            {"rank": 1, "values": values, "held_out_regret": regret, "worth_random_trials": 22, "finding_ids": evidence,
             "plateau": {"learning_rate": [rate * 0.4, rate * 2.2], "weight_decay": [1e-5, 0.01], "dropout": [0.0, 0.3]}}
        ],
        "rules": [{"hyperparameter": "learning_rate", "formula": f"{rate:.2g} * (batch_size/64)^0.46", "exponents": {"batch_size": [0.36, 0.57]}}],
        "library_default": {"values": {"learning_rate": 1e-3, "weight_decay": 0.01}, "held_out_regret": {"mean": 0.71, "low": 0.52, "high": 0.93, "worst": 1.6, "worst_task": "text_transformer", "tasks": 5}},
        "n_tasks": tasks, "n_runs": runs, "verdict": "recommended", "reason": "",
    }  # fmt: skip
