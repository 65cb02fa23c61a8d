"""Prints the regret of Optuna studies that start with what other tasks have shown, beside Optuna's samplers cold.

Each task is held out in turn; of every other task a number of random runs is known to hpkb. All studies choose
among the levels of the held-out task's table: the cold ones by the levels' numbers, which are in order. A trial gives
the result of one seed. Regret is that of the best configuration so far, by its mean over seeds: 0 the best of the
table, 1 its median.

    python bench/warm_start.py [--draws 2] [--known 100] [--trials 8] [--cold 32]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import optuna
from others import HPOBENCH, load, sample

from hpkb.recommend import candidates
from hpkb.recommend.regret import configuration_means, on_regret
from hpkb.suggest.sampler import KnowledgeSampler


class Lookup:
    """A held-out task: the result of one seed and the regret of each configuration of its table, by its levels."""

    def __init__(self, sweep, names) -> None:
        self.names, self.objective = names, sweep.objective
        first = np.array(candidates.first_rows(sweep))
        scaled = on_regret(sweep)
        regrets = configuration_means(scaled, scaled.y)
        columns = [sweep.hyperparameter(n).values[first] for n in names]
        self.levels = [np.unique(column).tolist() for column in columns]
        keys = zip(*(column.tolist() for column in columns), strict=True)
        self.known = dict(zip(keys, zip(sweep.y[first].tolist(), regrets.tolist(), strict=True), strict=True))

    def search(self, sampler, trials, by_number) -> list[float]:
        """The regret of the best trial so far after each trial of a study."""
        found = []

        def objective(trial) -> float:
            chosen = []
            for name, levels in zip(self.names, self.levels, strict=True):
                if by_number:
                    chosen.append(levels[trial.suggest_int(name, 0, len(levels) - 1)])
                else:
                    chosen.append(trial.suggest_categorical(name, levels))
            y, regret = self.known[tuple(chosen)]
            found.append(regret)
            return y

        optuna.create_study(sampler=sampler).optimize(objective, n_trials=trials)
        return list(np.minimum.accumulate(found))


def main() -> None:
    """Runs the protocol and prints a line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--known", type=int, default=100)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--cold", type=int, default=32)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    names = sorted(HPOBENCH.parameters)
    sweeps = load(HPOBENCH)
    held = [Lookup(s, names) for s in sweeps]
    print(f"loaded in {time.perf_counter() - start:.0f} s", flush=True)
    samplers = {"TPE": optuna.samplers.TPESampler, "GP": optuna.samplers.GPSampler}
    results: dict[str, list[list[float]]] = {}
    for draw in range(args.draws):
        samples = [sample(s, args.known, np.random.default_rng([draw, i])) for i, s in enumerate(sweeps)]
        for i, task in enumerate(held):
            seed = 100 * draw + i
            warm = KnowledgeSampler(samples[:i] + samples[i + 1 :], seed, task.objective)
            results.setdefault("hpkb", []).append(task.search(warm, args.trials, by_number=False))
            for label, sampler in samplers.items():
                results.setdefault(label, []).append(task.search(sampler(seed=seed), args.cold, by_number=True))
        print(f"draw {draw + 1} ({time.perf_counter() - start:.0f} s)", flush=True)
    for label, curves in results.items():
        by_task = np.array(curves).reshape(args.draws, len(held), -1).mean(axis=0)
        ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= by_task.shape[1]]
        shown = "  ".join(f"{k}: {by_task[:, k - 1].mean():.3f}" for k in ks)
        print(f"{label:<5} after {shown}   by task at the end {np.round(by_task[:, -1], 3).tolist()}")


if __name__ == "__main__":
    main()
