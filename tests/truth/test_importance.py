"""Shares of variance against functions whose exact decomposition is known, and tests of effects on noise."""

from __future__ import annotations

import itertools
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy.stats import spearmanr

from hpkb.miners import Context, importance
from hpkb.stats.effects import effects_of
from hpkb.stats.fanova import decompose
from hpkb.stats.gaussian import predict, process_of
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.planted import planted_sweep
from tests.truth.shares import shares_of

TABLES = Path(__file__).parents[2].parent / "shared" / "data" / "hpobench_mlp.parquet"
SCALES = {"learning_rate": "log", "weight_decay": "log", "momentum": "linear", "optimizer": "category"}


def sweep_of(values: dict[str, np.ndarray], y: np.ndarray) -> Sweep:
    levels = {"optimizer": ("AdamW", "SGD", "Lion")}
    n = y.size
    return Sweep(
        "analytic", "val_loss:min", tuple(map(str, range(n))), np.arange(n), np.full(n, np.nan), y,
        np.zeros(n, dtype=bool),
        tuple(Hyperparameter(k, SCALES[k], v, levels.get(k, ())) for k, v in values.items()),
    )  # fmt: skip


def analytic(rng: np.random.Generator, n: int = 300, noise: float = 0.05):
    """A sum of known variances: 1/3 for u, 4/45 for v's square, 1/9 · 4 for u·w, 2/3 · 0.25 for the category."""
    u, v, w = rng.uniform(-1, 1, (3, n))
    category = rng.integers(0, 3, n).astype(float)
    y = u + v**2 + 2 * u * w + 0.5 * (category - 1) + rng.normal(0, noise, n)
    values = {
        "learning_rate": np.exp(4 * u), "weight_decay": np.exp(3 * v), "momentum": w, "optimizer": category,
    }  # fmt: skip
    parts = {
        ("learning_rate",): 1 / 3, ("weight_decay",): 4 / 45, ("learning_rate", "momentum"): 4 / 9,
        ("optimizer",): 1 / 6,
    }  # fmt: skip
    total = sum(parts.values())
    return sweep_of(values, y), {names: part / total for names, part in parts.items()}


def shares(sweep: Sweep):
    return {f.hyperparameters: f for f in importance.mine(Context(sweep)) if f.quantity == "variance_share"}


def test_shares_are_those_of_the_analytic_function():
    covered = []
    for trial in range(8):
        sweep, truth = analytic(np.random.default_rng(trial))
        for names, finding in shares(sweep).items():
            exact = truth.get(names, 0.0)
            assert abs(finding.estimate - exact) < 0.15
            covered.append(finding.low - 0.01 <= exact <= finding.high + 0.01)
    assert np.mean(covered) >= 0.88


def test_planted_effects_are_found_and_no_others_beside_a_strong_interaction():
    planted, none = [], []
    for trial in range(80):
        sweep, truth = analytic(np.random.default_rng(trial))
        found = effects_of(sweep)
        for names, p in [*(((name,), p) for name, p in found.main.items()), *found.pair.items()]:
            (planted if names in truth else none).append(p <= 0.05)
    assert np.mean(planted) >= 0.95
    assert np.mean(none) <= 0.07


def test_the_decomposition_is_exact_on_the_processs_own_predictions():
    rng = np.random.default_rng(0)
    levels = [np.log([1e-4, 1e-3, 1e-2, 1e-1]), np.array([0.0, 0.5, 0.9]), np.arange(3.0)]
    rows = np.array(list(itertools.product(*levels)))[rng.integers(0, 36, 120)]
    y = rows[:, 0] * rows[:, 1] + (rows[:, 2] == 1) + rng.normal(0, 0.1, 120)
    columns = {"learning_rate": np.exp(rows[:, 0]), "momentum": rows[:, 1], "optimizer": rows[:, 2]}
    process = process_of(sweep_of(columns, y), 0)
    found = decompose(process)
    places = process.encoding.encode(np.array(list(itertools.product(*levels)))).astype(float)
    exact = shares_of(predict(process, places).reshape(4, 3, 3), ["0", "1", "2"])
    for j in range(3):
        assert found.main[j] == pytest.approx(exact[str(j),], rel=1e-4, abs=1e-6)
    for j, k in itertools.combinations(range(3), 2):
        assert found.pair[j, k] == pytest.approx(exact[str(j), str(k)], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "law",
    [
        {},
        {"repeats": 3, "unbalanced": True, "heavy_tails": True},
        {"n_configurations": 40, "optimizers": ("AdamW", "SGD"), "momentum": True, "diverging": True},
    ],
    ids=["plain", "heavy tails", "conditional"],
)
def test_the_tests_of_effects_hold_their_size_on_noise(law):
    p_values = []
    for trial in range(150):
        found = effects_of(planted_sweep(np.random.default_rng(trial), effect=False, **law)[0])
        p_values += [p for p in [*found.main.values(), *found.pair.values()] if p is not None]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.065
    assert np.mean(np.array(p_values) <= 0.01) <= 0.02


def test_on_pure_noise_at_most_one_claim_in_twenty_is_supported():
    verdicts = []
    for trial in range(20):
        sweep, _ = planted_sweep(np.random.default_rng(trial), effect=False, repeats=2)
        verdicts += [f.verdict == "supported" for f in importance.mine(Context(sweep))]
    assert np.mean(verdicts) <= 0.08


def test_a_huge_finite_loss_is_not_all_of_the_variance():
    sweep, _ = planted_sweep(np.random.default_rng(0), 100, heavy_tails=True)
    assert shares(sweep)["learning_rate",].estimate > 0.5


def test_an_absent_hyperparameter_leaves_the_difference_to_its_optimizer():
    sweep, _ = planted_sweep(
        np.random.default_rng(2), 150, optimizers=("AdamW", "SGD"), momentum=True, momentum_exponent=0.0
    )
    found = shares(sweep)
    assert found["momentum",].estimate < 0.05 < found["optimizer",].estimate


def test_the_best_quarter_has_shares_of_its_own():
    """Two steps: a large one that ruins half of all runs, and a small one that only good runs show."""
    rng = np.random.default_rng(0)
    u, v, w = rng.uniform(-1, 1, (3, 300))
    y = 3.0 * (u > 0) + 0.4 * np.abs(v) + rng.normal(0, 0.02, 300)
    sweep = sweep_of({"learning_rate": np.exp(u), "weight_decay": np.exp(v), "momentum": w}, y)
    found = {(f.quantity, f.hyperparameters): f for f in importance.mine(Context(sweep))}
    assert found["variance_share", ("learning_rate",)].estimate > 0.9
    decay = [found[q, ("weight_decay",)].estimate for q in ("variance_share", "best_quarter_share")]
    assert decay[1] > max(0.05, 5 * decay[0])
    assert found["best_quarter_share", ("weight_decay",)].condition == "best quarter"
    assert found["best_quarter_share", ("momentum",)].verdict != "supported"


def test_what_decides_whether_a_run_is_feasible():
    sweep, _ = planted_sweep(np.random.default_rng(3), 150, diverging=True)
    found = {f.hyperparameters: f for f in importance.mine(Context(sweep)) if f.quantity == "infeasibility_share"}
    assert found["learning_rate",].verdict == "supported"
    assert found["learning_rate",].estimate > 0.5
    assert found["dropout",].verdict != "supported"


def test_what_always_changed_together_is_claimed_by_neither():
    sweep, _ = planted_sweep(np.random.default_rng(4), 120)
    rate, decay = (sweep.hyperparameter(name) for name in ("learning_rate", "weight_decay"))
    decay.values[:] = rate.values * 0.1
    for f in importance.mine(Context(sweep)):
        if {"learning_rate", "weight_decay"} & set(f.hyperparameters):
            assert f.verdict != "supported"


def test_few_or_no_configurations_give_no_share():
    sweep, _ = planted_sweep(np.random.default_rng(0), 9)
    found = importance.mine(Context(sweep))
    assert {f.verdict for f in found} == {"insufficient"}
    assert all(f.estimate is None for f in found)


def table(task: str):
    names = ["learning_rate", "weight_decay", "batch_size", "depth", "width"]
    read = duckdb.execute(
        "SELECT learning_rate_init, alpha, batch_size, depth, width, seed, -val_acc AS y "
        "FROM read_parquet($path) WHERE task = $task ORDER BY config_id, seed",
        {"path": str(TABLES), "task": task},
    ).fetchnumpy()
    columns = [np.asarray(read[name], dtype=float) for name in list(read)[:5]]
    return names, columns, np.asarray(read["y"])


def exact_shares(columns, y):
    index = [np.unique(column, return_inverse=True)[1] for column in columns]
    shape = [i.max() + 1 for i in index]
    flat = np.ravel_multi_index(index, shape)
    grid = (np.bincount(flat, weights=y) / np.bincount(flat)).reshape(shape)
    mean, axes = grid.mean(), set(range(5))
    main = [grid.mean(axis=tuple(axes - {j})) - mean for j in range(5)]
    pairs = [
        grid.mean(axis=tuple(axes - {j, k})) - mean - main[j][:, None] - main[k][None, :]
        for j, k in itertools.combinations(range(5), 2)
    ]
    return np.array([(part**2).mean() for part in [*main, *pairs]]) / grid.var()


@pytest.mark.skipif(not TABLES.exists(), reason="the tables of HPOBench are not here")
@pytest.mark.parametrize("task", ["australian", "segment"])
def test_three_hundred_random_runs_agree_with_the_whole_table(task):
    names, columns, y = table(task)
    truth, agreement, top = exact_shares(columns, y), [], []
    for trial in range(4):
        rows = np.random.default_rng(trial).choice(y.size, 300, replace=False)
        _, configuration = np.unique(np.stack(columns)[:, rows], axis=1, return_inverse=True)
        sweep = Sweep(
            task, "val_acc:max", tuple(map(str, rows)), configuration, np.full(300, np.nan), y[rows],
            np.zeros(300, dtype=bool),
            tuple(Hyperparameter(n, "log", c[rows]) for n, c in zip(names, columns, strict=True)),
        )  # fmt: skip
        found = importance.shares_of(Context(sweep, trial))
        estimate = np.concatenate([found.main, found.pair[np.triu_indices(5, 1)]])
        agreement.append(spearmanr(estimate, truth).statistic)
        top.append(estimate[5:].argmax() == truth[5:].argmax())
    assert np.mean(agreement) >= 0.9
    assert sum(top) >= 3
