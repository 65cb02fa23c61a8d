"""Prints how well shares of variance from a few random runs agree with the exact ones of a whole table.

The table is the full grid of `hpobench_mlp` (8 tasks, 30,000 configurations, 5 seeds). Its exact functional ANOVA on
the means over seeds is the truth; a draw is 300 random configurations with one random seed each. Optuna's evaluators
see the same runs, once with the values as they are and once with the index of each value.

    python bench/importance.py [--draws 10] [--runs 300] [--tasks] [--without-optuna]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from others import HPOBENCH, load, sample
from peers import fanova, ped_anova
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpkb.miners import Context, importance
from hpkb.sweep import Sweep
from tests.truth.shares import shares_of

Shares = Callable[[Sweep], dict[tuple[str, ...], float]]
GOOD = 0.25


def exact(sweep: Sweep, best: float | None = None) -> dict[tuple[str, ...], float]:
    """Returns the shares of main effects and pairs over the full grid; capped at that quantile of the means."""
    index = [np.unique(h.values, return_inverse=True)[1] for h in sweep.hyperparameters]
    shape = [int(i.max()) + 1 for i in index]
    cell = np.ravel_multi_index(index, shape)
    y = sweep.y
    if best is not None:
        means = np.bincount(cell, weights=y) / np.bincount(cell)
        y = np.minimum(y, np.quantile(means, best))
    grid = (np.bincount(cell, weights=y) / np.bincount(cell)).reshape(shape)
    return shares_of(grid, [h.name for h in sweep.hyperparameters])


def ours(quantity: str) -> Shares:
    """Returns what gives the estimates of the miner's own quantity."""
    return lambda sweep: {
        f.hyperparameters: float(f.estimate)
        for f in importance.mine(Context(sweep))
        if f.quantity == quantity and isinstance(f.estimate, float)
    }


def agreement(found: dict[tuple[str, ...], float], truth: dict[tuple[str, ...], float]) -> tuple[float, float, float]:
    """Returns Spearman's correlation over what both have, whether the top pair is right, and the mean distance."""
    keys = [key for key in truth if key in found]
    a, b = (np.array([x[key] for key in keys]) for x in (found, truth))
    pairs = [key for key in keys if len(key) == 2]
    top = max(pairs, key=truth.__getitem__) == max(pairs, key=found.__getitem__) if pairs else np.nan
    return float(spearmanr(a, b).statistic), float(top), float(np.abs(a - b).mean())


def mains(truth: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Returns the main effects only, which is all that some evaluators give."""
    return {key: value for key, value in truth.items() if len(key) == 1}


def tell(label: str, how: Shares, sweeps: list[Sweep], truths: list[dict], args: argparse.Namespace) -> None:
    """Prints one evaluator's row, and on how many tasks each draw names the right pair."""
    rows, seconds, tops = [], [], []
    for draw in range(args.draws):
        rng = np.random.default_rng([draw, 1])
        for task, sweep in enumerate(sweeps):
            few = sample(sweep, args.runs, rng)
            start = time.perf_counter()
            found = how(few)
            seconds.append(time.perf_counter() - start)
            rows.append(agreement(found, truths[task]))
            tops.append((task, rows[-1][1]))
    spearman, top, distance = np.nanmean(np.array(rows), axis=0) if rows else (np.nan,) * 3
    right = "–" if np.isnan(top) else f"{top:.2f}"
    print(f"{label:<34}{spearman:9.3f}{right:>10}{distance:10.3f}{np.median(seconds):9.3f}", flush=True)
    if args.tasks and not np.isnan(top):
        by_task = [f"{s.task} {np.mean([t for i, t in tops if i == task]):.2f}" for task, s in enumerate(sweeps)]
        print("    right top pair by task: " + ", ".join(by_task))


def main() -> None:
    """Computes the exact shares and prints a row an evaluator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--without-optuna", action="store_true")
    parser.add_argument("--tasks", action="store_true", help="how often the pair is right, by task")
    args = parser.parse_args()
    sweeps = load(HPOBENCH)
    truth = [exact(s) for s in sweeps]
    for s, t in zip(sweeps, truth, strict=True):
        first, second = sorted((key for key in t if len(key) == 2), key=lambda key: -t[key])[:2]
        said = f"{' × '.join(first)} {t[first]:.3f}, then {' × '.join(second)} {t[second]:.3f}"
        print(f"{s.task:<20} learning_rate {t['learning_rate',]:.2f}; largest pair {said}")
    print(f"\n{'':<34}{'Spearman':>9}{'top pair':>10}{'distance':>10}{'s':>9}   {args.draws} draws of {args.runs} runs")
    tell("hpkb, main effects and pairs", ours("variance_share"), sweeps, truth, args)
    tell("hpkb, best quarter", ours("best_quarter_share"), sweeps, [exact(s, GOOD) for s in sweeps], args)
    if not args.without_optuna:
        only = [mains(t) for t in truth]
        tell("hpkb, main effects", lambda s: mains(ours("variance_share")(s)), sweeps, only, args)
        for indexed in (False, True):
            coded = ", index-coded" if indexed else ""
            tell(f"Optuna fANOVA{coded}", lambda s, i=indexed: fanova(s, i), sweeps, only, args)
            tell(f"Optuna PED-ANOVA{coded}", lambda s, i=indexed: ped_anova(s, i), sweeps, only, args)


if __name__ == "__main__":
    main()
