"""Tasks: which runs are compared, whatever order they come in, and why."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpkb.corrections import NO_CORRECTIONS, Corrections, RunsRule
from hpkb.kb import connect, ingest_into
from hpkb.kb.grouping import Evidence, Grouping, group, plain_value
from hpkb.kb.judging import TaskSummary
from hpkb.kb.same_data import Split
from hpkb.sources import open_source
from hpkb.sources.objectives import Objective
from tests.kb.rawstore import RawStore

LOSS = {"val_loss": [2.0, 1.0]}


def piece(
    experiment: str = "a", dataset: str | None = None, model: str | None = None, problem: str | None = None,
    digests: str = "", sizes: Sequence[int | None] = (50_000, 10_000, 10_000), seed: int | None = None, n_runs: int = 1,
    objective: str | None = "val_loss:min",
) -> Evidence:  # fmt: skip
    """`digests` are those of training, validation and test; a dot is none."""
    roles = zip(("training", "validation", "test"), digests.split(), sizes, strict=False)
    splits = tuple(Split(role, digest, size) for role, digest, size in roles if digest != ".")
    draws = () if seed is None else (("seed", str(seed)),)
    return Evidence(experiment, dataset, problem, model, splits, draws, n_runs, objective)


def tasks_of(*pieces: Evidence, taken: Sequence[str] = ()) -> list[str]:
    """The tasks' names, of all orders of the evidence the same."""
    found = [g.task for g in group(pieces, frozenset(taken))]
    for seed in range(3):
        order = random.Random(seed).sample(range(len(pieces)), len(pieces))
        again = group([pieces[i] for i in order], frozenset(taken))
        assert [found[i] for i in order] == [g.task for g in again]
    return found


def test_an_experiment_is_a_task_where_nothing_tells_its_runs_apart() -> None:
    assert tasks_of(piece("a"), piece("b"), piece("a", seed=1)) == ["a", "b", "a"]
    assert group([piece("a", "cifar10", "ResNet")]) == [Grouping("a", "experiment")]


def test_data_sets_and_models_of_one_experiment_are_tasks() -> None:
    pieces = [piece("a", d, m) for d in ("cifar10", "svhn") for m in ("ResNet18", "ViT")]
    assert tasks_of(*pieces) == ["cifar10 · ResNet18", "cifar10 · ViT", "svhn · ResNet18", "svhn · ViT"]
    assert group(pieces)[0].grouped_by == "experiment, data set and model"
    assert tasks_of(piece("a", None, "MLP"), piece("a", None, "CNN")) == ["a · MLP", "a · CNN"]
    assert tasks_of(piece("glue", problem="mrpc"), piece("glue", problem="cola")) == [
        "glue · mrpc",
        "glue · cola",
    ]


def test_spellings_and_places_of_one_data_set_are_one() -> None:
    spelled = ("cifar10", "CIFAR-10", "/data/cifar10/train", "/home/u/data/cifar10/", "s3://bucket/cifar10")
    assert {*tasks_of(*(piece("a", name) for name in spelled))} == {"a"}
    assert plain_value("./data") is None
    assert plain_value("user/set") == "user/set"
    paths = [piece("a", f"/tmp/run{i}/x.csv") for i in range(4)]
    assert len({*tasks_of(*(replace(p, dataset=f"/tmp/{i}/run{i}.csv") for i, p in enumerate(paths)))}) == 1


def test_a_digest_says_more_than_a_name() -> None:
    moved = tasks_of(piece("a", "cifar", digests="d v"), piece("a", "cifar-v2", digests="d v"))
    assert moved == ["a", "a"]
    part = tasks_of(
        piece("a", "cifar", digests="d v"), piece("a", "cifar", digests="e w", sizes=(5_000, 10_000))
    )
    assert part == ["a · cifar · 50,000 examples, digest d", "a · cifar · 5,000 examples, digest e"]


def test_a_split_that_is_drawn_anew_is_the_same_data() -> None:
    by_seed = [piece("a", digests=f"t{s} v{s}", seed=s, n_runs=20) for s in range(3)]
    assert tasks_of(*by_seed) == ["a"] * 3
    by_run = [piece("a", digests=f"t{i} v{i}") for i in range(10)]
    assert tasks_of(*by_run) == ["a"] * 10
    fixed_test = [piece("a", digests=f"t{i} v{i} test", n_runs=9) for i in range(3)]
    assert tasks_of(*fixed_test) == ["a"] * 3
    sizes = [(80, 20), (80, 20), (80, 20), (81, 19), (81, 19)]
    whole = [piece("a", digests=f"t{i} v{i}", sizes=sizes[i], n_runs=9) for i in range(5)]
    folds = [replace(fold, draws=(("fold", str(i)),)) for i, fold in enumerate(whole)]
    assert tasks_of(*folds) == ["a"] * 5


def test_other_data_of_the_same_size_is_other_data() -> None:
    mnist = [piece("a", digests="m mv", seed=s, n_runs=4) for s in range(3)]
    fashion = [piece("a", digests="f fv", seed=s, n_runs=4) for s in range(3)]
    found = tasks_of(*mnist, *fashion)
    assert len({*found}) == 2
    assert len({*found[:3]}) == len({*found[3:]}) == 1
    both_drawn = [
        piece("a", name, digests=f"{name}{s} v{name}{s}", seed=s) for name in ("m", "f") for s in range(3)
    ]
    assert tasks_of(*both_drawn) == ["m"] * 3 + ["f"] * 3


def test_runs_that_do_not_say_it_go_with_those_that_are_else_alike() -> None:
    assert tasks_of(piece("a", digests="d v"), piece("a"), piece("a", model="CNN")) == ["a"] * 3
    two = [piece("a", "x", "A"), piece("a", "y", "B"), piece("a", None, "A"), piece("a", "y"), piece("a")]
    assert tasks_of(*two) == ["x · A", "y · B", "x · A", "y · B", "a · data unknown · model unknown"]
    named = [piece("a", "x", digests="d v"), piece("a", "y", digests="e w", seed=1), piece("a", "x")]
    assert tasks_of(*named) == ["x", "y", "x"]


def test_experiments_are_one_task_only_with_the_same_digest_model_and_objective() -> None:
    one = [piece("lr", digests="d v", model="CNN"), piece("wd", digests="d v", model="CNN")]
    assert tasks_of(*one) == ["lr + wd · CNN"] * 2
    assert group(one)[0].grouped_by == "digest of the data, model and objective"
    assert tasks_of(*(replace(p, dataset="digits") for p in one)) == ["digits · CNN"] * 2
    assert tasks_of(one[0], replace(one[1], model="MLP")) == ["lr", "wd"]
    assert tasks_of(one[0], replace(one[1], model=None)) == ["lr", "wd"]
    assert tasks_of(one[0], replace(one[1], objective="val_acc:max")) == ["lr", "wd"]
    assert tasks_of(piece("lr", "digits", "CNN"), piece("wd", "digits", "CNN")) == ["lr", "wd"]


def test_no_two_tasks_have_one_name() -> None:
    pieces = [piece(e, d, "A") for e in ("e", "f") for d in ("x", "y")]
    assert tasks_of(*pieces) == ["e · x · A", "e · y · A", "f · x · A", "f · y · A"]
    assert tasks_of(*pieces[:2], taken=["x · A"]) == ["e · x · A", "y · A"]
    assert tasks_of(piece("e"), taken=["e"]) == ["e"]


def ingest(store: RawStore, kb: Path, corrections: Corrections = NO_CORRECTIONS) -> dict[str, TaskSummary]:
    report = ingest_into(kb, open_source(store.uri), corrections=corrections)
    return {task.task: task for task in report.tasks_shown}


def test_a_run_that_comes_later_may_move_earlier_ones(store: RawStore, tmp_path: Path) -> None:
    grown, draw = tmp_path / "grown.duckdb", random.Random(1)
    for round_ in range(6):
        for i in range(4):
            data, seed = draw.choice(["x", "y"][: 1 + (round_ > 1)]), draw.choice([0, 1])
            params = {"dataset": data, "seed": seed, "lr": 0.1 * (i + 1)}
            params |= {"model": draw.choice(["A", "B"])} if round_ > 2 else {}
            tags = {"hpkb.split.training.digest": f"{data}{seed}", "hpkb.split.training.n": "100"}
            tags |= {"hpkb.task": "given"} if draw.random() < 0.1 else {}
            experiment = draw.choice(["first", "second"])
            store.run(
                experiment, params, {"val_loss": [2.0, draw.random()]}, tags if draw.random() < 0.7 else {}
            )
        if round_ == 4:
            store.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE rowid % 3 = 0")
        shown = ingest(store, grown)
        rebuilt = tmp_path / f"rebuilt{round_}.duckdb"
        assert ingest(store, rebuilt) == shown
        assert rows(grown) == rows(rebuilt)
    assert len(shown) > 2


def rows(kb: Path) -> dict[str, list[str]]:
    with connect(kb, read_only=True) as connection:
        return {t: sorted(map(repr, connection.execute(f"FROM {t}").fetchall())) for t in ("tasks", "runs")}


def test_why_is_told(store: RawStore, tmp_path: Path) -> None:
    for model in ("A", "B", "B"):
        store.run("bench", {"config.model.name": model}, LOSS)
    store.run("bench", {"model": "C"}, LOSS, {"hpkb.task": "mine"})
    store.run("other", curves={"grad_norm": [1.0]})
    found = ingest(store, tmp_path / "kb.duckdb")
    reason = "a validation loss, lower is better; 2 of 2 ended runs have it"
    assert found["bench · B"] == TaskSummary("bench · B", 2, "experiment and model", "val_loss:min", reason)
    assert (found["mine"].grouped_by, found["other"].grouped_by) == ("tag hpkb.task", "experiment")
    assert (found["other"].objective, found["other"].reason) == (
        None,
        "no metric that could be one is recorded",
    )
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        told = connection.execute("SELECT task_id, grouped_by, objective_reason FROM tasks").fetchall()
    assert ("bench · B", "experiment and model", reason) in told


def test_a_digest_of_the_length_alone_makes_no_two_experiments_one_task(
    store: RawStore, tmp_path: Path
) -> None:
    for experiment in ("a", "b"):
        for role, digest_of in (("same", "shape"), ("own", "all")):
            tags = {"hpkb.split.training.digest": role, "hpkb.split.training.digest_of": digest_of}
            store.run(f"{role} {experiment}", {"model": "CNN"}, LOSS, tags)
    assert sorted(ingest(store, tmp_path / "kb.duckdb")) == ["own a + own b · CNN", "same a", "same b"]


def test_corrections_of_tasks_and_objectives(store: RawStore, tmp_path: Path) -> None:
    for model in ["gpt-2", "gpt-3", "rnn"] * 2:
        store.run(
            "nano-1", {"model": model}, {"val_loss": [1.0], "bits": [2.0, 3.0]}, {"hpkb.task": "tagged"}
        )
    rules = (
        RunsRule("nano*", {"model": "gpt-*"}, {}, "shakespeare", (Objective("bits", "max"),)),
        RunsRule("nano*", {}, {}, "rest"),
    )
    found = ingest(store, tmp_path / "kb.duckdb", Corrections(runs=rules))
    assert {name: (task.n_runs, task.grouped_by) for name, task in found.items()} == {
        "shakespeare": (4, "hpkb.toml"), "rest": (2, "hpkb.toml"),
    }  # fmt: skip
    assert (found["shakespeare"].objective, found["rest"].objective) == ("bits:max", "val_loss:min")
    assert found["shakespeare"].reason == "hpkb.toml says so; 4 of 4 ended runs have it"
    assert {*ingest(store, tmp_path / "kb.duckdb")} == {"tagged"}


def test_an_objective_in_the_corrections_that_no_run_has_is_a_question(
    store: RawStore, tmp_path: Path
) -> None:
    store.run("a", curves=LOSS)
    store.run("b", curves=LOSS)
    rule = RunsRule("b", {}, {}, None, (Objective("top5", "max"),))
    found = ingest(store, tmp_path / "kb.duckdb", Corrections(runs=(rule,)))
    assert (found["a"].objective, found["b"].objective) == ("val_loss:min", None)
    assert found["b"].reason == "hpkb.toml says top5:max, which no ended run has"


@pytest.mark.parametrize("objective", [None, "val_loss:min", "val_loss:max"])
def test_final_best_and_smoothed_best_are_kept_apart(
    store: RawStore, tmp_path: Path, objective: str | None
) -> None:
    curve = [5.0, 4.0, 1.0, 4.0] + [3.0] * 36 + [3.5, float("nan"), 3.25, 3.5]
    run = store.run("a", curves={"val_loss": curve})
    ingest_into(tmp_path / "kb.duckdb", open_source(store.uri), objective=objective)
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        columns = "run_id, objective_of, objective, objective_best, objective_smoothed_best"
        ((found, of, final, best, smoothed),) = connection.execute(f"SELECT {columns} FROM runs").fetchall()
    assert (found, of, final) == (run, objective or "val_loss:min", 3.5)
    windows = defaultdict(list)
    for place, value in enumerate(curve):
        windows[place * 20 // len(curve)].append(value)
    means = [sum(finite) / len(finite) for w in windows.values() if (finite := [v for v in w if v == v])]
    extreme = max if objective == "val_loss:max" else min
    assert best == extreme(v for v in curve if v == v)
    assert smoothed == pytest.approx(extreme(means))
