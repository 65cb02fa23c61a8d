"""A spool in segments is one stream: for its readers, for the shipper whatever kills it, and for the whole curves."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpkb import curve_file
from hpkb.capture import spool as spools
from hpkb.capture import spool_reader
from hpkb.capture.spool import Points, SpoolWriter, segments, size
from hpkb.capture.spool_reader import SpoolReader, stream_end
from hpkb.ship import compaction
from hpkb.ship.rundir import RunDir
from hpkb.ship.shipper import Shipper
from tests.ship.stub_job import fork, process_spool, rows, status, table
from tests.ship.test_curves import _file as whole_curves
from tests.ship.test_shipper import ship_and_die

NewRun = Callable[..., RunDir]
STEPS = 4_000
LIMIT = 8 * 16_000  # bytes; a segment is an eighth
POINTS = "SELECT key, step, timestamp, value FROM metrics ORDER BY key, step, timestamp, value"
END = {"type": "end", "status": "FINISHED", "reason": "", "exit_status": 0, "ended_at": 1.9e9, "dropped": 0}


def write(run: RunDir, first: int = 0, last: int = STEPS, spool: SpoolWriter | None = None) -> SpoolWriter:
    """A spool of many segments (or one) whose values follow from their steps alone."""
    spool = spool or process_spool(run, limit=LIMIT * 100)
    for step in range(first, last):
        spool.points(step, 1_800_000_000.0 + step, {"train_loss": random.Random(step).random(), "learning_rate": 0.1})
    return spool


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_SEGMENT", LIMIT // 8)


def test_segments_are_read_as_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_reader, "_CHUNK", 100)
    path = str(tmp_path / "process-1-a.spool")
    writer, reader = SpoolWriter(path, {"pid": 1}, LIMIT), SpoolReader(path)
    seen: list[tuple[int, Any]] = []
    for step in range(1_500):
        writer.points(step, float(step), {"a": step, f"b{step % 3}": 1.0})
        if step % 400 == 0:
            writer.write({"type": "artifact", "text": "x" * 5_000})
            seen += list(reader.read())
    seen += list(reader.read())
    positions = [position for position, _ in seen]
    assert positions == sorted(set(positions))
    assert [record.step for _, record in seen if isinstance(record, Points)] == list(range(1_500))
    assert all(record.values["a"] == record.step for _, record in seen if isinstance(record, Points))
    heads = [record for _, record in seen if isinstance(record, dict) and record["type"] == "segment"]
    assert len(segments(path)) == len(heads) + 1 > 3
    assert all(head["pid"] == 1 for head in heads), "a segment says by itself whose it is"
    assert reader.position == stream_end(path)
    assert list(SpoolReader(path).read()) == seen


def test_a_full_spool_refuses_points_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "process-1-a.spool")
    writer, refused = SpoolWriter(path, {}, LIMIT), 0
    for step in range(10_000):
        try:
            writer.points(step, 1.0, {"a": 1.0})
        except OSError as error:
            assert "HPKB_SPOOL_LIMIT" in str(error)  # noqa: PT017
            refused += 1
    writer.write(END)
    records = [record for _, record in SpoolReader(path).read()]
    assert sum(isinstance(record, Points) for record in records) == 10_000 - refused > 1_000
    assert records[-1] == END
    assert sum(Path(file).stat().st_size for file in segments(path)) < LIMIT * 1.1
    Path(segments(path)[0]).write_bytes(spools.MAGIC)  # as when the shipper has made room
    for step in range(2_000):
        try:
            writer.points(step, 1.0, {"later": 1.0})
        except OSError:
            continue
        return
    pytest.fail("there was room again, and nobody looked")


@pytest.mark.parametrize(("text", "meant"), [
    ("500M", 500 << 20), ("1.5g", 3 << 29), ("1000", 1000), ("2 KB", 2048), ("x", 7), ("-1", 7), ("", 7), (None, 7),
    ("nan", 7), ("1e99G", 7),
])  # fmt: skip
def test_sizes_in_words(text: str | None, meant: int) -> None:
    assert size(text, 7) == meant


def assert_same(run: RunDir, uri: str, folder: Path, expected: list[tuple[object, ...]]) -> None:
    assert rows(uri, POINTS) == expected
    points = [row for batch in curve_file.read(whole_curves(uri, folder)) for row in batch.to_pylist()]
    assert [(p["step"], p["value"]) for p in points if p["metric"] == "train_loss"] == [
        (step, random.Random(step).random()) for step in range(STEPS)
    ]
    assert not [file.name for file in run.path.iterdir() if ".spool" in file.name or "parquet" in file.name]
    assert status(uri) == "FINISHED"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, made_store: Path) -> list[tuple[object, ...]]:
    """The metrics of the same job in one segment, shipped by one shipper."""
    from hpkb.ship.rundir import RunSettings

    folder = tmp_path_factory.mktemp("expected")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    (folder / "mlflow.db").write_bytes(made_store.read_bytes())
    run = RunDir.create(RunSettings(uri, "digits"), folder)
    write(run, spool=process_spool(run)).write(END)
    Shipper(uri).finish(run)
    return rows(uri, POINTS)


@pytest.mark.usefixtures("small_segments")
def test_a_long_job_stays_small_and_its_curves_are_whole(
    new_run: NewRun, store_uri: str, tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    run, shipper, sizes = new_run(), Shipper(store_uri), []
    spool = process_spool(run, limit=LIMIT * 100)
    spool.write({"type": "params", "values": {"cli.lr": 1}, "origin": "argparse"})
    spool.write({"type": "training", "at": 1.0, "rank": 0, "group": None, "restart": 0})
    for first in range(0, STEPS, 500):
        write(run, first, first + 500, spool)
        shipper.ship(run)
        sizes.append(sum(file.stat().st_size for file in run.path.glob("*.spool*") if ".parquet" not in file.name))
        if first % 1_000 == 0:
            shipper = Shipper(store_uri)  # one that takes over reads what is left
    assert len(segments(spool.path)) > 5
    assert max(sizes) < 60_000, sizes
    spool.write(END)
    Shipper(store_uri).finish(run)
    assert_same(run, store_uri, tmp_path, expected)
    assert table(store_uri, "params")["cli.lr"] == "1"


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("saves", [2, 3, 4, 6, 9])
def test_a_shipper_killed_at_any_save(
    new_run: NewRun, store_uri: str, tmp_path: Path, expected: list[tuple[object, ...]], saves: int
) -> None:
    run = new_run()
    write(run).write(END)
    shipper = fork(ship_and_die, run, saves)
    shipper.join(60)
    Shipper(store_uri).finish(run)
    assert_same(run, store_uri, tmp_path, expected)


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("number", range(0, 12, 3))
def test_a_shipper_killed_while_it_compacts(
    new_run: NewRun, store_uri: str, tmp_path: Path, expected: list[tuple[object, ...]], number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The kill is an exception here that nothing handles; the shipper is never used again."""
    rename, left = Path.rename, iter(range(number))

    def dying_rename(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    run = new_run()
    write(run).write(END)
    with monkeypatch.context() as patch:
        patch.setattr(compaction.Path, "rename", dying_rename)
        with pytest.raises(KeyboardInterrupt):
            Shipper(store_uri).ship(run)
    Shipper(store_uri).finish(run)
    assert_same(run, store_uri, tmp_path, expected)


@pytest.mark.usefixtures("small_segments")
def test_damage_in_one_segment_costs_the_rest_of_that_segment(new_run: NewRun, store_uri: str) -> None:
    run = new_run(full_metrics=True)
    spool = write(run)
    spool.write(END)
    second = Path(segments(spool.path)[1])
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(data)
    Shipper(store_uri).finish(run)
    steps = [step for (step,) in rows(store_uri, "SELECT step FROM metrics WHERE key = 'train_loss' ORDER BY step")]
    assert STEPS - 300 < len(steps) < STEPS
    assert steps[-1] == STEPS - 1
    assert f"{second.name} is damaged" in table(store_uri, "tags")["hpkb.spool.damage"]
    assert run.spools() == []
    assert len(list(run.path.glob("*.damaged"))) > 2


@pytest.mark.usefixtures("small_segments")
def test_a_segment_that_was_cut_is_damaged_where_a_next_one_follows(new_run: NewRun, store_uri: str) -> None:
    """The last record of the segment is lost, and nothing else."""
    run = new_run(full_metrics=True)
    spool = write(run)
    spool.write(END)
    second = Path(segments(spool.path)[1])
    second.write_bytes(second.read_bytes()[:-5])
    Shipper(store_uri).finish(run)
    assert rows(store_uri, "SELECT count(*) FROM metrics WHERE key = 'train_loss'") == [(STEPS - 1,)]
    assert f"{second.name} is damaged" in table(store_uri, "tags")["hpkb.spool.damage"]
    assert len(list(run.path.glob("*.damaged"))) > 2


def test_an_end_for_which_the_disk_has_no_room(
    new_run: NewRun, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the place that is reserved for it, so what was lost is told, also by a reader that was there before."""
    run = new_run()
    spool = write(run, 0, 100, process_spool(run, limit=1 << 30))
    reader = SpoolReader(spool.path)
    before, size_before = list(reader.read()), Path(spool.path).stat().st_size

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spools, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.points(100, 1.0, {"train_loss": 1.0})
        spool.write({**END, "status": "FAILED", "reason": "x" * 1000, "dropped": 7})
    assert Path(spool.path).stat().st_size == size_before
    [(position, end)] = list(reader.read())
    assert (position, end["dropped"], end["status"]) == (before[-1][0], 7, "FAILED")
    assert list(reader.read()) == []
    assert list(SpoolReader(spool.path).read()) == [*before, (position, end)]
    Shipper(store_uri).finish(run)
    assert rows(store_uri, "SELECT count(*) FROM metrics WHERE key = 'train_loss'") == [(100,)]
    assert table(store_uri, "tags")["hpkb.spool.dropped"] == "7"
    assert "hpkb.spool.damage" not in table(store_uri, "tags")
    assert run.spools() == []
