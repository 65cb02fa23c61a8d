"""Which recorded parameters become hyperparameters of a task."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hpkb.kb.columns import Column, column, varying


def numbers(name: str, values: list[float]) -> Column:
    array = np.array(values)
    return column(name, array.size, np.arange(array.size), array, pa.chunked_array([pa.array(map(str, values))]))


DEPTH, WIDTH = [2.0, 2, 4, 4, 2, 2, 4, 4] * 2, [64.0, 128, 64, 128] * 4
RATE = [10.0**-i for i in range(16)]


def names(*columns: Column) -> list[str]:
    return [c.name for c in varying(columns)[0]]


def test_the_number_of_parameters_follows_from_depth_and_width() -> None:
    count = [d * w * w for d, w in zip(DEPTH, WIDTH, strict=True)]
    own = [numbers("learning_rate", RATE), numbers("depth", DEPTH), numbers("width", WIDTH)]
    assert names(*own, numbers("parameter_count", count)) == ["learning_rate", "depth", "width"]


def test_the_number_of_parameters_stays_where_nothing_else_says_it() -> None:
    count = [1e6, 1e7, 1e6, 1e7] * 4
    assert "parameter_count" in names(numbers("learning_rate", RATE), numbers("parameter_count", count))
    assert "parameter_count" in names(numbers("depth", DEPTH), numbers("parameter_count", RATE))
