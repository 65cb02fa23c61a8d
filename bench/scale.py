"""Prints what it costs to bring points into a lake and to analyze them, at several sizes, and how that grows.

    python bench/scale.py [--points 10M 100M 1G] [--workers 2] [--keep DIR] [--engine local]

The runs of `bench/planted.py` (four curves of 10,000 steps each, 250 runs a task, a ridge in learning rate and weight
decay) go straight into a lake in a temporary folder; then `hpkb analyze` makes a knowledge base and a handbook of it,
and does so again with nothing new; of the first it is said how long its stages took, of which "putting tasks together"
is what no engine splits. Every stage is a process of its own. Time is by the clock and of all processors;
memory is the most that all processes of a stage held together (proportional set size, looked at five times a second);
bytes are those of the lake and of the knowledge base. At the end the share of ridges whose 95% interval holds the
planted exponent, the exponents of time and memory in the number of points, and what a cluster would need for 10^12.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import planted  # noqa: E402 (the benches stand beside each other)

UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}
TARGET = 10**12
MACHINES, CORES = 10, 64  # of the cluster


@dataclass(frozen=True)
class Cost:
    """What one stage cost: seconds by the clock and of the processors, bytes of memory at most."""

    points: int
    stage: str
    seconds: float
    processor: float
    memory: int


def sync(lake: str, n_runs: int, engine: str, workers: int) -> None:
    """Brings so many runs into the lake."""
    from hpkb.engine import engine_of
    from hpkb.lake import sync

    with engine_of(engine, workers) as by:
        print(sync.sync(lake, partial(planted.Planted, n_runs), by))


def generation() -> float:
    """Returns the processor's seconds that it takes to make a point, to be taken off the time of a sync."""
    source = planted.Planted(50)
    ids = source.fingerprints()["run_id"].combine_chunks()
    began = time.process_time()
    points = sum(batch.num_rows for batch in source.curves(ids))
    return (time.process_time() - began) / points


def measured(points: int, stage: str, command: Sequence[str]) -> Cost:
    """Runs a command and returns what it cost."""
    began, before = time.monotonic(), os.times()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with _memory_of(process.pid) as peak:
        out, error = process.communicate()
    if process.returncode:
        sys.exit(f"{stage}: {error.strip() or out}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(points, stage, time.monotonic() - began, used, peak[0])


def analyze(folder: Path, stages: Path, engine: str, workers: int) -> None:
    """Analyzes the lake in the folder as `hpkb analyze` does, and writes down how long each stage took."""
    from hpkb.pipeline import AnalysisSettings, analyze_store

    begun = [("starting", time.monotonic())]
    kb, handbook = folder / "hpkb.duckdb", folder / "handbook"
    settings = AnalysisSettings(str(folder / "lake"), kb, handbook=handbook, workers=workers, engine=engine)
    analyze_store(settings, lambda stage: begun.append((stage, time.monotonic())))
    ends = [*(at for _, at in begun[1:]), time.monotonic()]
    took = {stage: round(end - at, 1) for (stage, at), end in zip(begun, ends, strict=True)}
    stages.write_text(json.dumps(took))


@contextmanager
def _memory_of(pid: int) -> Iterator[list[int]]:
    """Yields a list whose one entry becomes the most that the process and its children held together."""
    peak, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], sum(map(_held, _tree(pid))))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peak
    finally:
        done.set()
        looking.join()


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found += map(int, children.split())
    return found


def _held(pid: int) -> int:
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", told, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def one_size(points: int, folder: Path, engine: str, workers: int) -> tuple[list[Cost], dict[str, object]]:
    """Returns what each stage cost at a size, and what came out of it."""
    n_runs = max(1, points // planted.POINTS_OF_A_RUN)
    points = n_runs * planted.POINTS_OF_A_RUN
    lake, kb = str(folder / "lake"), str(folder / "hpkb.duckdb")
    by = ["--engine", engine, "--workers", str(workers)]
    stages = folder / "stages.json"
    here = [sys.executable, __file__]
    costs = [
        measured(points, "lake", [*here, "--sync", str(n_runs), lake, *by]),
        measured(points, "analyze", [*here, "--analyze", str(folder), str(stages), *by]),
        measured(points, "analyze again", [*here, "--analyze", str(folder), os.devnull, *by]),
    ]
    told = {
        "seconds of the stages": json.loads(stages.read_text()),
        "runs": n_runs,
        "lake": _size(folder / "lake"),
        "knowledge base": _size(Path(kb)),
        **_ridges(kb),
    }
    return costs, told


def _size(place: Path) -> int:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _ridges(kb: str) -> dict[str, object]:
    """How many tasks have a ridge stated, and how many of the intervals hold the planted exponent."""
    import hpkb

    with hpkb.open(kb) as base:
        tasks = len(base.task_names())
        found = [
            f for f in base.findings(miner="lr_weight_decay") if f.quantity == "ridge_exponent" and f.task
        ]
    stated = [f for f in found if f.low is not None and f.high is not None]
    # d ln learning_rate / d ln weight_decay
    held = sum(float(f.low) <= planted.EXPONENT <= float(f.high) for f in stated)  # type: ignore[arg-type]
    return {"tasks": tasks, "ridges": len(stated), "intervals that hold the exponent": held}


def exponent(costs: Sequence[Cost], what: str) -> float:
    """Returns the slope of ln cost in ln points, by least squares."""
    x = [math.log(cost.points) for cost in costs]
    y = [math.log(max(1e-9, float(getattr(cost, what)))) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / over if over else math.nan


def tell(costs: Sequence[Cost]) -> None:
    """Prints the exponents, and what a cluster would need for 10^12 points."""
    stages = list(dict.fromkeys(cost.stage for cost in costs))
    print("\nexponent in the number of points")
    for stage in stages:
        of_stage = [cost for cost in costs if cost.stage == stage]
        slopes = {what: exponent(of_stage, what) for what in ("seconds", "processor", "memory")}
        print(f"  {stage:<16}", *(f"{what} {slope:5.2f}  " for what, slope in slopes.items()))
    last = {cost.stage: cost for cost in costs}
    made = generation() * last["lake"].points
    lake = last["lake"].points / max(1e-9, last["lake"].processor - made)
    analysis = last["analyze"].points / last["analyze"].processor
    print(f"\nmaking the points took {made:,.0f} s of the lake's time")
    print(
        f"a core and second, at the largest size: {lake:,.0f} points into the lake, {analysis:,.0f} analyzed"
    )
    hours = {"lake": TARGET / lake / 3600, "analyze": TARGET / analysis / 3600}
    for stage, core_hours in hours.items():
        print(
            f"10^12 points, {stage}: {core_hours:,.0f} core hours; on {MACHINES} machines of {CORES} cores "
            f"{core_hours / MACHINES / CORES:,.1f} hours"
        )


def sizes(texts: Sequence[str]) -> list[int]:
    """Returns the numbers that 10M, 1G are."""
    return [int(float(text.rstrip("kMG")) * UNITS.get(text[-1], 1)) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", nargs="+", default=["10M", "100M", "1G"])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engine", default="local")
    parser.add_argument("--keep", type=Path, help="a folder for lakes, knowledge bases and handbooks")
    parser.add_argument("--sync", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--analyze", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sync:
        return sync(args.sync[1], int(args.sync[0]), args.engine, args.workers)
    if args.analyze:
        return analyze(*args.analyze, args.engine, args.workers)
    costs: list[Cost] = []
    print(f"{'points':>15}  {'stage':<16} {'seconds':>9} {'processor':>10} {'memory':>9}")
    for points in sizes(args.points):
        with tempfile.TemporaryDirectory(prefix="hpkb-scale-", dir=args.keep) as folder:
            place = args.keep / f"{points}" if args.keep else Path(folder)
            place.mkdir(exist_ok=True, parents=True)
            found, told = one_size(points, place, args.engine, args.workers)
        for cost in found:
            print(
                f"{cost.points:>15,}  {cost.stage:<16} {cost.seconds:>8.1f}s {cost.processor:>9.1f}s "
                f"{cost.memory / 1e6:>6,.0f} MB",
                flush=True,
            )
        print(f"{'':>17}{json.dumps(told)}", flush=True)
        costs += found
    tell(costs)


if __name__ == "__main__":
    main()
