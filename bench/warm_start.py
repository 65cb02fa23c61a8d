"""Prints the regret of `hpkb suggest --design bayes` on tasks it has not seen, beside Optuna's samplers started cold.

Each task is held out in turn; of every other task a number of random runs is known. hpkb asks one trial after another,
first its greedy list of four, then TPE told the other tasks' runs; a proposal counts as the nearest configuration of
the held-out task's table. Regret is that of the best trial so far: 0 the best of the table, 1 its median.

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
from hpkb.recommend.choice import portfolio
from hpkb.recommend.likeness import likeness
from hpkb.recommend.regret import configuration_means, on_regret
from hpkb.recommend.task_model import TaskModel
from hpkb.suggest.bayes import ask
from hpkb.suggest.known import Known
from hpkb.suggest.space import space_of


class Lookup:
    """A held-out task: the regret of the nearest configuration of its table."""

    def __init__(self, sweep, names) -> None:
        self.sweep, self.names = sweep, names
        first = candidates.first_rows(sweep)
        self.first = np.array(first)
        self.regrets = configuration_means(on_regret(sweep), on_regret(sweep).y)
        own = np.stack([sweep.hyperparameter(n).transformed[first] for n in names], axis=1)
        self.levels = [np.unique(column) for column in own.T]
        self.rows = {tuple(row): i for i, row in enumerate(own)}

    def nearest(self, values) -> int:
        """The number of the configuration nearest to the values on each axis."""
        at = []
        for name, levels in zip(self.names, self.levels, strict=True):
            scale = self.sweep.hyperparameter(name).scale
            place = np.log(values[name]) if scale == "log" else values[name]
            at.append(levels[np.abs(levels - place).argmin()])
        return self.rows[tuple(at)]


def warm(held, samples, names, trials, seed) -> list[float]:
    """The best regret after each trial of hpkb's search."""
    models = [TaskModel.fit(s, names, 0) for s in samples]
    pool = candidates.observed(samples, names)
    picks = portfolio(np.stack([m.predict(pool) for m in models]), 4)
    overall = {"verdict": "recommended", "configurations": [{"values": pool[p]} for p in picks]}
    tried = [held.nearest(pool[picks[0]])]
    while len(tried) < trials:
        own = held.sweep.subset(held.first[np.unique(tried)])
        known = Known(own, space_of(own), (), {}, "", seed + len(tried), overall)
        found, _ = ask(known, likeness(own, samples), 2)
        tried.append(held.nearest(found[0].values) if found else tried[-1])
    return list(np.minimum.accumulate(held.regrets[tried]))


def cold(held, samplers, trials, seed) -> list[float]:
    """The best regret after each trial of an Optuna study that knows nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=samplers(seed=seed))

    def objective(trial) -> float:
        values = {}
        for name, levels in zip(held.names, held.levels, strict=True):
            log = held.sweep.hyperparameter(name).scale == "log"
            low, high = (np.exp(levels[[0, -1]]) if log else levels[[0, -1]]).tolist()
            values[name] = trial.suggest_float(name, low, high, log=log)
        number = held.nearest(values)
        tried.append(number)
        return float(held.regrets[number])

    tried: list[int] = []
    study.optimize(objective, n_trials=trials)
    return list(np.minimum.accumulate(held.regrets[tried]))


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
            others = samples[:i] + samples[i + 1 :]
            results.setdefault("hpkb", []).append(warm(task, others, names, args.trials, 100 * draw + i))
            for label, sampler in samplers.items():
                results.setdefault(label, []).append(cold(task, sampler, args.cold, 100 * draw + i))
        print(f"draw {draw + 1} ({time.perf_counter() - start:.0f} s)", flush=True)
    for label, curves in results.items():
        by_task = np.array(curves).reshape(args.draws, len(held), -1).mean(axis=0)
        ks = [k for k in (1, 4, 8, 16, 32, 64) if k <= by_task.shape[1]]
        shown = "  ".join(f"{k}: {by_task[:, k - 1].mean():.3f}" for k in ks)
        print(f"{label:<5} after {shown}   by task at the end {np.round(by_task[:, -1], 3).tolist()}")


if __name__ == "__main__":
    main()
