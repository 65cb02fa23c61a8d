"""Prints what each command costs on one knowledge base of 100,000 runs: wall clock, processor and memory.

    python bench/knowledge.py [--tasks 100] [--runs 100000] [--keep DIR] [--mined | --miner NAME]... [--rounds 3]

The store is an MLflow SQLite file with so many runs in so many tasks, of ten hyperparameters and three short curves
each, with tags as `hpkb log` writes them, written by SQL. It is brought into a knowledge base and analyzed. Mining 100
tasks in full takes long, so the findings are made from nothing unless `--mined` or `--miner` is given: as many a task,
with the same charts and the same runs behind each, as `bench/handbook.py` has them; everything else of the analysis,
the handbook too, is real. With `--keep` the store and the knowledge base stay, and are taken as they are the next time.

Every command is a process of its own, its start included, and the least of the rounds is shown: other work on the
machine is not the command's. Memory is the most that the process has held.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

STEPS = (1, 50, 100, 200, 400, 800)  # of each curve
METRICS = ("train_loss", "val_loss", "learning_rate")
LEVELS = {"optimizer": ("AdamW", "SGD", "RMSprop"), "lr_schedule": ("constant", "cosine", "step", "warm_restarts")}
START = 1_700_000_000_000
RUN = "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, source_type, user_id, " \
      "artifact_uri, experiment_id) VALUES (?, ?, 'FINISHED', ?, ?, 'active', 'LOCAL', 'me', 'mlflow-artifacts:/r', ?)"
POINT = '(run_uuid, "key", value, step, timestamp, is_nan) VALUES (?, ?, ?, ?, ?, ?)'
CHANGE = "UPDATE params SET value = value || '1' WHERE \"key\" = 'weight_decay' AND run_uuid = ?"


@dataclass(frozen=True)
class Trial:
    """One run of the store: its parameters, its last validation loss (NaN where it diverged), its place."""

    run_id: str
    task: str
    number: int
    params: dict[str, str]
    loss: float


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds by the clock, seconds of the processor, MiB at most; its output's bytes."""

    wall: float
    cpu: float
    memory: float
    written: int


def trials(task: int, n: int) -> Iterator[Trial]:
    """Yields the runs of a task: two seeds of each configuration, a bowl in the learning rate, a cliff above it."""
    draw = np.random.default_rng([17, task])
    name, best = f"task_{task:03d}", draw.uniform(-8, -5)
    for i in range(n):
        if i % 2 == 0:
            rate, decay = math.exp(draw.uniform(-11, -2)), math.exp(draw.uniform(-12, -3))
            values = _drawn(draw) | {"learning_rate": f"{rate:.4g}", "weight_decay": f"{decay:.4g}"}
        loss = 0.3 + 0.03 * (math.log(rate) - best) ** 2 + 0.02 * (values["optimizer"] == "SGD")
        diverged = math.log(rate) > best + 4 and draw.random() < 0.5
        loss = math.nan if diverged else loss + 0.01 * float(draw.standard_normal())
        yield Trial(f"{task:08x}{i:024x}", name, i, {**values, "seed": str(i % 2)}, loss)


def _drawn(draw: np.random.Generator) -> dict[str, str]:
    values = {name: levels[int(draw.integers(len(levels)))] for name, levels in LEVELS.items()}
    values |= {"batch_size": str(2 ** int(draw.integers(4, 9))), "dropout": f"{draw.uniform(0.01, 0.5):.3f}"}
    values |= {"label_smoothing": f"{draw.uniform(0.01, 0.2):.3f}", "warmup_steps": str(int(draw.integers(1, 200)))}
    values |= {"gradient_clip_norm": f"{math.exp(draw.uniform(-2, 2)):.3g}", "epochs": "10"}
    return values | {"momentum": f"{draw.uniform(0.5, 0.99):.2f}"}


def make_store(file: Path, n_tasks: int, n_runs: int) -> str:
    """Makes an MLflow store of so many runs in all; returns its URI."""
    from hpkb.ship.schema import ensure_store

    uri = f"sqlite:///{file}"
    ensure_store(uri)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES "
                         "('bench', 'mlflow-artifacts:/bench', 'active')")  # fmt: skip
        (experiment,) = database.execute("SELECT max(experiment_id) FROM experiments").fetchone()
        for task in range(n_tasks):
            add(database, list(trials(task, n_runs // n_tasks)), experiment)
    return uri


def add(database: sqlite3.Connection, made: Sequence[Trial], experiment: int) -> None:
    """Writes runs into MLflow's own tables."""
    began = {t.run_id: START + 60_000 * (1_000 * int(t.task[5:]) + t.number) for t in made}
    runs = ((t.run_id, f"{t.task}-{t.number}", at, at + 30_000, experiment) for t in made for at in [began[t.run_id]])
    database.executemany(RUN, runs)
    params = ((t.run_id, name, value) for t in made for name, value in t.params.items())
    database.executemany('INSERT INTO params (run_uuid, "key", value) VALUES (?, ?, ?)', params)
    tags = ((t.run_id, name, value) for t in made for name, value in _tags(t))
    database.executemany('INSERT INTO tags (run_uuid, "key", value) VALUES (?, ?, ?)', tags)
    for table, steps in (("metrics", STEPS), ("latest_metrics", STEPS[-1:])):
        database.executemany(f"INSERT INTO {table} {POINT}", _points(made, began, steps))


def _tags(trial: Trial) -> Iterator[tuple[str, str]]:
    yield from (("hpkb.task", trial.task), ("hpkb.schema", "1"), ("hpkb.end.reason", "exit status 0"))
    yield from (("hpkb.hw.cpu.model", "EPYC 7B13"), ("hpkb.code.git.commit", "0" * 40), ("hpkb.env.python", "3.11.7"))
    for role, n in (("training", 1437), ("validation", 360)):
        yield from ((f"hpkb.split.{role}.digest", f"{trial.task}-{role}"), (f"hpkb.split.{role}.n", str(n)))


def _points(made: Sequence[Trial], began: dict[str, int], steps: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    for t in made:
        rate, end = float(t.params["learning_rate"]), STEPS[-1]
        for step in steps:
            fall = 2 * math.exp(-8 * step / end)
            for metric, value in zip(METRICS, (t.loss * 0.9 + fall, t.loss + fall, rate), strict=True):
                is_nan = math.isnan(value) and step > STEPS[0]
                value = 2.5 if math.isnan(value) else value
                yield t.run_id, metric, 0.0 if is_nan else value, step, began[t.run_id] + 30 * step, is_nan


# --- the knowledge base -------------------------------------------------------------------------------------


def analyzed(folder: Path, uri: str, miners: Sequence[str], mined: bool) -> None:
    """Analyzes the store; the findings are made from nothing unless miners are named, or all are to run."""
    import hpkb.analysis
    from hpkb.pipeline import AnalysisSettings, analyze_store

    mine = hpkb.analysis.mine
    if not (mined or miners):
        hpkb.analysis.mine = made_from_nothing  # type: ignore[assignment]
    try:
        settings = AnalysisSettings(
            source=uri, kb=folder / "hpkb.duckdb", handbook=folder / "handbook", miners=tuple(miners),
            workers=len(os.sched_getaffinity(0)),
        )  # fmt: skip
        start = time.perf_counter()

        def say(stage: str) -> None:
            print(f"  {time.perf_counter() - start:7.1f} s  {stage}", flush=True)

        report = analyze_store(settings, say)
    finally:
        hpkb.analysis.mine = mine
    found = sum(report.verdicts.values())
    print(f"  {time.perf_counter() - start:7.1f} s  done: {report.n_runs:,} runs, {found:,} findings", flush=True)


def made_from_nothing(sweeps: Sequence[Any], *_: Any, **__: Any) -> Any:
    """Returns what mining might have found in these sweeps, in no time."""
    import handbook  # beside this file
    from hpkb.analysis import Mined

    draw = np.random.default_rng(0)
    findings = [f for sweep in sweeps for f in handbook.findings_of_task(draw, sweep.task, _as_trials(sweep))]
    findings += handbook.findings_together(findings)
    defaults = {task or None: json.loads(text) for task, _, text in handbook.defaults_of(findings)}
    return Mined(tuple(findings), defaults)


def _as_trials(sweep: Any) -> list[dict[str, Any]]:
    """The runs of a sweep as `bench/handbook.py` has them."""
    columns = {h.name: [h.label(v) if h.levels else float(v) for v in h.values] for h in sweep.hyperparameters}
    return [
        {"id": run, "values": {name: column[i] for name, column in columns.items()}, "diverged": bool(diverged),
         "loss": None if diverged else round(float(y), 5)}
        for i, (run, y, diverged) in enumerate(zip(sweep.run_ids, sweep.y, sweep.infeasible, strict=True))
    ]  # fmt: skip


# --- measuring ----------------------------------------------------------------------------------------------


def commands(uri: str, miners: Sequence[str]) -> dict[str, list[str]]:
    """The commands to measure."""
    given = ["--given", "batch_size=256"]
    some = ["lr=3e-4", "weight_decay=0.01", "batch_size=64"]
    return {
        "analyze, nothing new": ["analyze", "--tracking-uri", uri, *(f"--miner={name}" for name in miners)],
        "findings of one task": ["findings", "--task", "task_007"],
        "findings of a miner on a task, json": [
            "findings", "--task", "task_007", "--miner", "importance", "--format", "json"
        ],
        "findings, all": ["findings"],
        "findings, all, csv": ["findings", "--format", "csv"],
        "findings, all, json": ["findings", "--format", "json"],
        "recommend": ["recommend"],
        "recommend for a task": ["recommend", "--task", "task_007"],
        "recommend for a task, given": ["recommend", "--task", "task_007", *given],
        "recommend, given": ["recommend", *given],
        "check for a task": ["check", "--task", "task_007", *some],
        "check": ["check", *some],
    }  # fmt: skip


# A process begins with the memory that its parent held as the most that it has held: so its parent is a small one.
STARTER = """
import resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status, file=sys.stderr)
"""


def cost(arguments: Sequence[str], folder: Path) -> Cost:
    """Runs `hpkb` with these arguments in a folder, and returns what that took."""
    command = [sys.executable, "-S", "-c", STARTER, sys.executable, "-m", "hpkb", *arguments]
    ran = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert ran.stdout is not None
    assert ran.stderr is not None
    written = 0
    while part := ran.stdout.read(1 << 20):
        written += len(part)
    wall, cpu, memory, status = map(float, ran.stderr.read().split())
    ran.wait()
    if status not in (0, 1):  # 1: something speaks against a configuration
        raise SystemExit(f"hpkb {' '.join(arguments)} ended with {status:g}")
    return Cost(wall, cpu, memory, written)


def show(folder: Path, uri: str, rounds: int, chosen: Sequence[str], miners: Sequence[str]) -> None:
    """Prints a table of the commands."""
    print(f"{'command':38}{'wall s':>9}{'cpu s':>9}{'MiB':>8}{'output kB':>11}   best of {rounds}", flush=True)
    for name, arguments in commands(uri, miners).items():
        if chosen and not any(name.startswith(word) for word in chosen):
            continue
        costs = [cost(arguments, folder) for _ in range(rounds)]
        wall, cpu, memory = (min(getattr(c, what) for c in costs) for what in ("wall", "cpu", "memory"))
        print(f"{name:38}{wall:9.2f}{cpu:9.2f}{memory:8.0f}{costs[0].written / 1e3:11,.0f}", flush=True)


def timed(what: str, work: Callable[[], object]) -> None:
    """Does the work and prints how long it took by the clock."""
    start = time.perf_counter()
    work()
    print(f"{what:38}{time.perf_counter() - start:9.2f} s", flush=True)


def changed(folder: Path, uri: str, task: int) -> None:
    """Changes one run of a task in the store."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database, database:
        database.execute(CHANGE, (f"{task:08x}{0:024x}",))


def main() -> None:
    """Makes what is not there yet, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--runs", type=int, default=100_000, help="in all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder to make all this in, or that has it from before")
    parser.add_argument("--mined", action="store_true", help="run all miners, instead of making findings from nothing")
    parser.add_argument("--miner", action="append", default=[], help="run this miner alone; can be repeated")
    parser.add_argument("--one-changed", action="store_true", help="also the analysis after one run has changed")
    parser.add_argument("--only", action="append", default=[], help="measure commands that begin with this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        if not (folder / "mlflow.db").exists():
            timed("store", lambda: make_store(folder / "mlflow.db", given.tasks, given.runs))
        print("analyze, for the first time, or where the code changed", flush=True)
        analyzed(folder, uri, given.miner, given.mined)
        size = (folder / "hpkb.duckdb").stat().st_size / 1e6
        print(f"knowledge base {size:,.0f} MB, store {(folder / 'mlflow.db').stat().st_size / 1e6:,.0f} MB", flush=True)
        show(folder, uri, given.rounds, given.only, given.miner)
        if given.one_changed:
            changed(folder, uri, 7)
            print("analyze, one run having changed", flush=True)
            analyzed(folder, uri, given.miner, given.mined)


if __name__ == "__main__":
    main()
