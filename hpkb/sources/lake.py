"""The runs of a lake as a source. Its curves may stay where they are: the lake has their features already.

A lake may hold the runs of many stores; for the knowledge base it is one source, whose experiments are those of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from hpkb.kb.staging import registered
from hpkb.kb.store import connect_in_memory
from hpkb.lake.manifest import Part, read_manifest
from hpkb.lake.place import in_lake, no_lake, place_of
from hpkb.sources import CURVES, FINGERPRINTS, HARDWARE, PARAMETERS, RUNS, SPLITS, TEXT, schema
from hpkb.sources.objectives import Objective, parse_one

_BATCH = 1_000_000
ANY = schema()  # whatever columns the files have

_HELD = """-- One row per run: its state, the store that it came from, and the part that has it.
SELECT run_id, fingerprint, source, parse_filename(filename, true) AS part
FROM read_parquet($files, hive_partitioning = false, filename = true) ORDER BY run_id"""

_PARTS = """-- One row per part that has a run that is wanted.
SELECT DISTINCT part FROM held SEMI JOIN wanted USING (run_id)"""

_RUNS = """-- One row per run that is wanted.
SELECT * EXCLUDE (source, fingerprint) RENAME (experiment_name AS experiment, stated_task AS task)
FROM read_parquet($files, hive_partitioning = false) SEMI JOIN wanted USING (run_id) ORDER BY run_id"""

_ROWS = """-- One row per row of the runs that are wanted.
SELECT * FROM read_parquet($files, hive_partitioning = false) SEMI JOIN wanted USING (run_id)"""


@dataclass(frozen=True)
class CurvesThere:
    """Where the curves of a lake's runs are: the files of points and features by part, each run's part and store."""

    url: str
    points: Mapping[str, str]
    features: Mapping[str, str]
    run_parts: pa.Table  # run_id, part, source


class Lake:
    """The lake at an address. Raises SourceError where there is none."""

    kind = "lake"

    def __init__(self, url: str) -> None:
        self._place = place_of(url)
        self.name = self._place.url
        self._manifest = read_manifest(self._place)
        if not self._manifest.number:
            raise no_lake(self.name)
        self._parts = self._manifest.parts
        self._folder = TemporaryDirectory(prefix="hpkb-lake-")
        self._connection = connect_in_memory(Path(self._folder.name), threads=0)
        self._place.attach(self._connection)
        self._held = schema(run_id=TEXT, fingerprint=TEXT, source=TEXT, part=TEXT).empty_table()

    def experiments(self) -> list[str]:
        """Returns the names of the experiments, in the order of the alphabet."""
        return sorted({part.experiment for part in self._parts if part.experiment is not None})

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns what the runs' own stores said of their state; of these experiments, if any are given."""
        self._parts = tuple(p for p in self._manifest.parts if not experiments or p.experiment in experiments)
        if self._parts:
            values = {"files": self._files("runs", self._parts)}
            with in_lake(self.name):
                self._held = self._connection.sql(_HELD, params=values).to_arrow_table()
        return self._held.select(FINGERPRINTS.names)

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns what is known of the runs themselves."""
        return self._of(ids, _RUNS, "runs", RUNS)

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the recorded parameters, under the names that their stores have."""
        return self._of(ids, _ROWS, "parameters", PARAMETERS)

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns the facts about machine, code and environment."""
        return self._of(ids, _ROWS, "hardware", HARDWARE)

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns the data splits."""
        return self._of(ids, _ROWS, "splits", SPLITS)

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points of all curves, those of a run together, in the order of run, metric and step."""
        with self._wanted(ids) as parts:
            for file in self._files("points", parts):
                batches = self._connection.sql(_ROWS, params={"files": [file]}).to_arrow_reader(_BATCH)
                yield from (batch.cast(CURVES) for batch in batches)

    def features(self, ids: pa.Array) -> pa.Table:
        """Returns the features of the curves, as the knowledge base has them."""
        return self._of(ids, _ROWS, "features", ANY)

    def gaps(self, ids: pa.Array) -> pa.Table:
        """Returns the generalisation gaps, as the knowledge base has them."""
        return self._of(ids, _ROWS, "gaps", ANY)

    def curves_there(self) -> CurvesThere:
        """Returns where the curves of all runs are now."""
        points, features = (
            {part.name: self._place.address(part.path(kind)) for part in self._parts}
            for kind in ("points", "features")
        )
        return CurvesThere(self.name, points, features, self._held.select(["run_id", "part", "source"]))

    def notes(self) -> Mapping[str, int]:
        """Returns nothing: what had to be altered was told when the runs came into the lake."""
        return {}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns the objectives that any of the stores stated, by task, in order of preference."""
        return {
            task: objectives
            for name in self._manifest.origins
            for task, objectives in self._objectives_of(name).items()
        }

    def by_store(self, runs: pa.Table) -> Iterator[tuple[str, Mapping[str, Sequence[Objective]], pa.Table]]:
        """Yields the kind of each store, the objectives that it stated, and those of these runs that came from it."""
        for name, origin in self._manifest.origins.items():
            ids = self._held.filter(pc.field("source") == name)["run_id"]
            if (part := runs.filter(pc.is_in(runs["run_id"], ids.combine_chunks()))).num_rows:
                yield origin.kind, self._objectives_of(name), part

    def _objectives_of(self, store: str) -> Mapping[str, Sequence[Objective]]:
        stated = self._manifest.origins[store].objectives
        return {task: [parse_one(text) for text in objectives] for task, objectives in stated.items()}

    def close(self) -> None:
        """Lets go of the lake."""
        self._connection.close()
        self._folder.cleanup()

    def _files(self, kind: str, parts: Sequence[Part]) -> list[str]:
        return [self._place.address(part.path(kind)) for part in parts]

    @contextmanager
    def _wanted(self, ids: pa.Array) -> Iterator[list[Part]]:
        """Makes the runs known to SQL as `wanted`, and yields the parts that have them."""
        with (
            registered(self._connection, "wanted", pa.table({"run_id": ids})),
            registered(self._connection, "held", self._held),
        ):
            names = {name for (name,) in self._connection.execute(_PARTS).fetchall()}
            yield [part for part in self._parts if part.name in names]

    def _of(self, ids: pa.Array, query: str, kind: str, columns: pa.Schema) -> pa.Table:
        with self._wanted(ids) as parts:
            if not parts:
                return columns.empty_table()
            with in_lake(self.name):
                rows = self._connection.sql(query, params={"files": self._files(kind, parts)}).to_arrow_table()
            return rows.select(columns.names).cast(columns) if columns.names else rows
