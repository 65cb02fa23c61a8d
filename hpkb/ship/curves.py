"""The metrics of one MLflow run: as they come, or thinned, with the whole curves in a file among the artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpkb.capture.spool import Points
from hpkb.curve_file import NAME, CurveFileWriter
from hpkb.ship.keys import encode_key
from hpkb.ship.thinning import Sample, Thinning


class Curves:
    """What of one run's curves goes into MLflow's metrics; all of it where they are to be `whole`.

    `states` is what another object's `states()` were when it had taken the same points.
    """

    def __init__(self, whole: bool = False, states: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._whole = whole
        self._curves = {name: Thinning.restored(dict(state)) for name, state in (states or {}).items()}

    def take(self, points: Points) -> Iterator[tuple[str, Sample]]:
        """Yields the samples of metrics, by name, that are to be sent now that this step has come."""
        for name, value in points.values.items():
            if self._whole:
                yield name, Sample(points.step, points.time, value)
                continue
            curve = self._curves.get(name)
            if curve is None:
                curve = self._curves[name] = Thinning()
            for sample in curve.add(points.step, points.time, value):
                yield name, sample

    def end(self) -> Iterator[tuple[str, Sample]]:
        """Yields the samples that are still to be sent when no step will come any more."""
        for name, curve in self._curves.items():
            for sample in curve.end():
                yield name, sample

    def states(self) -> dict[str, dict[str, Any]]:
        """What another object goes on from."""
        return {name: curve.state() for name, curve in self._curves.items()}

    @property
    def thinned(self) -> bool:
        """Whether MLflow's metrics lack any point."""
        return any(curve.thinned for curve in self._curves.values())


def write_file(folder: Path, steps: Iterable[Points | pa.RecordBatch], name: str = NAME) -> Path:
    """Returns the file with the whole curves that it has written into the folder; raises OSError.

    What was written to such a file before comes as its batches.
    """
    path = folder / name
    with CurveFileWriter(path) as file:
        for points in steps:
            if isinstance(points, pa.RecordBatch):
                file.copy(points)
                continue
            timestamp = int(points.time * 1000)
            for name, value in points.values.items():
                file.add(encode_key(name), points.step, timestamp, value)
    return path
