"""Curve features against a plain reading of their definitions in numpy, on hostile curves and on planted ones."""

import math
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hpkb.kb import connect, generalization
from hpkb.kb import curves as storage
from hpkb.kb.curve_features import add_features, first_reached
from hpkb.kb.curves import add_curves
from hpkb.kb.generalization import add_gaps
from hpkb.kb.metric_words import direction_of, pairs
from hpkb.sources import CURVES

Point = tuple[int, int, float]  # step, milliseconds, value
Curves = dict[tuple[str, str], list[Point]]
WORDS = {"train_loss": "min", "val_acc": "max", "grad_norm": None}


def put(connection: duckdb.DuckDBPyConnection, curves: Curves, batch: int = 1_000_000) -> None:
    """Puts curves and their features into the knowledge base, in batches of so many points."""
    rows = [(run, metric, *point) for (run, metric), points in curves.items() for point in points]
    columns = [list(column) for column in zip(*rows, strict=True)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, CURVES, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=CURVES)
    points = 0
    for part in add_curves(connection, iter(table.to_batches(max_chunksize=batch))):
        add_features(connection, part)
        points += part.points
    assert points == len(rows)
    runs = pa.table({"run_id": sorted({run for run, _ in curves})})
    connection.register("runs_put", runs)
    connection.execute("CREATE OR REPLACE TEMP TABLE changes AS SELECT run_id, 'new' AS change FROM runs_put")
    add_gaps(connection)


def table(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict]:
    return connection.sql(sql).to_arrow_table().to_pylist()


def features(curves: Curves, **how: int) -> dict[tuple[str, str], dict]:
    with connect(":memory:") as connection:
        put(connection, curves, **how)
        return {(row["run_id"], row["metric"]): row for row in table(connection, "FROM curve_features")}


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect` wants a file; a database in memory is as good here and much faster."""
    from hpkb.kb import store

    def fresh(_: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute(store._SCHEMA)
        return connection

    monkeypatch.setitem(globals(), "connect", fresh)


# --- the definitions, read plainly ------------------------------------------------------------------------------


def reference(points: list[Point], word: str | None) -> dict:
    """The features of one curve; `word` is the direction that the metric's name says."""
    points = sorted(points, key=lambda p: (p[0], p[1], math.isnan(p[2]), p[2]))
    n, value = len(points), np.array([p[2] for p in points])
    step, time = [p[0] for p in points], [p[1] for p in points]
    found = {"n_points": n, "n_nonfinite": int(np.sum(~np.isfinite(value))), "first_step": step[0],
             "last_step": step[-1], "first_value": value[0], "last_value": value[-1]}  # fmt: skip
    finite = np.isfinite(value)
    index = np.flatnonzero(finite)
    if not len(index):
        return {**found, "diverged": True, "n_spikes": 0, "direction": word or "min", "best": None, "area": None}
    scale = float(np.max(np.abs(value[finite]))) or 1.0
    with np.errstate(invalid="ignore"):
        unit, x = value / scale, np.array([float(s) - float(step[0]) for s in step])
    lowest, highest = (int(index[pick(value[finite])]) for pick in (np.argmin, np.argmax))
    found |= {"minimum": value[lowest], "minimum_step": step[lowest], "maximum": value[highest],
              "maximum_step": step[highest]}  # fmt: skip
    tail = unit[max(0, n - max(1, n // 10)) :]
    tail = tail[np.isfinite(tail)]
    start = unit[index[0]]
    direction = word or ("max" if len(tail) and tail.mean() > start + 1e-12 else "min")
    best, sign = (highest, 1) if direction == "max" else (lowest, -1)
    found |= {"tail_mean": tail.mean() * scale if len(tail) else None, "direction": direction, "best": value[best],
              "tail_sd": tail.std(ddof=1) * scale if len(tail) > 1 else None, "best_step": step[best]}  # fmt: skip
    found |= _area(unit[index], x[index], scale) | _slope(unit, x, finite, sign, scale)
    found |= _windows(unit, step, finite, sign, scale)
    found["diverged"] = bool(
        not finite[-1] or (direction == "min" and start > 0 and len(tail) and tail.mean() >= 2 * start + 1e-12)
    )
    for share in (90, 95, 99):
        goal = sign * (start + share / 100 * (unit[best] - start))
        first = next(i for i in index if sign * unit[i] >= goal)
        found |= {f"step_to_{share}": step[first], f"seconds_to_{share}": (time[first] - time[0]) / 1000}
    return found


def _area(unit: np.ndarray, x: np.ndarray, scale: float) -> dict:
    width = x[-1] - x[0]
    mean = np.mean(unit) if width == 0 else np.sum((unit[1:] + unit[:-1]) / 2 * np.diff(x) / width)
    return {"area": mean * scale}


def _slope(unit: np.ndarray, x: np.ndarray, finite: np.ndarray, sign: int, scale: float) -> dict:
    chosen = slice(max(0, len(unit) - max(10, len(unit) // 10)), None)
    y, x = unit[chosen][finite[chosen]], x[chosen][finite[chosen]]
    none = {"slope": None, "slope_error": None, "still_improving": None}
    if not len(y) or not (sxx := np.sum((x - x.mean()) ** 2)):
        return none
    slope = np.sum((x - x.mean()) * (y - y.mean())) / sxx
    if len(y) < 3:
        return {**none, "slope": slope * scale}
    residual = y - y.mean() - slope * (x - x.mean())
    error = math.sqrt(np.sum(residual**2) / (len(y) - 2) / sxx)
    return {"slope": slope * scale, "slope_error": error * scale, "still_improving": bool(sign * slope > 2 * error)}


def _windows(unit: np.ndarray, step: list[int], finite: np.ndarray, sign: int, scale: float) -> dict:
    n, many = len(unit), min(20, len(unit))
    members: dict[int, list[int]] = {}
    for i in np.flatnonzero(finite):
        members.setdefault(int(i) * many // n, []).append(int(i))
    means = {w: float(np.mean(unit[m])) for w, m in members.items()}
    before = dict(zip(np.flatnonzero(finite)[1:], np.flatnonzero(finite), strict=False))
    change = {i: abs(unit[i] - unit[b]) for i, b in before.items()}
    usual = [np.mean([change[i] for i in m if i in change]) for m in members.values() if any(i in change for i in m)]
    sd = np.median(usual) / (0.7979 - 0.1234 * many / n) if usual else 0.0
    sd = sd or (np.mean([*change.values()]) / 0.7979 if change else 0.0)
    last = max(members)
    unlike = [w for w in members if abs(means[w] - means[last])
              > 3 * sd * math.sqrt(0.5 / len(members[w]) + 0.5 / len(members[last])) + 1e-12]  # fmt: skip
    flat = [w for w in sorted(members) if w > max(unlike, default=-1)]
    best = max(sign * mean for mean in means.values())
    smoothed = next(w for w in sorted(members) if sign * means[w] == best)
    spikes = sum(1 for i, b in before.items() if sign * (unit[b] - unit[i]) >= 7 * sd > 0)
    return {"plateau_step": step[members[flat[0]][0]] if len(flat) > 4 else None, "n_spikes": spikes,
            "smoothed_best": sign * best * scale, "smoothed_best_step": step[members[smoothed][-1]]}  # fmt: skip


def agree(found: dict, expected: dict) -> None:
    """Fails where a feature is not what it should be; values but for what rounding of the largest one explains."""
    largest = max((abs(expected[name]) for name in ("minimum", "maximum") if name in expected), default=1.0)
    for name, value in expected.items():
        if isinstance(value, float) and math.isfinite(value):
            # What is left of a sum of squares after a perfect fit is as exact as its root.
            tolerance = (1e-7 if name in ("slope_error", "tail_sd") else 1e-9) * largest
            assert found[name] == pytest.approx(value, rel=1e-6, abs=tolerance), name
        elif isinstance(value, float):
            assert repr(float(found[name])) == repr(float(value)), name
        else:
            assert found[name] == value, name


# --- hostile curves ----------------------------------------------------------------------------------------------

# Small whole numbers, so that no comparison hangs on the last bit; and what no one expects in a curve.
odd = [math.nan, math.inf, -math.inf, 1e300, -1e300, 1.7e308, 5e-324, -0.0]
values = st.one_of(st.integers(-8, 8).map(float), st.sampled_from(odd))
steps = st.one_of(st.integers(-3, 12), st.sampled_from([-(2**40), 2**40]))
point = st.tuples(steps, st.integers(0, 5), values)
DECIDED = ("still_improving", "plateau_step", "n_spikes", "smoothed_best_step", "diverged")  # may hang on the last bit


hostile = st.tuples(st.sampled_from(sorted(WORDS)), st.lists(point, min_size=1, max_size=70))


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(hostile, min_size=1, max_size=6), st.integers(1, 50))
def test_hostile_curves(drawn: list[tuple[str, list[Point]]], batch: int) -> None:
    curves = {(f"run-{i}", metric): points for i, (metric, points) in enumerate(drawn)}
    found = features(curves, batch=batch)
    assert set(found) == set(curves)
    for (run, metric), points in curves.items():
        expected = reference(points, WORDS[metric])
        agree(found[run, metric], {name: value for name, value in expected.items() if name not in DECIDED})
        if all(math.isfinite(p[2]) and abs(p[2]) < 10 and abs(p[0]) < 100 for p in points):
            agree(found[run, metric], {"n_spikes": expected.get("n_spikes")})


def test_steps_at_the_edge_of_their_type() -> None:
    points = [(2**63 - 1, 0, 1.0), (-(2**63), 0, 3.0), (0, 0, 2.0)]
    row = features({("a", "train_loss"): points})["a", "train_loss"]
    assert (row["first_step"], row["last_step"], row["best_step"], row["step_to_90"]) == (-(2**63), *[2**63 - 1] * 3)
    assert (row["area"], row["slope"]) == (pytest.approx(2), pytest.approx(-2 / 2**64))


# --- planted curves ----------------------------------------------------------------------------------------------


def curve(values: np.ndarray, every: int = 1) -> list[Point]:
    return [(i * every, 100 * i, float(value)) for i, value in enumerate(values)]


def noise(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def planted() -> Curves:
    t = np.arange(1000)
    decaying = np.exp(-t / 80)
    spiky = decaying + 1 + 0.01 * noise(1000, 1)
    spiky[[300, 301, 700]] += 3
    diverged = np.exp(t / 200.0)
    diverged[900:] = np.nan
    return {
        ("converged", "train_loss"): curve(1 + decaying + 0.01 * noise(1000, 0)),
        ("spiky", "train_loss"): curve(spiky),
        ("noise", "train_loss"): curve(1 + 0.1 * noise(1000, 2)),
        ("improving", "val_acc"): curve(0.2 + t / 2000 + 0.005 * noise(1000, 3)),
        ("diverged", "train_loss"): curve(diverged),
        ("doubled", "train_loss"): curve(np.linspace(1, 3, 30)),
        ("constant", "train_loss"): curve(np.full(500, 0.1)),
        ("one", "train_loss"): [(7, 0, 0.5)],
        ("nothing", "train_loss"): [(0, 0, math.nan), (1, 1, math.inf)],
        ("rising", "grad_norm"): curve(t / 1000),
    }


def test_planted_curves_equal_the_reference() -> None:
    found = features(planted(), batch=777)
    for (run, metric), points in planted().items():
        agree(found[run, metric], reference(points, WORDS[metric]))


def test_planted_curves_are_called_what_they_are() -> None:
    found = {run: row for (run, _), row in features(planted()).items()}
    assert {run for run, row in found.items() if row["diverged"]} == {"diverged", "doubled", "nothing"}
    assert {run for run, row in found.items() if row["still_improving"]} == {"improving", "rising"}
    spikes = {run: row["n_spikes"] for run, row in found.items() if not row["diverged"]}
    assert {run: count for run, count in spikes.items() if count} == {"spiky": 2}
    assert 200 <= found["converged"]["plateau_step"] <= 700
    assert (found["noise"]["plateau_step"], found["constant"]["plateau_step"]) == (0, 0)
    assert [found[run]["plateau_step"] for run in ("improving", "rising", "doubled", "one")] == [None] * 4
    assert found["converged"]["step_to_90"] == pytest.approx(80 * math.log(10), abs=20)
    assert found["converged"]["seconds_to_90"] == found["converged"]["step_to_90"] / 10
    assert found["improving"]["slope"] == pytest.approx(1 / 2000, abs=3 * found["improving"]["slope_error"])
    assert found["converged"]["smoothed_best"] == pytest.approx(1, abs=0.01)
    assert (found["one"]["area"], found["one"]["best"], found["one"]["slope"]) == (0.5, 0.5, None)
    assert found["rising"]["direction"] == "max"


def test_pure_noise_has_few_false_alarms() -> None:
    curves = {(f"run-{i}", "train_loss"): curve(1 + 0.1 * noise(500, i)) for i in range(200)}
    found = features(curves).values()
    assert sum(row["n_spikes"] for row in found) == 0
    assert sum(row["still_improving"] for row in found) <= 15  # 2.5 per cent expected
    assert sum(row["plateau_step"] == 0 for row in found) >= 170


# --- storage -----------------------------------------------------------------------------------------------------


def test_points_in_pieces_and_out_of_order_stand_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled: Curves = {}
    draw = np.random.default_rng(0)
    for (run, metric), points in planted().items():
        shuffled[run, metric] = [points[i] for i in draw.permutation(len(points))]
    expected = features(planted())
    monkeypatch.setattr(storage, "_SLICE", 1500)  # several slices, and curves longer than what is left in one
    with connect(":memory:") as connection:
        put(connection, shuffled, batch=97)
        stored = connection.sql("SELECT curve, step FROM curve_points").fetchall()
        found = {(row["run_id"], row["metric"]): row for row in table(connection, "FROM curve_features")}
        count = connection.sql("SELECT count(*), count(DISTINCT (run_id, metric)) FROM curves").fetchall()
    numbers = list(dict.fromkeys(number for number, _ in stored))
    assert stored == sorted(stored, key=lambda point: (numbers.index(point[0]), point[1]))
    assert repr(found.keys()) == repr(expected.keys())
    assert repr(sorted(found.items())) == repr(sorted(expected.items()))  # to the last bit
    assert count == [(sum(map(len, shuffled.values())), len(shuffled))]


def test_threshold_is_reached() -> None:
    values = np.array([0.1, math.nan, 0.5, 0.9])
    curves = {("a", "val_acc"): curve(values, 10), ("b", "val_acc"): curve(np.array([0.2]))}
    with connect(":memory:") as connection:
        put(connection, curves)
        assert first_reached(connection, "val_acc", "max", 0.5).to_pylist() == [
            {"run_id": "a", "step": 20, "seconds": 0.2}
        ]
        assert first_reached(connection, "val_acc", "min", 0.15).to_pylist() == [
            {"run_id": "a", "step": 0, "seconds": 0.0}
        ]


# --- generalisation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1_000, 2])
def test_generalization_gap(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generalization, "_TOGETHER", together)
    t = np.arange(1000)
    training = np.exp(-t / 100) + 0.01 * noise(1000, 0)
    validation = np.exp(-t[::25] / 100) + 0.2 + t[::25] / 2000
    curves = {
        ("overfit", "train_loss"): curve(training),
        ("overfit", "val_loss"): curve(validation, 25),
        ("overfit", "train_acc"): curve(t / 1000),
        ("keras", "loss"): curve(np.linspace(1, 0.5, 30)),
        ("keras", "val_loss"): curve(np.linspace(1, 0.5, 30) + 0.25),
        ("scores", "train/acc_epoch"): curve(np.array([0.5, 0.9, 1.0])),
        ("scores", "val/acc_epoch"): curve(np.array([0.5, 0.6, math.nan])),
        ("huge", "train_loss"): curve(np.array([1e300, -1e300])),
        ("huge", "val_loss"): curve(np.array([1e300, 1e300])),
        ("alone", "val_loss"): curve(validation),
        ("apart", "train_loss"): [(0, 0, 1.0)],
        ("apart", "val_loss"): [(5, 0, 1.0)],
    }
    with connect(":memory:") as connection:
        put(connection, curves)
        found = {row["run_id"]: row for row in table(connection, "FROM generalization_gaps")}
    assert set(found) == {"overfit", "keras", "scores", "huge"}
    row = found["overfit"]
    assert (row["training_metric"], row["validation_metric"], row["n_windows"]) == ("train_loss", "val_loss", 20)
    assert row["gap"] == pytest.approx(0.2 + 975 / 2000, abs=0.03)
    assert row["gap_slope"] == pytest.approx(1 / 2000, rel=0.1)
    assert row["is_widening"]
    assert (found["keras"]["training_metric"], found["keras"]["gap"]) == ("loss", pytest.approx(0.25))
    assert not found["keras"]["is_widening"]
    assert found["keras"]["gap_slope"] == pytest.approx(0, abs=1e-9)
    assert (found["scores"]["gap"], found["scores"]["n_windows"]) == (pytest.approx(0.3), 2)
    assert found["huge"]["gap"] == math.inf or found["huge"]["gap"] == pytest.approx(2e300)


def test_words_of_metrics() -> None:
    said = {"Train Loss": "min", "eval/accuracy": "max", "val_loss_epoch": "min", "lr": None, "": None}
    assert {name: direction_of(name) for name in said} == said
    metrics = ["loss", "val_loss", "train_loss", "acc_val", "acc_train", "test_loss", "val_lr"]
    found = [pair[:2] for pair in pairs(metrics)]
    assert sorted(found) == [("acc_train", "acc_val"), ("loss", "val_loss"), ("train_loss", "val_loss")]


def test_a_source_that_fails_is_heard(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"run_id": "a", "metric": "m", "step": 0, "value": 1.0}], CURVES)
        raise OSError("the disk is gone")

    with connect(":memory:") as connection, pytest.raises(OSError, match="the disk is gone"):
        list(add_curves(connection, failing()))
