"""Prints the normalised regret of hpkb's defaults on tasks that they were not derived from, beside others' and random.

Each task is held out in turn; of every other task a number of random configurations is known, one run each. A list of
four is chosen from those and looked up in the whole table of the held-out task; its first is the default. hpkb may pick
any configuration of the table's design (the settings, no outcome of the held-out task), the others what was run. Below
them what no method can know: the greedy choice on the whole tables of the other tasks, and in hindsight on all tables.

    python bench/defaults.py [--draws 10] [--known 100] [hpobench_mlp|taskset_rnn|deepobs_sgd|algoperf_base]...
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from default_peers import PEERS
from default_tables import TABLES
from others import sample
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor

from hpkb.recommend import candidates
from hpkb.recommend.choice import choose, portfolio, related
from hpkb.recommend.regret import best_of_random, on_regret
from hpkb.recommend.task_model import TaskModel, measured_regrets

DESIGN = 3_000  # configurations of a larger design that hpkb looks at, drawn anew each time


def one_draw(sweeps, known, truths, names, rng):
    """Returns the measured regret of each place in each method's list on each held-out task: {method: (tasks, 4)}."""
    samples = [sample(s, min(known, s.n_configurations), rng) for s in sweeps]
    models = [TaskModel.fit(s, names, 0) for s in samples]
    which = related(models)
    tables = peer_tables(samples, models, names)
    design = candidates.observed(sweeps, names) if len(truths[0]) <= DESIGN else None
    outcomes = {method: [] for method in ("hpkb", *PEERS)}
    for left_out, true in enumerate(truths):
        others = which([i for i in range(len(models)) if i != left_out])
        pool = [c for c in design or drawn(sweeps[left_out], names, rng) if candidates.key(c) in true]
        picks = choose([models[i] for i in others], pool, 4, 0).picks
        outcomes["hpkb"].append([true[candidates.key(pool[p])] for p in picks])
        keep = [i for i, key in enumerate(tables[0]) if key in true]
        for method, choice in PEERS.items():
            measured, filled = (np.delete(t, left_out, axis=0)[:, keep] for t in tables[1:])
            run = ~np.isnan(measured).all(axis=0)
            ran = np.flatnonzero(run)
            picks = choice(measured[:, ran], filled[:, ran])
            outcomes[method].append([true[tables[0][keep[ran[p]]]] for p in picks])
    return {method: np.array(found) for method, found in outcomes.items()}


def drawn(sweep, names, rng):
    """Returns random configurations of a sweep's design."""
    rows = np.sort(rng.permutation(candidates.first_rows(sweep))[:DESIGN])
    return [candidates.read(sweep, row, names) for row in rows]


def peer_tables(samples, models, names):
    """Returns the keys of what was run anywhere, and over it each task's regrets (NaN: not run) and forest's ranks."""
    pool = candidates.observed(samples, names)
    keys = [candidates.key(c) for c in pool]
    measured = np.array([[m.measured.get(key, np.nan) for key in keys] for m in models])
    filled = []
    for model in models:
        ranks = (rankdata(model.sweep.y) - 1) / (model.sweep.n_runs - 1)
        rows = candidates.features(model.sweep.hyperparameters, candidates.placed(model.sweep))
        at = candidates.encode(model.sweep, pool)
        known = ~np.isnan(at).any(axis=1)
        filled.append(np.full(len(pool), 0.5))
        forest = RandomForestRegressor(100, min_samples_leaf=2, random_state=0).fit(rows, ranks)
        filled[-1][known] = forest.predict(candidates.features(model.sweep.hyperparameters, at[known]))
    return keys, measured, np.array(filled)


def ceilings(truths):
    """Yields a label and the regrets, (tasks,), of the first and the best of four that whole tables would choose."""
    keys = sorted(set(truths[0]).intersection(*truths[1:]), key=str)
    table = np.array([[t[key] for key in keys] for t in truths])
    for label, scale in (("all known, mean", table), ("all known, mean of roots", np.sqrt(table))):
        picks = [portfolio(np.delete(scale, i, axis=0), 4) for i in range(len(table))]
        found = np.array([row[chosen] for row, chosen in zip(table, picks, strict=True)])
        yield label, found[:, 0], found.min(axis=1)
    hindsight = table[:, portfolio(table, 4)]
    yield "in hindsight", hindsight[:, 0], hindsight.min(axis=1)


def report(name: str, draws: int, known: int) -> None:
    """Runs the protocol on one table and prints it."""
    start = time.perf_counter()
    sweeps = TABLES[name]()
    names = [h.name for h in sweeps[0].hyperparameters]
    truths = [measured_regrets(on_regret(s), names) for s in sweeps]
    rng = np.random.default_rng(0)
    runs = [one_draw(sweeps, known, truths, names, rng) for _ in range(draws)]
    print(f"{name}: {len(sweeps)} tasks, {known} runs known of each other task, {draws} draws")
    print(f"  {'':26}default  (worst task)        four  (worst task)")
    for method in runs[0]:
        found = np.array([r[method] for r in runs])
        cells = []
        for regrets in (found[:, :, 0], found.min(axis=2)):
            by_task = regrets.mean(axis=0)
            error = regrets.mean(axis=1).std(ddof=1) / draws**0.5
            cells.append(f"{regrets.mean():.3f} ± {error:.3f} ({by_task.max():.2f})")
        worst = sweeps[int(found[:, :, 0].mean(axis=0).argmax())].task
        print(f"  {method:26}{cells[0]}   {cells[1]}   worst: {worst}")
    for label, one, four in ceilings(truths):
        print(f"  {label:26}{one.mean():.3f}         ({one.max():.2f})   {four.mean():.3f}         ({four.max():.2f})")
    pools = [np.array(list(t.values())) for t in truths]
    reached = {k: np.mean([best_of_random(p, k) for p in pools]) for k in (1, 4, 8, 16, 32, 64)}
    print("  random " + "  ".join(f"{k}: {regret:.3f}" for k, regret in reached.items()))
    print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)


def main() -> None:
    """Runs the tables that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--known", type=int, default=100)
    args = parser.parse_args()
    for name in args.tables:
        report(name, args.draws, args.known)


if __name__ == "__main__":
    main()
