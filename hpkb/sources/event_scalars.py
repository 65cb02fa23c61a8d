"""Scalars in TensorBoard's events: `simple_value` of TensorFlow 1 and of torch, and the tensors of TensorFlow 2.

A tensor is a scalar where the summary's metadata say so; TensorFlow 2 repeats them in every event, torch writes them
in the first one of a tag only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hpkb.sources.run_files import curve_batch

_FLOAT = struct.Struct("<f")
_DT_FLOAT = 1  # tensorflow.DataType

#: A restart: the number of the event that says so, and the step from which on what came before is void.
Restart = tuple[int, int]


class Scalars:
    """The scalars of some events of one run. `plugins` has the plugin of each tag, for all events of the run."""

    def __init__(self, plugins: dict[str, str]) -> None:
        self._plugins = plugins
        self._metrics: list[str] = []
        self._steps: list[int] = []
        self._times: list[float] = []
        self._values: list[float] = []
        self._numbers: list[int] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, event: Any, number: int, metric: Callable[[str], str]) -> None:
        """Takes the scalars of an event, `number` in its run; `metric` gives the name for a tag."""
        step, time = event.step, event.wall_time
        for summary in event.summary.value:
            kind = summary.WhichOneof("value")
            if kind == "simple_value":
                value = summary.simple_value
            elif kind == "tensor" and self._plugin(summary) == "scalars":
                value = _scalar(summary.tensor)
            else:
                continue
            self._metrics.append(metric(summary.tag))
            self._steps.append(step)
            self._times.append(time)
            self._values.append(value)
            self._numbers.append(number)

    def points(self, run_id: str, restarts: Sequence[Restart]) -> tuple[pa.RecordBatch, int]:
        """Returns the points as rows of `CURVES`, without those that a restart made void, and how many those are."""
        steps = np.array(self._steps, np.int64)
        valid = np.ones(len(steps), bool)
        for number, first in restarts:
            valid &= (np.array(self._numbers) > number) | (steps < first)
        names = pa.array(self._metrics, pa.string()).filter(pa.array(valid))
        times, values = np.array(self._times)[valid], np.array(self._values, float)[valid]
        return curve_batch(run_id, names, steps[valid], times, values), int(np.sum(~valid))

    def _plugin(self, summary: Any) -> str:
        name = summary.metadata.plugin_data.plugin_name
        return self._plugins.setdefault(summary.tag, name) if name else self._plugins.get(summary.tag, "")


def _scalar(tensor: Any) -> float:
    """The number in a tensor, NaN where there is not one."""
    if tensor.dtype == _DT_FLOAT and len(tensor.tensor_content) == _FLOAT.size:
        return float(_FLOAT.unpack(tensor.tensor_content)[0])
    from tensorboard.util.tensor_util import make_ndarray

    numbers = make_ndarray(tensor)
    return float(numbers.item()) if numbers.size == 1 else float("nan")
