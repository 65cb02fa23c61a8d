"""Runs whose whole curves lie among their artifacts, where this machine can read them.

MLflow's metrics have a long curve thinned (`hpkb.ship.thinning`). Where the artifacts are in a folder that is here,
the whole curve is read instead, so that a curve never counts twice. Artifacts behind a server or in a bucket are not
fetched: the thinned metrics answer for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from hpkb import curve_file
from hpkb.sources import CURVES


class WholeCurves:
    """The whole curves of some runs; `damaged` counts the files that could not be read, of which metrics are used."""

    def __init__(self, artifacts: Mapping[str, str]) -> None:
        """`artifacts` has the artifact URI of each run that is said to have such a file."""
        self.damaged = 0
        self._files: dict[str, Path] = {}
        self._keys: list[str] = []
        for run_id, uri in artifacts.items():
            if (folder := _local(uri)) and (file := folder / curve_file.FOLDER / curve_file.NAME).is_file():
                self._take(run_id, file)
        self._runs, self._replaced = pa.array(self._files, pa.string()), pa.array(self._keys, pa.string())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all points, as `CURVES` has them."""
        for run_id, file in self._files.items():
            for batch in curve_file.read(file):
                columns = [pa.repeat(run_id, batch.num_rows), *(batch[name] for name in curve_file.SCHEMA.names)]
                yield pa.Table.from_arrays(columns, names=CURVES.names).cast(CURVES).combine_chunks().to_batches()[0]

    def without(self, points: pa.Table) -> pa.Table:
        """The points of a store, columns `run_id` and `metric` among others, that no file replaces."""
        if not self._files or not pc.any(among := pc.is_in(points["run_id"], value_set=self._runs)).as_py():
            return points
        replaced = pc.is_in(_key(points["run_id"], points["metric"]), value_set=self._replaced)
        return points.filter(pc.invert(pc.and_(among, replaced)))

    def _take(self, run_id: str, file: Path) -> None:
        try:
            metrics = curve_file.metrics(file)
        except (OSError, pa.ArrowException):
            self.damaged += 1
            return
        self._files[run_id] = file
        names = [name for metric in metrics for name in (metric, metric + curve_file.SCATTER)]
        self._keys += _key(pa.array([run_id] * len(names), pa.string()), pa.array(names, pa.string())).to_pylist()


def _key(run_id: pa.Array, metric: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(run_id.cast(pa.string()), metric.cast(pa.string()), "/")


def _local(uri: str) -> Path | None:
    """The folder of an artifact URI, None where it is not on this machine."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None
