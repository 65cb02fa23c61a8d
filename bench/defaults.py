"""Prints the normalised regret of hpkb's defaults on tasks that they were not derived from, beside random search.

Each task is held out in turn; of every other task a number of random runs is known. The default (and a greedy list of
four) is chosen from those and looked up in the whole table of the held-out task.

    python bench/defaults.py [--draws 10] [--known 100] [hpobench_mlp|taskset_rnn]...
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from others import HPOBENCH, TASKSET, load, sample

from hpkb.recommend import candidates
from hpkb.recommend.defaults import _portfolio
from hpkb.recommend.regret import best_of_random, on_regret
from hpkb.recommend.task_model import TaskModel, measured_regrets

TABLES = {"hpobench_mlp": HPOBENCH, "taskset_rnn": TASKSET}


def one_draw(sweeps, known, truths, names, rng):
    """Returns the regrets on each held-out task of the default and of the best of the list of four."""
    samples = [sample(s, known, rng) for s in sweeps]
    models = [TaskModel.fit(s, names, 0) for s in samples]
    pool = candidates.observed(samples, names)
    predicted = np.stack([m.predict(pool) for m in models])
    one, four = [], []
    for left_out, true in enumerate(truths):
        picks = _portfolio(np.delete(predicted, left_out, axis=0), 4)
        outcomes = [true[candidates.key(pool[p])] for p in picks]
        one.append(outcomes[0])
        four.append(min(outcomes))
    return one, four


def main() -> None:
    """Runs the protocol and prints one table a sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--known", type=int, default=100)
    args = parser.parse_args()
    for name in args.tables:
        start = time.perf_counter()
        sweeps = load(TABLES[name])
        names = sorted(TABLES[name].parameters)
        truths = [measured_regrets(on_regret(s), names) for s in sweeps]
        rng = np.random.default_rng(0)
        draws = [one_draw(sweeps, args.known, truths, names, rng) for _ in range(args.draws)]
        one, four = (np.array([d[i] for d in draws]) for i in (0, 1))
        print(f"{name}: {len(sweeps)} tasks, {args.known} runs known of each other task, {args.draws} draws")
        print(f"  default       {one.mean():.3f}  worst task {one.mean(axis=0).max():.2f}")
        print(f"  list of four  {four.mean():.3f}  worst task {four.mean(axis=0).max():.2f}")
        pools = [np.array(list(t.values())) for t in truths]
        for k in (1, 4, 8, 16, 32, 64):
            print(f"  random {k:<6} {np.mean([best_of_random(p, k) for p in pools]):.3f}")
        print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
