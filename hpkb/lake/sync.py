"""The runs of a store brought into a lake: those that are new or changed are read, those that are gone left out.

Parts are written side by side, by whatever engine there is, and become the lake's with one manifest at the end. Where
somebody else changed the lake meanwhile, what is left to do is looked up anew; the parts that are written count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from hpkb.engine import Engine
from hpkb.errors import SourceError
from hpkb.kb.batches import RUNS_TOGETHER, Opener
from hpkb.kb.store import in_memory
from hpkb.lake.layout import month_of
from hpkb.lake.manifest import Manifest, Origin, Part, Partition, changed, commit
from hpkb.lake.place import Place, in_lake, place_of
from hpkb.lake.writing import Written, merge, write_batch
from hpkb.sources import Source

_HELD = """-- One row per run of the parts.
SELECT run_id, fingerprint, source, experiment_name AS experiment, parse_filename(filename, true) AS part
FROM read_parquet($files, hive_partitioning = false, filename = true)"""

# A store that was moved has the same runs under another name: they are in the lake once.
_COMPARE = """-- One row per run of the store, present, past or both: what has become of it, and the part that has it.
SELECT run_id, s.fingerprint, h.part,
    CASE WHEN h.run_id IS NULL THEN 'new' WHEN s.run_id IS NULL THEN 'removed'
         WHEN h.fingerprint <> s.fingerprint THEN 'changed' ELSE 'unchanged' END AS change
FROM seen s FULL JOIN held h USING (run_id)
WHERE s.run_id IS NOT NULL
    OR (h.source = $source AND (len($experiments) = 0 OR list_contains($experiments, h.experiment)))
ORDER BY run_id"""


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: runs by what became of them, points and bytes written, and what had to be altered."""

    source: str
    lake: str
    new: int
    changed: int
    removed: int
    unchanged: int
    points: int
    bytes: int
    parts: int  # that the lake has now, of all stores
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Change:
    """What is to be done: runs to read with their fingerprints, runs to leave out by the part that has them."""

    counts: Mapping[str, int]
    to_read: Mapping[str, str]
    stale: Mapping[str, Sequence[str]]


def sync(
    url: str,
    open_source: Opener,
    engine: Engine,
    experiments: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> SyncReport:
    """Brings a store's runs into the lake at `url`, which is made where there is none, and returns what was done.

    `experiments` are the only ones looked at, if given. Raises SourceError, with nothing changed, where one is not
    known or where there is no run.
    """
    place, source = place_of(url), open_source()
    with closing(source), in_lake(place.url):
        known = source.experiments()
        for experiment in experiments:
            if experiment not in known:
                raise SourceError(
                    f"No experiment '{experiment}' in '{source.name}'. Known: {', '.join(known)}."
                )
        return changed(
            place, lambda before: _sync(place, before, source, open_source, engine, experiments, say)
        )


def _sync(
    place: Place,
    before: Manifest,
    source: Source,
    open_source: Opener,
    engine: Engine,
    experiments: Sequence[str],
    say: Callable[[str], None],
) -> SyncReport | None:
    """What a sync did; None where somebody else changed the lake meanwhile."""
    change = _compare(place, before.parts, source, experiments)
    if not change.counts:
        raise SourceError(f"No runs in '{source.name}'. Try: hpkb log -- python train.py")
    say(f"writing {len(change.to_read):,} runs")
    written = list(_written(place, source, open_source, engine, change.to_read))
    say("replacing what changed")
    kept = _kept(place, engine, before.parts, change.stale)
    parts, origins = [*kept, *(w.part for w in written)], _origins(before, source)
    after = before
    if (set(parts), origins) != (set(before.parts), before.origins):
        committed = commit(place, parts, origins, before)
        if committed is None:
            return None
        after = committed
    return _report(place, source, change, written, after)


def _compare(place: Place, parts: Sequence[Part], source: Source, experiments: Sequence[str]) -> _Change:
    with TemporaryDirectory(prefix="hpkb-lake-") as folder, in_memory(Path(folder)) as connection:
        place.attach(connection)
        connection.register("held", _held(connection, [place.address(part.path("runs")) for part in parts]))
        connection.register("seen", source.fingerprints(experiments))
        rows = connection.execute(
            _COMPARE, {"source": source.name, "experiments": list(experiments)}
        ).fetchall()
    stale = defaultdict(list)
    for run_id, _, part, change in rows:
        if change in ("changed", "removed"):
            stale[part].append(run_id)
    to_read = {run_id: fingerprint for run_id, fingerprint, _, change in rows if change in ("new", "changed")}
    return _Change(Counter(change for *_, change in rows), to_read, stale)


def _held(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> pa.Table:
    if not files:
        names = ("run_id", "fingerprint", "source", "experiment", "part")
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return connection.sql(_HELD, params={"files": files}).to_arrow_table()


def _written(
    place: Place, source: Source, open_source: Opener, engine: Engine, to_read: Mapping[str, str]
) -> Iterator[Written]:
    if to_read:
        runs = source.runs(pa.array(to_read, pa.string()))
        jobs = (
            (place.url, open_source, partition, {run_id: to_read[run_id] for run_id in sorted(ids)})
            for partition, ids in _batches(source.name, runs)
        )
        yield from engine.map(write_batch, jobs)


def _batches(source: str, runs: pa.Table) -> Iterator[tuple[Partition, Sequence[str]]]:
    """The runs by partition, in batches, those of one configuration sweep together as they were started."""
    found: dict[Partition, list[str]] = defaultdict(list)
    for run in runs.sort_by([("started_at", "ascending"), ("run_id", "ascending")]).to_pylist():
        found[Partition(source, run["experiment"], run["task"], month_of(run["started_at"]))].append(
            run["run_id"]
        )
    for partition, ids in found.items():
        waiting = iter(ids)
        while batch := list(islice(waiting, RUNS_TOGETHER)):
            yield partition, batch


def _kept(
    place: Place, engine: Engine, parts: Sequence[Part], stale: Mapping[str, Sequence[str]]
) -> list[Part]:
    """The parts that stay, those with stale runs written again without them."""
    replaced = [part for part in parts if part.name in stale]
    left = engine.map(merge, ((place.url, [part], stale[part.name]) for part in replaced))
    return [part for part in parts if part.name not in stale] + [part for part in left if part is not None]


def _origins(before: Manifest, source: Source) -> dict[str, Origin]:
    stated = {task: [str(objective) for objective in found] for task, found in source.objectives().items()}
    return {**before.origins, source.name: Origin(source.kind, stated)}


def _report(
    place: Place, source: Source, change: _Change, written: Sequence[Written], after: Manifest
) -> SyncReport:
    notes = Counter(source.notes())
    for one in written:
        notes.update(one.notes)
    n = change.counts
    return SyncReport(
        source.name, place.url, n.get("new", 0), n.get("changed", 0), n.get("removed", 0), n.get("unchanged", 0),
        sum(w.part.points for w in written), sum(w.part.bytes for w in written), len(after.parts),
        tuple(f"{count:,} {what}" for what, count in notes.items()),
    )  # fmt: skip
