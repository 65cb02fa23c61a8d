"""Machines, seeds, digests and overlaps against planted ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, reproducibility
from hpkb.miners._overlap import read_overlap
from hpkb.records import Facts, Records
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws import laws_of, noise_of
from tests.truth.laws.reproducibility import on_machines, twice_with_a_seed, with_texts
from tests.truth.planted import covers, planted_sweep
from tests.truth.test_contract import assert_sound, said

SWEEPS = 20


def answers(sweep: Sweep, quantity: str) -> dict[str, Finding]:
    found = correct(reproducibility.mine(Context(sweep)))
    return {f.condition or " ".join(f.hyperparameters): f for f in found if f.quantity == quantity}


def plain(n: int = 20, repeats: int = 2) -> Sweep:
    return planted_sweep(np.random.default_rng(0), n, repeats)[0]


def with_digests(sweep: Sweep, digests: list[str | None], role: str = "training") -> Sweep:
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), Facts(splits={role: digests})))


@pytest.mark.parametrize("law", laws_of("reproducibility"), ids=lambda law: law.name)
def test_intervals_cover_the_planted_number(law) -> None:
    inside, supported = [], []
    for seed in range(SWEEPS):
        sweep, truth = law.draw(np.random.default_rng(seed))
        found = law.found(reproducibility.mine(Context(sweep)))
        inside.append(covers(found, truth))
        supported.append(found.verdict == "supported")
    assert np.mean(inside) >= 0.8
    assert np.mean(supported) >= 0.85 if law.is_effect else True


@pytest.mark.parametrize("noise", noise_of("reproducibility"), ids=lambda noise: noise.name)
def test_machines_that_do_nothing_support_no_claim(noise) -> None:
    claims = 0
    for seed in range(SWEEPS):
        found = correct(reproducibility.mine(Context(noise.draw(np.random.default_rng(seed)))))
        claims += any(f.verdict == "supported" for f in found)
    assert claims <= 2


def test_what_changed_together_is_told_as_one() -> None:
    sweep, _ = on_machines(np.random.default_rng(0), 0.7)
    gpu = sweep.records.texts("hpkb.hw.gpu.name")
    torch = ["2.1" if name == "GPU 1" else "2.0" for name in gpu]
    both = with_texts(sweep, hpkb__hw__gpu__name=gpu, hpkb__env__torch=torch)
    assert list(answers(both, "hardware_variance_share")) == ["hardware and library versions"]


def test_precision_is_compared_within_the_rest_of_the_configuration() -> None:
    sweep, _ = on_machines(np.random.default_rng(1), 0.7)
    level = np.array([float(name == "GPU 1") for name in sweep.records.texts("hpkb.hw.gpu.name")])
    precision = Hyperparameter("precision", "category", level, ("bf16", "fp32"))
    configuration = 2 * sweep.configuration + level.astype(np.int64)
    mixed = replace(
        sweep, recorded=None, configuration=configuration, hyperparameters=(*sweep.hyperparameters, precision)
    )
    found = answers(mixed, "hardware_variance_share")["precision"]
    assert found.hyperparameters == ("precision",)
    assert found.verdict == "supported"


def test_one_seed_that_gives_one_result_is_said_to() -> None:
    sweep, _ = twice_with_a_seed(np.random.default_rng(0), 0.0)
    same = replace(sweep, y=np.repeat(sweep.y[::2], 2))
    found = answers(same, "nondeterminism_sd")[""]
    assert (found.verdict, found.estimate) == ("rejected", 0.0)


def test_runs_with_different_data_are_named_by_their_role() -> None:
    sweep = plain()
    digests: list[str | None] = ["a"] * 30 + ["b"] * 10
    found = answers(with_digests(sweep, digests), "split_mismatch")["training"]
    assert (found.verdict, found.estimate, found.p_value) == ("supported", 0.25, 0.0)
    same = answers(with_digests(sweep, ["a"] * 40), "split_mismatch")["training"]
    assert same.verdict == "rejected"
    kind = answers(with_digests(sweep, ["shape:a"] * 40), "split_mismatch")["training"]
    assert kind.verdict == "insufficient"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("none", []),
        ("training+validation: 12 by index, 9 by content", [("training+validation", 12, False)]),
        ("training+test: 3 by content (of a sample); validation+test: 5 by index",
         [("training+test", 3, True), ("validation+test", 5, False)]),
        ("training+validation: 0 by index", []),
    ],
)  # fmt: skip
def test_the_tag_of_overlaps_is_read(text, read) -> None:
    assert [(shared.pair, shared.n, shared.is_sample) for shared in read_overlap(text)] == read


def test_leakage_is_told_with_its_size() -> None:
    sweep = plain()
    text = ["training+validation: 12 by index, 12 by content"] * 30 + ["none"] * 10
    leaking = with_texts(sweep, hpkb__split__overlap=text)
    found = answers(leaking, "leakage")["training+validation"]
    assert (found.verdict, found.estimate, found.p_value) == ("supported", 12.0, 0.0)
    assert "30 of 40 runs" in found.claim
    clean = answers(with_texts(sweep, hpkb__split__overlap=["none"] * 40), "leakage")[""]
    assert clean.verdict == "rejected"
    flagged = answers(with_texts(sweep, hpkb__split__leakage=["true"] * 40), "leakage")[""]
    assert flagged.verdict == "supported"


def test_findings_are_sound_and_repeatable() -> None:
    sweep, _ = on_machines(np.random.default_rng(5), 0.5, diverging=True)
    findings = reproducibility.mine(Context(sweep))
    assert_sound(findings, "reproducibility", sweep)
    assert said(findings) == said(reproducibility.mine(Context(sweep)))
