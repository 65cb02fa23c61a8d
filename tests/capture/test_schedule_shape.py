"""Shapes recognised from learning rates alone: right or absent, over several hundred schedules."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("torch")  # the recogniser needs none, but belongs to what is loaded with it

from hpkb.capture.rates import Rates
from hpkb.capture.schedule_shape import Shape, recognise

from .schedules import Schedule, all_schedules, confusers


def course(schedule: Schedule) -> Rates:
    rates = Rates(1, schedule.rate(0))
    for k in range(1, schedule.steps):
        if (rate := schedule.rate(k)) != rates.final:
            rates.changed(k + 1, rate)
    return rates


def shape(schedule: Schedule) -> Shape:
    return recognise(course(schedule).knots(), schedule.steps)


def test_shapes_are_right_or_absent() -> None:
    table: dict[str, Counter[str]] = {}
    wrong = []
    for schedule in all_schedules():
        told = shape(schedule)
        row = table.setdefault(schedule.word, Counter())
        verdict = "found" if told.word == schedule.word else "absent" if told.word is None else "wrong"
        row.update(["all", verdict])
        if verdict == "wrong":
            wrong.append((schedule.name, told))
        numbers = [(getattr(schedule, of), getattr(told, of)) for of in ("warmup", "restarts", "period")]
        for true, said in numbers:
            if true is not None and said is not None and said != pytest.approx(true, rel=1e-5):
                wrong.append((schedule.name, told))
            row["numbers absent"] += true is not None and said is None
    columns = ("all", "found", "absent", "wrong", "numbers absent")
    for word, row in table.items():
        print(f"{word:<14}" + "".join(f"{row[column]:6} {column}" for column in columns))
    assert not wrong
    number = sum(row["all"] for row in table.values())
    assert number > 500
    assert sum(row["found"] for row in table.values()) >= 0.95 * number
    assert sum(row["numbers absent"] for row in table.values()) <= 0.05 * number


def test_what_is_no_known_shape_has_no_word() -> None:
    told = [(schedule.name, schedule.word, shape(schedule).word) for schedule in confusers()]
    assert not [one for one in told if one[2] not in (None, one[1])]
    assert sum(word == "cosine" for *_, word in told) >= 3  # a third of a cosine is one


@pytest.mark.parametrize("steps", [50_000, 400_000])
def test_long_courses_are_thinned_and_keep_their_shape(steps: int) -> None:
    from .schedules import restarts, warmed

    plain = warmed("cosine_floor", 3e-4, 1001, steps, "k/w")
    again = restarts(steps // 100, 1, steps, 0.1, 0.0, warmup=1001)
    for schedule in (plain, again):
        rates = course(schedule)
        assert len(rates.knots()) <= 4097
        told = recognise(rates.knots(), schedule.steps)
        assert (told.word, told.warmup, told.restarts) == (schedule.word, 1001, schedule.restarts)
    random = Rates(1, 0.0)
    for k in range(2, 20_000):
        random.changed(k, float(hash(k * 0.1) % 1000))
    assert len(random.knots()) <= 4100
    assert not random.is_whole
