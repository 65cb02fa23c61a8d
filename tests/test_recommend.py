"""Defaults: planted optima are found, tested where they were not derived, and not invented where little is known."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from hpkb.recommend.budget import worth_trying
from hpkb.recommend.defaults import recommend
from hpkb.recommend.families import families_of
from hpkb.recommend.library import TORCH
from hpkb.recommend.regret import best_of_random, run_regrets, worth_random_trials
from hpkb.sweep import Hyperparameter, Sweep


def sweep(
    task: str, n: int = 48, best: float = -6.0, noise: float = 0.02, flat: bool = False, seed: int = 0
) -> Sweep:
    """A bowl in ln learning_rate around `best`; the same configurations whatever the task."""
    design = np.random.default_rng(7)
    rate, optimizer = design.uniform(-9, -1, n), design.integers(0, 2, n).astype(float)
    rng = np.random.default_rng(seed)
    bowl = np.zeros(n) if flat else 0.1 * (rate - best) ** 2 + 0.5 * optimizer
    y = bowl + noise * rng.standard_normal(n)
    failed = np.zeros(n, dtype=bool) if flat else rate > -1.6
    parameters = (
        Hyperparameter("learning_rate", "log", np.exp(rate)),
        Hyperparameter("optimizer", "category", optimizer, ("AdamW", "SGD")),
    )
    ids = tuple(f"{task}-{i}" for i in range(n))
    return Sweep(
        task, "val_loss:min", ids, np.arange(n), np.zeros(n), np.where(failed, np.nan, y), failed, parameters
    )


def test_the_default_over_tasks_is_near_the_common_optimum() -> None:
    document = recommend([sweep(f"t{i}", best=-6.0 + 0.2 * i, seed=i) for i in range(5)], k=3)
    first = document["configurations"][0]
    assert document["verdict"] == "recommended"
    assert -7.5 < np.log(first["values"]["learning_rate"]) < -4.0
    assert first["values"]["optimizer"] == "AdamW"
    low, high = first["plateau"]["learning_rate"]
    assert low <= first["values"]["learning_rate"] <= high
    assert first["held_out_regret"]["mean"] < 0.2
    assert first["held_out_regret"]["measured_share"] == 1.0
    assert first["worth_random_trials"] >= 3
    assert [c["rank"] for c in document["configurations"]] == [1, 2, 3]


def test_the_list_is_never_worse_than_its_first() -> None:
    sweeps = [sweep(f"t{i}", best=-7.0 + i, seed=i) for i in range(4)]
    regrets = [c["list_held_out_regret"]["mean"] for c in recommend(sweeps, k=4)["configurations"]]
    assert regrets == sorted(regrets, reverse=True)


def test_tasks_that_disagree_get_no_common_default() -> None:
    sweeps = [sweep(f"t{i}", best=best, seed=i) for i, best in enumerate((-9.0, -1.8, -9.0, -1.8))]
    assert recommend(sweeps)["verdict"] == "insufficient"


@pytest.mark.parametrize("how", ["shuffled", "reversed"])
def test_a_misleading_task_is_named_and_moves_nothing(how: str) -> None:
    honest = [sweep(f"t{i}", best=-6.0 + 0.2 * i, seed=i) for i in range(6)]
    y = honest[2].y
    wrong = -y if how == "reversed" else np.random.default_rng(3).permutation(y)
    misleading = replace(honest[2], task="wrong", y=wrong, infeasible=~np.isfinite(wrong))
    without, with_it = recommend(honest)["configurations"][0], recommend([*honest, misleading])
    low, high = without["plateau"]["learning_rate"]
    assert low <= with_it["configurations"][0]["values"]["learning_rate"] <= high
    assert with_it["configurations"][0]["values"]["optimizer"] == without["values"]["optimizer"]
    assert with_it["set_aside"] == ["wrong"]
    assert "wrong" in with_it["configurations"][0]["held_out_regret"]["by_task"]  # set aside, not hidden


def test_honest_tasks_are_not_set_aside() -> None:
    assert recommend([sweep(f"t{i}", best=-6.0 + 0.2 * i, seed=i) for i in range(6)])["set_aside"] == []


def test_where_no_constant_transfers_there_is_a_range_to_search() -> None:
    sweeps = [sweep(f"t{i}", best=best, seed=i) for i, best in enumerate((-9.0, -7.5, -6.0, -3.5, -2.0, -1.8))]
    document = recommend(sweeps)
    assert document["verdict"] == "insufficient"
    assert document["reason"].startswith("No constant transfers") or "median" in document["reason"]
    space = document["search_space"]["learning_rate"]
    assert space["scale"] == "log"
    assert np.log(space["low"]) < -7.0
    assert np.log(space["high"]) > -3.0
    assert "AdamW" in document["search_space"]["optimizer"]["levels"]


def test_five_runs_of_one_hyperparameter_on_one_task_make_no_default() -> None:
    runs = sweep("t", n=5)
    document = recommend([replace(runs, hyperparameters=runs.hyperparameters[:1])], "t")
    assert document["verdict"] == "insufficient"
    assert document["configurations"] == []


def test_noise_gets_no_default() -> None:
    verdicts = [recommend([sweep("t", flat=True, seed=s)], "t")["verdict"] for s in range(12)]
    assert verdicts.count("recommended") <= 2  # two of a hundred seeds do; both are among these twelve


@pytest.mark.parametrize(("n", "tasks"), [(48, 1), (48, 2), (5, 4)])
def test_too_little_data_is_said(n: int, tasks: int) -> None:
    document = recommend([sweep(f"t{i}", n=n, seed=i) for i in range(tasks)])
    assert document["verdict"] == "insufficient"
    assert document["configurations"] == []
    assert document["reason"].endswith(".")


def test_no_sweep_at_all() -> None:
    assert recommend([])["verdict"] == "insufficient"


def test_given_values_stand_in_every_configuration() -> None:
    document = recommend([sweep(f"t{i}", seed=i) for i in range(4)], given={"optimizer": "SGD"}, k=2)
    assert {c["values"]["optimizer"] for c in document["configurations"]} == {"SGD"}


def test_a_diverged_run_has_the_worst_regret() -> None:
    regrets = run_regrets(sweep("t"))
    assert (regrets[sweep("t").infeasible] == 2.0).all()
    assert regrets.min() == 0.0


def test_the_values_are_typed_and_cost_no_more_than_those_that_were_run() -> None:
    first = recommend([sweep(f"t{i}", best=-6.0 + 0.2 * i, seed=i) for i in range(5)])["configurations"][0]
    rate = first["values"]["learning_rate"]
    assert rate == float(f"{rate:.1g}")
    assert first["held_out_regret"]["mean"] < 0.1


def with_repeats(task: str, best: float, optimizer: str = "AdamW") -> Sweep:
    """A bowl with three seeds of each configuration, and a weight decay that does not matter."""
    once = sweep(task, best=best)
    rows = np.repeat(np.arange(once.n_runs), 3)
    rng = np.random.default_rng([ord(letter) for letter in task])
    rate = once.hyperparameters[0].values[rows]
    decay = np.exp(np.random.default_rng(4).uniform(-12, -2, once.n_runs))[rows]
    own, seeds = 0.02 * rng.standard_normal(once.n_runs), 0.02 * rng.standard_normal(rows.size)
    return Sweep(
        task, "val_loss:min", tuple(f"{task}-{i}" for i in range(rows.size)), rows, np.tile([0.0, 1, 2], once.n_runs),
        0.1 * (np.log(rate) - best) ** 2 + own[rows] + seeds, np.zeros(rows.size, dtype=bool),
        (Hyperparameter("learning_rate", "log", rate), Hyperparameter("weight_decay", "log", decay)),
        {"optimizer": optimizer},
    )  # fmt: skip


def test_the_librarys_own_default_stands_on_the_same_scale() -> None:
    far, near = (recommend([with_repeats(f"t{i}", best) for i in range(4)]) for best in (-2.5, np.log(1e-3)))
    for document in (far, near):
        library = document["library_default"]
        assert library["values"] == {"learning_rate": 1e-3, "weight_decay": 0.01}
        assert library["held_out_regret"]["tasks"] == 4
    worse, alike = (d["library_default"]["held_out_regret"]["mean"] for d in (far, near))
    assert worse > 0.5 + far["configurations"][0]["held_out_regret"]["mean"]
    assert abs(alike - near["configurations"][0]["held_out_regret"]["mean"]) < 0.1


@pytest.mark.parametrize(
    ("optimizer", "low", "says"),
    [
        ("Shampoo", None, "torch has no defaults for 'Shampoo'"),
        ("", None, "The optimizer was not recorded"),
        ("Adadelta", None, "learning_rate 1 and weight_decay 0 was never tried"),
    ],
)
def test_where_the_library_cannot_be_placed_it_is_said(optimizer: str, low: None, says: str) -> None:
    one = with_repeats("t", -6.0, optimizer)
    if not optimizer:
        one = replace(one, fixed={})
    library = recommend([one], "t")["library_default"]
    assert library["held_out_regret"] is None
    assert library["reason"].startswith("It cannot be placed")
    assert says in library["reason"]


def test_torchs_defaults_are_those_of_the_torch_that_is_there() -> None:
    torch = pytest.importorskip("torch")
    for name, values in TORCH.items():
        known = inspect.signature(getattr(torch.optim, name)).parameters
        own = {"learning_rate": known["lr"].default}
        own |= {n: known[n].default for n in ("weight_decay", "momentum") if n in known}
        if "betas" in known:
            own["beta1"], own["beta2"] = known["betas"].default
        if "eps" in known:
            own["epsilon"] = known["eps"].default
        assert {n: own[n] for n in values} == dict(values), name


def test_a_task_says_how_many_trials_are_worth_their_cost() -> None:
    document = recommend([with_repeats("t", -6.0)], "t")
    budget = document["budget"]
    assert budget["verdict"] == "supported"
    sets = [part["hyperparameters"] for part in budget["sets"]]
    assert sets == [["learning_rate"], ["learning_rate", "weight_decay"]]
    for part in budget["sets"]:
        assert 1 <= part["low"] <= part["trials"] <= (part["high"] or 1000)
        assert part["expected_regret"] < 0.5
    assert recommend([sweep("t")], "t")["budget"]["verdict"] == "insufficient"  # no seed repeats
    assert recommend([sweep(f"t{i}", seed=i) for i in range(3)])["budget"]["sets"] == []


def test_a_search_is_worth_going_on_while_doubling_gains_more_than_noise() -> None:
    pool = np.random.default_rng(0).uniform(0, 2, 400)  # the best of k has 2 / (k + 1): twice as many gain 1 / k
    assert worth_trying(pool, 0.1) == pytest.approx(9, abs=2)
    assert worth_trying(pool, 0.02) == pytest.approx(49, abs=12)
    assert worth_trying(pool, 3.0) == 1
    assert worth_trying(pool, 0.0) == 200  # half of what was tried


def test_a_family_is_left_out_as_a_whole() -> None:
    names = ("mnist_mlp", "mnist_cnn", "cifar_cnn", "cifar_vit", "imdb")
    sweeps = [sweep(n, best=-6.0 if n.startswith("m") else -3.5, seed=i) for i, n in enumerate(names)]
    first = recommend(sweeps)["configurations"][0]
    assert first["held_out_family_regret"]["by"] == "the first word of the name"
    assert first["held_out_family_regret"]["families"] == 3
    # what its sibling knows is taken away
    alone, whole = (first[name]["by_task"]["mnist_mlp"] for name in ("held_out_regret", "held_out_family_regret"))
    assert whole >= alone
    assert "held_out_family_regret" not in recommend([sweep(f"t{i}", seed=i) for i in range(4)])["configurations"][0]


@pytest.mark.parametrize(
    ("fixed", "by"), [({"data.dataset": "A"}, "the data set"), ({"family": "x", "dataset": "B"}, "the family that")]
)
def test_families_are_those_that_the_runs_recorded(fixed: dict[str, str], by: str) -> None:
    sweeps = [replace(sweep(f"t_{i}"), fixed=fixed if i < 2 else {k: f"{v}{i}" for k, v in fixed.items()})
              for i in range(4)]  # fmt: skip
    found = families_of(sweeps)
    assert found is not None
    assert found.by.startswith(by)
    assert sorted(map(len, found.groups.values())) == [1, 1, 2]
    assert families_of(sweeps[:2]) is None  # one family


def test_best_of_random_equals_a_simulation() -> None:
    rng = np.random.default_rng(0)
    pool = rng.uniform(0, 2, 30)
    simulated = rng.choice(pool, (200_000, 3)).min(axis=1).mean()
    assert best_of_random(pool, 3) == pytest.approx(simulated, abs=0.01)
    assert best_of_random(pool, 1) == pytest.approx(pool.mean())
    assert worth_random_trials(best_of_random(pool, 5) + 1e-9, [pool]) == 5


def test_the_same_runs_give_the_same_default() -> None:
    sweeps = [sweep(f"t{i}", seed=i) for i in range(3)]
    assert recommend(sweeps, k=2) == recommend(sweeps[::-1], k=2)
