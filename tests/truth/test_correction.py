"""Benjamini and Yekutieli's correction: its own arithmetic, and the rate of false discoveries under dependence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.stats.correction import benjamini_yekutieli


def test_it_agrees_with_scipy():
    p = np.random.default_rng(0).random(50) ** 3
    assert benjamini_yekutieli(p) == pytest.approx(stats.false_discovery_control(p, method="by"))


def test_order_does_not_matter_and_missing_values_are_not_counted():
    p = np.array([0.04, np.nan, 0.001, 0.5])
    q = benjamini_yekutieli(p)
    assert np.isnan(q[1])
    assert q[[0, 2, 3]] == pytest.approx(benjamini_yekutieli(p[[0, 2, 3]]))
    assert benjamini_yekutieli(p[::-1])[::-1] == pytest.approx(q, nan_ok=True)


def test_nothing_in_nothing_out():
    assert benjamini_yekutieli([]).size == 0


def test_a_value_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="outside 0 to 1"):
        benjamini_yekutieli([0.2, 1.2])


def test_false_discoveries_stay_below_the_level_under_dependence():
    rng, rates = np.random.default_rng(1), []
    for _ in range(500):
        common = rng.normal() * np.where(np.arange(40) % 2, 1, -1)  # half of the tests pull against the other half
        z = 0.7 * common + 0.7 * rng.normal(size=40) + np.where(np.arange(40) < 10, 3.0, 0.0)
        found = benjamini_yekutieli(2 * stats.norm.sf(np.abs(z))) <= 0.05
        rates.append(found[10:].sum() / max(found.sum(), 1))
    assert np.mean(rates) <= 0.05


def test_a_recorded_fact_is_no_test_and_lets_no_chance_finding_pass():
    facts = [finding(f"fact {i}", 0.0) for i in range(30)]
    tests = [finding(f"test {i}", p) for i, p in enumerate((0.004, 0.3, 0.8))]
    corrected = {f.quantity: f for f in correct([*facts, *tests])}
    assert corrected["fact 0"].verdict == "supported"
    assert corrected["fact 0"].q_value == 0.0
    assert {f.comparisons for f in corrected.values()} == {3}
    alone = correct(tests)
    assert [corrected[f.quantity].q_value for f in alone] == [f.q_value for f in alone]


def finding(quantity: str, p_value: float) -> Finding:
    return Finding("noise_floor", "task", (), quantity, "So it is.", "supported", p_value=p_value)
