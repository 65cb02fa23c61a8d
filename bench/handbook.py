"""Prints what a large handbook costs: 50 tasks, 10,000 runs, some 9,000 findings, made from nothing.

    python bench/handbook.py [--tasks 50] [--runs 200] [--keep DIR] [--profile]

It says how long the pages take from an empty folder, from a folder that has them already, and after one run has
changed (with how many files were written then); how large they are, all together and the start page; and, where there
is a Chromium, how long the start page and the largest page take to be interactive on a processor slowed down four
times, as the browser's own clock has it. Times of Python are of the processor, the browser's are by the clock.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpkb.findings import Finding
from hpkb.pages import write_handbook
from tests.pages import sample

LIMITS = {"cold_s": 20.0, "size_mb": 25.0, "start_kb": 300.0, "interactive_s": 1.0}
NUMBERS = ("learning_rate", "weight_decay", "batch_size", "momentum", "dropout", "label_smoothing", "warmup_steps")
LEVELS = {"optimizer": ("AdamW", "SGD", "RMSprop"), "lr_schedule": ("constant", "cosine", "step", "warm_restarts")}
NAMES = (*NUMBERS, *LEVELS)
METRICS = ("val_loss", "train_loss", "grad_norm", "learning_rate", "val_accuracy")
STEPS = 40  # points of a curve

#: How many findings each miner reports of a task beside those with a chart, and what its charts are. After the
#: repository's own sweep, which has 180 findings and 45 charts a task.
MINERS: dict[str, tuple[int, str]] = {
    "batch_noise": (5, "forest"), "curve_diagnosis": (16, "forest"), "design": (14, "forest"),
    "divergence": (2, "response"), "early_stopping": (10, "forest forest forest"),
    "efficiency": (3, "response response"), "lr_batch_size": (0, "map forest"), "lr_momentum": (1, ""),
    "lr_weight_decay": (2, "map map map"), "noise_floor": (3, "forest"), "optimizer": (0, "forest " * 3),
    "regularization": (2, "response response"), "reproducibility": (5, ""), "schedule": (1, "pair " * 8),
    "warmup": (1, "response"), "architecture": (3, "pair pair"), "activation": (1, "pair"),
}  # fmt: skip


def knowledge_base(n_tasks: int, n_runs: int) -> duckdb.DuckDBPyConnection:
    """Returns a knowledge base in memory: so many tasks of so many runs each, and what all miners might have found."""
    connection = sample.empty()
    draw = np.random.default_rng(0)
    rows: sample.Rows = defaultdict(list)
    rows["meta"] = [("hpkb_version", "0"), ("seed", "0")]
    rows["sources"] = [("sqlite:///mlflow.db", "mlflow", sample.START)]
    findings: list[Finding] = []
    for number in range(n_tasks):
        task = f"task_{number:02d}_{('cnn', 'mlp', 'transformer')[number % 3]}"
        runs = list(_runs(draw, task, number, n_runs))
        _file(rows, task, runs, draw)
        findings += findings_of_task(draw, task, runs)
    findings += findings_together(findings)
    sample.insert(connection, rows)
    sample.insert_findings(connection, findings)
    sample.insert(connection, {"defaults": list(defaults_of(findings))})
    return connection


def _runs(draw: np.random.Generator, task: str, number: int, n: int) -> Iterator[dict[str, Any]]:
    for i in range(n):
        values: dict[str, Any] = {name: float(f"{10 ** draw.uniform(-5, -1):.3g}") for name in NUMBERS}
        values["batch_size"] = float(2 ** draw.integers(4, 9))
        values |= {name: str(draw.choice(levels)) for name, levels in LEVELS.items()}
        loss = 0.1 * (number + 1) * (1 + 0.3 * (np.log10(values["learning_rate"]) + 3) ** 2) * np.exp(
            0.05 * draw.standard_normal()
        )
        diverged = bool(draw.random() < 0.08)
        yield {
            "id": sample.identifier(task, i), "configuration": sample.identifier(task, i // 2, size=8), "seed": i % 2,
            "values": values, "loss": None if diverged else round(float(loss), 5), "diverged": diverged, "number": i,
        }  # fmt: skip


def _file(rows: sample.Rows, task: str, runs: list[dict[str, Any]], draw: np.random.Generator) -> None:
    rows["tasks"].append((task, task, "val_loss", "min"))
    for run in runs:
        loss, diverged = run["loss"], run["diverged"]
        rows["runs"].append((
            run["id"], task, "sqlite:///mlflow.db", "bench", f"{task}-{run['number']:03d}", "FINISHED", sample.START,
            None, run["configuration"], run["seed"], loss, loss, diverged, "objective is NaN" if diverged else None, "",
            "-",
        ))  # fmt: skip
        for name, value in {**run["values"], "seed": run["seed"], "epochs": 10}.items():
            number = None if isinstance(value, str) else float(value)
            rows["hyperparameters"].append((run["id"], name, str(value), number, "param", name))
        rows["splits"].append((run["id"], "training", task, 1437))
        rows["hardware"].append((run["id"], "hpkb.hw.cpu.model", "EPYC 7B13"))
    curves = np.exp(0.05 * draw.standard_normal((len(runs), len(METRICS), STEPS)) - np.arange(STEPS) / 30)
    for run, of_run in zip(runs, curves.tolist(), strict=True):
        for metric, values in zip(METRICS, of_run, strict=True):
            rows["curves"].extend((run["id"], metric, 10 * i, sample.START, value) for i, value in enumerate(values))


# --- findings -----------------------------------------------------------------------------------------------


def findings_of_task(draw: np.random.Generator, task: str, runs: list[dict[str, Any]]) -> list[Finding]:
    common: dict[str, Any] = {
        "task": task, "n_runs": len(runs), "n_configurations": len(runs) // 2, "n_seeds": 2, "comparisons": 9000,
        "run_ids": tuple(run["id"] for run in runs), "infeasible_share": 0.08,
    }  # fmt: skip
    found = []

    def add(miner: str, names: tuple[str, ...], quantity: str, figure: dict[str, Any]) -> None:
        middle = float(draw.uniform(0.01, 1))
        supported = draw.random() < 0.3
        claim = f"On {task} the {quantity.replace('_', ' ')} of {' and '.join(names)} is {middle:.2g}, says {miner}."
        found.append(Finding(
            miner=miner, hyperparameters=names, quantity=quantity, claim=claim, figure=figure,
            verdict="supported" if supported else "insufficient", estimate=middle, low=middle * 0.8, high=middle * 1.3,
            p_value=0.001 if supported else 0.4, q_value=0.01 if supported else 0.9,
            caveats=() if supported else ("p = 0.4: may be noise",), **common,
        ))  # fmt: skip

    for names in [(name,) for name in NAMES] + list(combinations(NAMES, 2)):
        add("importance", names, "variance_share", {})
    for name in NAMES:
        add("importance", (name,), "infeasibility_share", {})
        add("response", (name,), "optimum", _response(runs, name))
        add("response", (name,), "at_boundary", {})
    for miner, (n, charts) in MINERS.items():
        for i in range(n):
            add(miner, (NAMES[i % len(NAMES)],), f"quantity_{i}", {})
        for i, kind in enumerate(charts.split()):
            name = NAMES[i % len(NUMBERS)] if kind == "response" else list(LEVELS)[i % len(LEVELS)]
            add(miner, (name,), f"{kind}_{i}", FIGURES[kind](runs, name))
    return found


def _response(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    points = [
        {"x": r["values"][name], "y": r["loss"], "run_id": r["id"], "infeasible": r["diverged"]} for r in runs
    ]
    xs = [p["x"] for p in points if name in LEVELS or p["x"] > 0]
    grid = LEVELS.get(name) or np.geomspace(min(xs), max(xs), 33).tolist()
    middle = float(np.median([p["y"] for p in points if p["y"] is not None]))
    line = [{"x": x, "y": middle, "low": middle * 0.9, "high": middle * 1.1} for x in grid]
    scale = {"scale": "category", "levels": list(LEVELS[name])} if name in LEVELS else {"scale": "log"}
    return {
        "kind": "response", "x": {"label": name, **scale}, "y": {"label": "val_loss", "scale": "log"}, "points": points,
        "line": line, "plateau": [] if name in LEVELS else [grid[10], grid[20]],
        "optimum": {"x": grid[1], "low": None, "high": None} if name in LEVELS else
                   {"x": grid[15], "low": grid[10], "high": grid[20]},
    }  # fmt: skip


def _pair(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Two levels of a category side by side: the runs of both."""
    return _response([r for r in runs if r["values"][name] in LEVELS[name][:2]], name)


def _map(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    points = [
        {"x": r["values"]["learning_rate"], "y": r["values"]["weight_decay"], "value": r["loss"], "run_id": r["id"],
         "infeasible": r["diverged"]}
        for r in runs
    ]  # fmt: skip
    ridge = [{"x": 1e-3, "y": float(y), "low": 5e-4, "high": 2e-3} for y in np.geomspace(1e-5, 0.1, 17)]
    return {
        "kind": "map", "x": {"label": "learning_rate", "scale": "log"}, "y": {"label": "weight_decay", "scale": "log"},
        "value": {"label": "val_loss"}, "points": points, "ridge": ridge,
    }  # fmt: skip


def _forest(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    rows = [
        {"label": f"{name} {i}", "estimate": i / 10, "low": i / 10 - 0.2, "high": i / 10 + 0.3, "verdict": "supported"}
        for i in range(5)
    ]  # fmt: skip
    return {"kind": "forest", "x": {"label": "exponent"}, "rows": rows, "references": [{"label": "none", "value": 0.0}]}


FIGURES: dict[str, Callable[[list[dict[str, Any]], str], dict[str, Any]]] = {
    "response": _response, "pair": _pair, "map": _map, "forest": _forest,
}  # fmt: skip


def findings_together(findings: list[Finding]) -> list[Finding]:
    """One finding over all tasks for each quantity that each task has one of."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Finding]] = defaultdict(list)
    for f in findings:
        groups[f.miner, f.quantity, f.hyperparameters].append(f)
    return [
        Finding(
            miner, None, names, quantity, f"Over {len(group)} tasks the {quantity} of {' and '.join(names)} is 0.3.",
            "supported" if i % 3 == 0 else "insufficient", 0.3, 0.2, 0.4, p_value=0.01, q_value=0.04,
            n_tasks=len(group), n_runs=10_000, run_ids=tuple(run for f in group for run in f.run_ids),
        )
        for i, ((miner, quantity, names), group) in enumerate(groups.items())
        if quantity in ("variance_share", "optimum", "map_0", "pair_0", "quantity_0")
    ]  # fmt: skip


def defaults_of(findings: list[Finding]) -> Iterator[tuple[str, str, str]]:
    values = dict.fromkeys(NUMBERS, 1e-3) | {name: levels[0] for name, levels in LEVELS.items()}
    regret = {"mean": 0.08, "low": 0.05, "high": 0.12, "worst": 0.3, "worst_task": findings[0].task, "tasks": 50}
    plateau = {name: [1e-4, 1e-2] for name in NUMBERS}
    for task in [None, *dict.fromkeys(f.task for f in findings if f.task)]:
        cited = [f.id for f in findings if f.task == task and f.verdict == "supported"][:10]
        configurations = [
            {"rank": rank, "values": values, "plateau": plateau, "held_out_regret": regret, "worth_random_trials": 22,
             "finding_ids": cited}
            for rank in (1, 2, 3)
        ]  # fmt: skip
        document = {
            "task": task, "objective": "val_loss:min", "configurations": configurations, "rules": [], "n_tasks": 50,
            "n_runs": 10_000, "verdict": "recommended", "reason": "",
        }  # fmt: skip
        yield task or "", "recommended", json.dumps(document)


# --- measuring ----------------------------------------------------------------------------------------------


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Returns seconds of the processor, seconds by the clock, and what the work returned."""
    cpu, clock = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - clock, result


def interactive(page: Path) -> float:
    """Returns when a page has run its scripts (ms since the navigation), on a processor slowed down four times."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": 4})
        times = []
        for _ in range(5):
            tab.goto(page.as_uri())
            times.append(tab.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
        browser.close()
    return float(min(times))  # the least of five: other work on the machine is not the page's


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="write the handbook here and leave it")
    parser.add_argument("--profile", action="store_true", help="print where the time of the first writing goes")
    options = parser.parse_args()
    connection = knowledge_base(options.tasks, options.runs)
    n_findings = connection.execute("SELECT count(*) FROM findings").fetchall()[0][0]
    folder = options.keep or Path(tempfile.mkdtemp(prefix="handbook-"))
    shutil.rmtree(folder, ignore_errors=True)
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    cold, clock, files = timed(lambda: write_handbook(connection, folder))
    profile.disable()
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    same, _, _ = timed(lambda: write_handbook(connection, folder))
    before = {p: p.stat().st_mtime_ns for p in files}
    connection.execute("UPDATE runs SET run_name = 'another' WHERE run_id = (SELECT min(run_id) FROM runs)")
    changed, _, files = timed(lambda: write_handbook(connection, folder))
    again = sum(before.get(p) != p.stat().st_mtime_ns for p in files)
    size = sum(p.stat().st_size for p in files) / 1e6
    largest = max((p for p in files if p.suffix == ".html"), key=lambda p: p.stat().st_size)
    start = (folder / "index.html").stat().st_size / 1e3
    print(f"{options.tasks} tasks, {options.tasks * options.runs:,} runs, {n_findings:,} findings, {len(files)} files")
    print(f"from an empty folder     {cold:6.1f} s of the processor, {clock:.1f} s by the clock")
    print(f"nothing changed          {same:6.1f} s")
    print(f"one run changed          {changed:6.1f} s, {again} files written")
    print(f"size                     {size:6.1f} MB; start page {start:.0f} kB")
    print(f"largest page             {largest.stat().st_size / 1e6:6.1f} MB, {largest.name}")
    told = {"cold_s": cold, "size_mb": size, "start_kb": start}
    if shutil.which("chromium") or shutil.which("google-chrome"):
        told["interactive_s"] = interactive(folder / "index.html") / 1e3
        print(f"start page interactive   {told['interactive_s']:6.2f} s, four times slowed")
        print(f"{largest.name} interactive {interactive(largest) / 1e3:6.2f} s, four times slowed")
    if not options.keep:
        shutil.rmtree(folder)
    missed = [name for name, value in told.items() if value > LIMITS[name]]
    print("within all limits" if not missed else f"over the limit: {', '.join(missed)}")
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
