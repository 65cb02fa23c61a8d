"""A thinned curve is short, keeps what must be kept, and is the same however often the shipper was replaced."""

from __future__ import annotations

import json
import math
import random
import statistics

import pytest

from hpkb.ship.thinning import WHOLE, Sample, Thinning


def _thin(values: list[float], restart_at: frozenset[int] = frozenset()) -> list[Sample]:
    curve, sent = Thinning(), []
    for i, value in enumerate(values):
        if i in restart_at:
            curve = Thinning.restored(json.loads(json.dumps(curve.state())))
        sent += curve.add(i + 1, float(i), value)
    return sent + list(curve.end())


def test_a_short_curve_is_sent_as_it_is() -> None:
    values = [math.sin(i) for i in range(WHOLE)]
    assert _thin(values) == [Sample(i + 1, float(i), value) for i, value in enumerate(values)]


@pytest.mark.parametrize(("n", "most"), [(10_000, 1200), (100_000, 1600), (300_000, 1800)])
def test_a_long_curve_takes_a_bounded_number_of_points(n: int, most: int) -> None:
    sent = _thin([1.0 / (i + 1) for i in range(n)])
    assert 500 < len(sent) <= most
    assert sent[-1].step == n


def test_windows_have_the_mean_and_the_scatter() -> None:
    numbers = random.Random(0)
    values = [numbers.gauss(3.0, 0.5) for _ in range(40_000)]
    windows = [sample for sample in _thin(values) if sample.sd is not None]
    assert statistics.fmean(sample.value for sample in windows) == pytest.approx(3.0, abs=0.02)
    assert statistics.fmean(sample.sd or 0.0 for sample in windows) == pytest.approx(0.5, rel=0.05)


def test_extremes_first_and_last_are_kept() -> None:
    values = [1.0] * 20_000
    values[7_777], values[9_999], values[-1] = -5.0, 8.0, 2.5
    sent = _thin(values)
    for i in (0, 7_777, 9_999, 19_999):
        assert Sample(i + 1, float(i), values[i]) in sent


def test_what_is_no_number_is_not_smoothed_away() -> None:
    values = [0.5] * 5_000
    values[3_000] = math.nan
    values[4_000:] = [math.inf] * 1_000
    sent = _thin(values)
    assert any(math.isnan(sample.value) and sample.step == 3_001 for sample in sent)
    assert any(math.isinf(sample.value) and sample.step == 4_001 for sample in sent)
    assert math.isinf(sent[-1].value)
    assert sent[-1].step == 5_000
    assert len(sent) < 1_200
    assert all(abs(sample.value - 0.5) < 1e-12 for sample in sent if math.isfinite(sample.value))


def test_a_shipper_that_takes_over_sends_the_same() -> None:
    numbers = random.Random(1)
    values = [numbers.random() if numbers.random() > 0.001 else math.nan for _ in range(30_000)]
    restarts = frozenset(numbers.sample(range(30_000), 200))
    assert repr(_thin(values, restarts)) == repr(_thin(values))
