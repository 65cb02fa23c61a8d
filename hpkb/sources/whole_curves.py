"""Runs whose whole curves lie among their artifacts, wherever those are.

MLflow's metrics have a long curve thinned (`hpkb.ship.thinning`). Where the file of the whole curves can be read, it
is read instead, so that a curve never counts twice. Files in object storage or behind a server are fetched first;
for those that cannot be had the thinned metrics answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from hpkb import curve_file
from hpkb.sources import CURVES
from hpkb.sources.remote_files import Download, RemoteFiles


class WholeCurves:
    """The whole curves of some runs.

    Of the files that are not used, `damaged` counts those that are no files of curves, and `unread`, by its reason,
    those that could not be fetched. The fetched ones are in a temporary folder until they are read.
    """

    def __init__(self, artifacts: Mapping[str, str], through_server: Download | None = None) -> None:
        """`artifacts` has the artifact URI of each run that is said to have such a file."""
        self.damaged = 0
        self.unread: Counter[str] = Counter()
        self._files: dict[str, Path] = {}
        self._keys: list[str] = []
        self._fetched: TemporaryDirectory[str] | None = None
        folders = {run_id: _local(uri) for run_id, uri in artifacts.items()}
        files = {run: folder / curve_file.FOLDER / curve_file.NAME for run, folder in folders.items() if folder}
        self._take({run: file for run, file in files.items() if file.is_file()})
        if remote := {run: _address(uri) for run, uri in artifacts.items() if folders[run] is None}:
            self._fetch(remote, through_server)
        self._runs, self._replaced = pa.array(self._files, pa.string()), pa.array(self._keys, pa.string())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all points, as `CURVES` has them."""
        for run_id, file in self._files.items():
            for batch in curve_file.read(file):
                columns = [pa.repeat(run_id, batch.num_rows), *(batch[name] for name in curve_file.SCHEMA.names)]
                yield pa.Table.from_arrays(columns, names=CURVES.names).cast(CURVES).combine_chunks().to_batches()[0]
        if self._fetched:
            self._fetched.cleanup()

    def without(self, points: pa.Table) -> pa.Table:
        """The points of a store, columns `run_id` and `metric` among others, that no file replaces."""
        if not self._files or not pc.any(among := pc.is_in(points["run_id"], value_set=self._runs)).as_py():
            return points
        replaced = pc.is_in(_key(points["run_id"], points["metric"]), value_set=self._replaced)
        return points.filter(pc.invert(pc.and_(among, replaced)))

    def _fetch(self, addresses: Mapping[str, str], through_server: Download | None) -> None:
        self._fetched = TemporaryDirectory(prefix="hpkb-curves-")
        remote = RemoteFiles(through_server)
        self._take(remote.fetch(addresses, Path(self._fetched.name)))
        self.unread = remote.unread

    def _take(self, files: Mapping[str, Path]) -> None:
        for run_id, file in files.items():
            try:
                metrics = curve_file.metrics(file)
            except (OSError, pa.ArrowException):
                self.damaged += 1
                continue
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


def _address(uri: str) -> str:
    """The address of the file in a run's artifacts."""
    parts = urlsplit(uri)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{curve_file.FOLDER}/{curve_file.NAME}").geturl()
