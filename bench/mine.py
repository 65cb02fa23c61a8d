"""Prints what mining costs: each miner on a usual task, many tasks at once, and importance beside Optuna's evaluators.

    python bench/mine.py [usual] [tasks] [peers] [growth] [--workers 2]

`usual` is one task of 300 runs and 8 hyperparameters; `tasks` 20 of 10,000 runs and 12; `peers` importance beside
Optuna's fANOVA and PED-ANOVA on 300 and on 10,000 runs, with the mean distance of their shares of main effects from
the planted ones; `growth` one task of 10,000, 30,000 and 100,000 runs. All are planted sweeps with diverged runs; the
time of what several miners share is told once. Times of single
miners and of peers are of the processor, those of whole reports by the clock: run it on a machine that is idle.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from peers import evaluated, study
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpkb import analysis, miners
from hpkb.sweep import Sweep
from tests.truth.laws.importance import true_shares
from tests.truth.planted import planted_sweep

FOUR = 4  # hyperparameters that do something; the others are noise


def planted(n: int, d: int, task: str = "planted", diverging: bool = True, seed: int = 0) -> Sweep:
    """Returns a planted sweep of n single runs and d hyperparameters."""
    law = {"ridge": -0.5, "batch_exponent": 0.5, "noise_hyperparameters": d - FOUR, "diverging": diverging}
    return planted_sweep(np.random.default_rng(seed), n, design="random", task=task, **law)[0]  # type: ignore[arg-type]


def timed(function: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Returns the seconds that a call takes: of the processor, which other work on the machine changes little."""
    start = clock()
    function()
    return clock() - start


def each(sweep: Sweep) -> dict[str, float]:
    """Returns the processor seconds of each miner on one task, on one thread; what they share stands apart."""
    seconds: dict[str, float] = {}
    with threadpool_limits(1):
        context = miners.Context(sweep)
        seconds["(aliases, shared)"] = timed(lambda: sweep.aliases)
        for name in ("process", "effects"):
            seconds[f"({name}, shared)"] = timed(lambda name=name: getattr(context, name))
        for name in miners.names():
            module = miners.load(name)
            seconds[name] = timed(lambda module=module: module.mine(context))
    return seconds


def stages(sweeps: list[Sweep], workers: int) -> tuple[float, float]:
    """Returns the seconds of mining and of choosing defaults, as `hpkb analyze` does both."""
    marks: list[float] = []

    def mark(_: str) -> None:
        marks.append(time.perf_counter())
        if len(marks) == 2:
            print(f"  (mined after {marks[1] - marks[0]:.1f} s)", flush=True)

    analysis.mine(sweeps, workers=workers, progress=mark)
    return marks[1] - marks[0], time.perf_counter() - marks[1]


def usual(workers: int) -> None:
    """Prints the seconds of each miner on 300 runs of 8 hyperparameters."""
    sweep = planted(300, 8)
    each(planted(40, 5))  # imports
    seconds = each(sweep)
    print("300 runs × 8 hyperparameters, one thread, seconds of the processor")
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"  {name:<28}{value:8.3f}")
    print(f"  {'all of them':<28}{sum(seconds.values()):8.3f}")
    mined, chosen = stages([sweep], workers)
    print(f"  hpkb.analysis.mine, {workers} workers: {mined:.2f}, with defaults {mined + chosen:.2f}", flush=True)


def tasks(workers: int) -> None:
    """Prints the seconds of 20 tasks of 10,000 runs and 12 hyperparameters."""
    sweeps = [planted(10_000, 12, f"task-{i:02}", seed=i) for i in range(20)]
    mined, chosen = stages(sweeps, workers)
    print(f"20 tasks × 10,000 runs × 12, {workers} workers: {mined:.1f} s, defaults {chosen:.1f} s more", flush=True)


def peers(_: int) -> None:
    """Prints seconds and accuracy of importance beside Optuna's evaluators on the same runs."""
    print(f"{'runs × hyperparameters':<28}{'':<24}{'s':>9}{'distance':>10}{'ratio':>8}")
    for n, d in ((300, 8), (10_000, 8)):
        law = {"ridge": -0.5, "batch_exponent": 0.5, "noise_hyperparameters": d - FOUR}
        sweep, truth = planted_sweep(np.random.default_rng(1), n, design="random", **law)  # type: ignore[arg-type]
        acting = tuple(h for h in sweep.hyperparameters if not h.name.startswith("noise"))
        named = replace(sweep, hyperparameters=acting)
        exact = {key: v for key, v in true_shares(named, truth).items() if len(key) == 1}
        exact |= {(h.name,): 0.0 for h in sweep.hyperparameters if h.name.startswith("noise")}
        found: dict[str, dict[tuple[str, ...], float]] = {}

        def ours(sweep: Sweep = sweep, found: dict = found) -> None:
            with threadpool_limits(1):
                shares = miners.load("importance").mine(miners.Context(sweep))
            found["hpkb"] = {f.hyperparameters: f.estimate for f in shares if f.quantity == "variance_share"}  # type: ignore[misc]

        seconds = {"hpkb": timed(ours)}
        made = study(sweep)
        for label, evaluator in (
            ("Optuna fANOVA", optuna.importance.FanovaImportanceEvaluator(seed=0)),
            ("Optuna PED-ANOVA", optuna.importance.PedAnovaImportanceEvaluator()),
        ):
            start = time.process_time()
            found[label] = evaluated(made, evaluator)
            seconds[label] = time.process_time() - start
        for label, value in seconds.items():
            distance = np.mean([abs(found[label].get(key, 0.0) - share) for key, share in exact.items()])
            ratio = value / seconds["hpkb"]
            print(f"{f'{n} × {d}':<28}{label:<24}{value:9.3f}{distance:10.3f}{ratio:8.1f}", flush=True)


def growth(_: int) -> None:
    """Prints how each miner's seconds grow with the runs of one task."""
    sizes = (10_000, 30_000, 100_000)
    rows = [each(planted(n, 8)) for n in sizes]
    print(f"{'one task, 8 hyperparameters':<28}" + "".join(f"{n:>10,}" for n in sizes) + "   times 10 runs")
    for name in sorted(rows[0], key=lambda name: -rows[-1][name]):
        times = [row[name] for row in rows]
        ratio = times[-1] / max(times[0], 1e-9)
        print(f"{name:<28}" + "".join(f"{t:10.3f}" for t in times) + f"{ratio:10.1f}", flush=True)


PARTS: dict[str, Callable[[int], None]] = {"usual": usual, "tasks": tasks, "peers": peers, "growth": growth}


def main() -> None:
    """Runs the parts asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    for name in args.parts or PARTS:
        PARTS[name](args.workers)


if __name__ == "__main__":
    main()
