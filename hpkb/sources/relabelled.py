"""A store of runs under the names given to `hpkb import`: of hyperparameters, of the task, and what all runs had."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from hpkb.sources import PARAMETERS, RUNS, TEXT, Source
from hpkb.sources.objectives import Objective
from hpkb.sources.table import Layout


class Relabelled:
    """A source whose runs have, of a layout, the mapping, the seed column, the task column and the fixed values.

    The columns are recorded parameters here. A run without the one that says the task keeps the task that it has; a
    fixed value goes before a recorded one of that name.
    """

    def __init__(self, source: Source, layout: Layout) -> None:
        self._source, self._layout = source, layout
        self.kind, self.name = source.kind, source.name
        seed = {layout.seed_column: "seed"} if layout.seed_column else {}
        self._names = {**{recorded: name for name, recorded in layout.mapping.items()}, **seed}
        self._missing: Counter[str] = Counter()

    def experiments(self) -> list[str]:
        """Returns the source's experiments."""
        return self._source.experiments()

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns the source's fingerprints with a digest of the names, since other names make another run."""
        layout = self._layout
        said = repr((sorted(self._names.items()), layout.task_column, sorted(layout.fixed.items())))
        digest = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        found = self._source.fingerprints(experiments)
        joined = pc.binary_join_element_wise(found["fingerprint"], pa.scalar(digest, TEXT), "|")
        return found.set_column(1, "fingerprint", joined)

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns the runs, each with the task that its parameter says."""
        runs = self._source.runs(ids)
        column = self._layout.task_column
        if column is None:
            return runs
        recorded = self._source.parameters(ids)
        recorded = recorded.filter(pc.equal(recorded["name"], column))
        tasks = dict(zip(recorded["run_id"].to_pylist(), recorded["value"].to_pylist(), strict=True))
        self._count_missing(column, ids, recorded)
        known = zip(runs["run_id"].to_pylist(), runs["task"].to_pylist(), strict=True)
        said = pa.array([tasks.get(run_id, task) for run_id, task in known], TEXT)
        return runs.set_column(RUNS.get_field_index("task"), RUNS.field("task"), said)

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the parameters under the names given, and the fixed ones."""
        recorded = self._source.parameters(ids)
        for column in self._names:
            self._count_missing(column, ids, recorded.filter(pc.equal(recorded["name"], column)))
        before = recorded["name"].to_pylist()
        names = [self._names.get(name, name) for name in before]
        given = set(self._names.values())
        stays = [
            new not in self._layout.fixed and (new not in given or old in self._names)
            for old, new in zip(before, names, strict=True)
        ]
        renamed = recorded.set_column(1, "name", pa.array(names, TEXT)).filter(pa.array(stays, pa.bool_()))
        return pa.concat_tables([renamed, *(self._fixed(ids, *item) for item in self._layout.fixed.items())])

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns the source's facts about the machines."""
        return self._source.hardware(ids)

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns the source's data splits."""
        return self._source.splits(ids)

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the source's points."""
        return self._source.curves(ids)

    def notes(self) -> Mapping[str, int]:
        """Returns the source's notes, and how many runs lack a parameter that is named."""
        missing = {
            f"runs without the parameter '{name}'": count for name, count in self._missing.items() if count
        }
        return {**self._source.notes(), **missing}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns the source's own objectives."""
        return self._source.objectives()

    def close(self) -> None:
        """Lets go of the store."""
        self._source.close()

    def _count_missing(self, column: str, ids: pa.Array, having: pa.Table) -> None:
        self._missing[column] = len(ids) - pc.count_distinct(having["run_id"]).as_py()

    @staticmethod
    def _fixed(ids: pa.Array, name: str, value: str) -> pa.Table:
        texts = [pa.repeat(pa.scalar(text, TEXT), len(ids)) for text in (name, value, "fixed")]
        return pa.Table.from_arrays([ids.cast(TEXT), *texts], schema=PARAMETERS)
