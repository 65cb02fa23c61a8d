"""What a captured run tells of its data, whichever way they were split."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torch")

from .running import Captured, RunEach

TRAININGS = [
    "as_it_is", "one_changed", "shared_index", "shared_content", "apart", "every_epoch_anew", "part_of_training",
    "forgotten_in_training", "pictures", "files", "stream", "batch_sampler", "pairs", "hand_cut", "large", "large_copy",
    "large_changed", "dropped", "mapped",
]  # fmt: skip
BY_SKLEARN = ["from_sklearn", "folds"]


def tags(captured: Captured) -> dict[str, str]:
    return {name: value for record in captured.of_type("tags") for name, value in record["values"].items()}


def overlap(captured: Captured) -> str | None:
    return tags(captured).get("hpkb.split.overlap")


@pytest.fixture(scope="module")
def trainings(run_each: RunEach) -> dict[str, Captured]:
    """Each training of splits.py as a run of its own; the first two sets of them ran in different processes."""
    pytest.importorskip("numpy")
    found = {}
    sets = [TRAININGS, ["as_it_is", "large"]]
    if _has_sklearn():
        sets.append(BY_SKLEARN)
    for number, names in enumerate(sets):
        for name, ran in run_each("splits.py", names).items():
            assert "hpkb" not in ran.stderr
            found[f"{name} again" if number == 1 else name] = ran
    return found


def _has_sklearn() -> bool:
    import importlib.util

    return importlib.util.find_spec("sklearn") is not None


def digest(captured: Captured, role: str = "training") -> Any:
    return captured.splits[role]["digest"]


def test_one_element_after_the_ten_thousandth_row_counts(trainings: dict[str, Captured]) -> None:
    assert digest(trainings["as_it_is"]) != digest(trainings["one_changed"])
    assert digest(trainings["large"]) != digest(trainings["large_changed"])
    assert trainings["large"].splits["training"]["digest_of"] == "all"


def test_the_same_split_has_the_same_digest(trainings: dict[str, Captured]) -> None:
    for role in ("training", "validation"):
        assert digest(trainings["large"], role) == digest(trainings["large_copy"], role)
        assert digest(trainings["shared_index"], "training") == digest(trainings["shared_content"], "training")
    for name in ("as_it_is", "large"):
        assert digest(trainings[name]) == digest(trainings[f"{name} again"])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("shared_index", "training+validation: 1 by index, 1 by content"),
        ("shared_content", "training+validation: 1 by content"),
        ("forgotten_in_training", "training+validation: 1000 by index, 1000 by content"),
        ("pictures", "training+validation: 2 by content"),
        ("files", "training+validation: 10 by content"),
        ("pairs", "training+validation: 1 by content"),
        ("large", "training+validation: 1 by index, 1 by content"),
    ],
)
def test_what_two_splits_share_is_found(trainings: dict[str, Captured], name: str, found: str) -> None:
    assert overlap(trainings[name]) == found
    assert tags(trainings[name])["hpkb.split.leakage"] == "true"


@pytest.mark.parametrize("name", ["apart", "every_epoch_anew"])
def test_splits_that_share_nothing(trainings: dict[str, Captured], name: str) -> None:
    assert overlap(trainings[name]) == "none"
    assert "hpkb.split.leakage" not in tags(trainings[name])


def test_an_evaluation_on_training_data_is_no_split(trainings: dict[str, Captured]) -> None:
    assert set(trainings["part_of_training"].splits) == {"training"}
    assert overlap(trainings["part_of_training"]) is None


def test_loaders_made_anew_each_epoch_are_told_once(trainings: dict[str, Captured]) -> None:
    assert len(trainings["every_epoch_anew"].of_type("split")) == 2


def test_how_a_loader_goes_through_its_data(trainings: dict[str, Captured]) -> None:
    split = trainings["pictures"].splits["training"]
    assert (split["sampler"], split["shuffle"], split["last_batch_size"]) == ("WeightedRandomSampler", True, 1000)
    assert (split["workers"], split["drop_last"], split["batch_size"]) == (0, False, 3000)
    batches = trainings["batch_sampler"]
    assert (batches.splits["training"]["sampler"], batches.params["loader.last_batch_size"]) == ("RandomSampler", 100)
    assert trainings["shared_index"].splits["validation"]["role_by"].startswith("drawn without gradients")


@pytest.mark.parametrize("name", ["as_it_is", "pictures", "files", "pairs"])
def test_class_balance(trainings: dict[str, Captured], name: str) -> None:
    split = trainings[name].splits["training"]
    balance = json.loads(split["balance"])
    assert sorted(balance) == ["0", "1", "2"]
    assert sum(balance.values()) == split["n"]


def test_what_is_not_known_is_absent(trainings: dict[str, Captured]) -> None:
    assert not trainings["hand_cut"].of_type("split")
    assert not trainings["stream"].of_type("split")
    assert "n unknown" in tags(trainings["stream"])["hpkb.split.training.dataset"]
    assert "balance" not in trainings["mapped"].splits["training"]
    assert trainings["mapped"].splits["training"]["digest_of"] == "arrays"


def test_no_data_are_kept(trainings: dict[str, Captured]) -> None:
    assert "gone: True" in trainings["dropped"].stdout


def test_ways_of_splitting(trainings: dict[str, Captured]) -> None:
    made = tags(trainings["apart"])["hpkb.split.made"]
    assert made == "random_split lengths=0.8+0.2 generator_seed=3 sizes=9600+2400"
    pytest.importorskip("sklearn")
    made = tags(trainings["from_sklearn"])["hpkb.split.made"]
    assert made == "train_test_split test_size=0.25 random_state=4 stratify=true sizes=9000+3000"
    assert overlap(trainings["from_sklearn"]) == "none"
    assert tags(trainings["folds"])["hpkb.split.made"] == "KFold n_splits=3 shuffle=true random_state=1 fold=0,2"
    assert [split["role"] for split in trainings["folds"].of_type("split")] == ["training", "validation"] * 2
    assert overlap(trainings["folds"]) == "none"  # of one fold with its own, not with another's
