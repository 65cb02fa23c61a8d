# ruff: noqa: E501  (a table of data; wrapping it hides its shape)
"""What the sample's analysis has found: findings of six miners that follow from the law, and the defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from hpkb.findings import Finding
from tests.pages.law import LAWS, Law, Trial, best_rate, generator, loss, outcomes


def findings_of(law: Law, trials: list[Trial]) -> Iterator[Finding]:
    """What the miners have found of one task."""
    runs = outcomes(trials)
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
        share *= 1 + 0.2 * float(generator(law.name, names).standard_normal())
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


def findings_together(trials: dict[str, list[Trial]]) -> Iterator[Finding]:
    """What they have found over all tasks."""
    runs = tuple(t.run_id for rows in trials.values() for t in outcomes(rows))
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


def defaults(findings: list[Finding]) -> Iterator[tuple[str, str, str]]:
    """The rows of the table `defaults`."""
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
            {"rank": 1, "values": values, "held_out_regret": regret, "worth_random_trials": 22,
             "held_out_family_regret": {**regret, "families": 3, "by": "the data set"}, "finding_ids": evidence,
             "plateau": {"learning_rate": [rate * 0.4, rate * 2.2], "weight_decay": [1e-5, 0.01], "dropout": [0.0, 0.3]}}
        ],
        "rules": [{"hyperparameter": "learning_rate", "formula": f"{rate:.2g} * (batch_size/64)^0.46", "exponents": {"batch_size": [0.36, 0.57]},
                   "words": "If the batch size is 64, learning rate 0.002; at 256, 0.004 (beyond what was tried)."}],
        "budget": {"verdict": "supported", "reason": "", "noise_floor": 0.1, "sets": [
            {"hyperparameters": ["learning_rate"], "trials": 6, "low": 4, "high": 9, "expected_regret": 0.1, "tasks": 5},
            {"hyperparameters": [*values], "trials": 40, "low": 22, "high": None, "expected_regret": 0.07, "tasks": 5}]},
        "library_default": {"library": "torch", "optimizer": "AdamW", "held": ["batch_size"], "reason": "", "values": {"learning_rate": 1e-3, "weight_decay": 0.01}, "held_out_regret": {"mean": 0.71, "low": 0.52, "high": 0.93, "worst": 1.6, "worst_task": "text_transformer", "tasks": 5}},
        "n_tasks": tasks, "n_runs": runs, "verdict": "recommended", "reason": "",
    }  # fmt: skip
