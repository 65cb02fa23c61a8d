"""Spool files that were cut or in which bits have changed: what lies before is read, and the damage is told."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from hpkb.capture.spool import SpoolWriter
from hpkb.capture.spool_reader import SpoolReader
from hpkb.ship.rundir import RunDir, RunSettings
from tests.faults.conftest import NewPlace
from tests.faults.truth import Truth

PLACES = 1000
POINTS = 400

Read = list[tuple[int, object]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A spool file with records of every kind."""
    file = tmp_path_factory.mktemp("whole") / "a.spool"
    write(file, POINTS)
    return file.read_bytes()


def write(file: Path, n: int) -> None:
    """Writes the spool of a process that logged n steps and is not there any more (no Linux has that pid)."""
    writer = SpoolWriter(str(file), {"role": "process", "rank": 0, "pid": 1 << 22, "started_at": time.time()})
    writer.write({"type": "params", "values": {"learning_rate": 0.1}, "origin": "user"})
    for step in range(1, n + 1):
        writer.points(step, time.time(), {"train_loss": step / 2} | ({"val_loss": 1.0} if step % 50 == 0 else {}))
    ending = {"status": "FINISHED", "reason": "exit status 0", "ended_at": time.time(), "dropped": 0}
    writer.write({"type": "end", **ending})
    writer.close()


def read(file: Path) -> tuple[Read, SpoolReader]:
    """What the reader gets out of the file."""
    reader = SpoolReader(str(file))
    return list(reader.read()), reader


def test_cut_at_a_thousand_random_places(whole: bytes, tmp_path: Path) -> None:
    file, rng = tmp_path / "cut.spool", random.Random(4)
    file.write_bytes(whole)
    records, _ = read(file)
    for _ in range(PLACES):
        length = rng.randrange(len(whole))
        file.write_bytes(whole[:length])
        found, reader = read(file)
        assert found == [record for record in records if record[0] <= length]
        assert reader.damage is None, "a record may be on its way"
        assert reader.position <= length
        reader.conclude()
        rest = length - (reader.position if length >= 8 else 0)
        assert (reader.damage is None) == (rest == 0), "nobody writes any more"
        assert rest == 0 or f" {rest} bytes " in str(reader.damage)


def test_a_bit_changed_at_a_thousand_random_places(whole: bytes, tmp_path: Path) -> None:
    """Only a length in the very last record may reach beyond the end without a record that gives it away."""
    file, rng, unsure = tmp_path / "flipped.spool", random.Random(5), 0
    file.write_bytes(whole)
    records, intact = read(file)
    last = records[-2][0]
    for _ in range(PLACES):
        place = rng.randrange(len(whole))
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        found, reader = read(file)
        assert found == [record for record in records if record[0] <= place]
        assert reader.position <= place
        assert reader.position < intact.position
        if reader.damage is None:
            assert place >= last
            unsure += 1
        reader.conclude()
        assert f" {len(whole) - reader.position} bytes " in str(reader.damage)
    print(f"{unsure} of {PLACES} look like a record that is being written")


def test_a_length_beyond_the_end_while_the_process_lives(whole: bytes, tmp_path: Path) -> None:
    """The next intact record gives it away, in whatever portions the file is looked at."""
    file = tmp_path / "live.spool"
    file.write_bytes(whole)
    places = starts(file)
    changed = bytearray(whole)
    changed[places[100] + 2] = 0x7F
    reader, told = SpoolReader(str(file)), []
    for place in places[99:110]:
        file.write_bytes(changed[:place])
        list(reader.read())
        told.append(reader.damage)
    assert told[:3] == [None, None, None], "the record that is damaged may be on its way"
    assert all(f"damaged at byte {places[100]}" in str(damage) for damage in told[3:])


def test_what_is_left_behind_the_end_is_damage(tmp_path: Path) -> None:
    """A process that has recorded its end writes no more, so there is nothing to wait for."""
    file = tmp_path / "ended.spool"
    write(file, 10)
    with file.open("ab") as more:
        more.write(b"abc")
    _, reader = read(file)
    assert ": 3 bytes " in str(reader.damage)


def test_a_record_on_its_way_is_read_when_it_is_there(whole: bytes, tmp_path: Path) -> None:
    """A reader that is told too early that nobody writes any more takes no intact record for damage."""
    file = tmp_path / "slow.spool"
    file.write_bytes(whole[:-5])
    _, reader = read(file)
    file.write_bytes(whole)
    reader.conclude()
    assert reader.damage is None
    assert len(list(reader.read())) == 1
    assert reader.damage is None


def test_garbage_instead_of_a_spool(tmp_path: Path) -> None:
    file, rng = tmp_path / "garbage.spool", random.Random(6)
    for length in (0, 1, 7, 8, 9, 1000):
        file.write_bytes(rng.randbytes(length))
        found, reader = read(file)
        assert found == []
        assert (reader.damage is None) == (length == 0)


def damaged_run(spool: Path, uri: str, name: str, change: dict[int, int]) -> Path:
    """A run folder whose only process has a spool in which the bytes at these places were changed; returns the file."""
    run = RunDir.create(RunSettings(uri, "Default", run_name=name, full_metrics=True), spool)
    file = run.path / f"process-{1 << 22}-aaaaaaaa.spool"
    write(file, POINTS)
    data = bytearray(file.read_bytes())
    for place, value in change.items():
        data[place] = value
    file.write_bytes(data)
    age(run.path)
    return file


def age(folder: Path) -> None:
    """Makes the run folder old, so that its job does not count as one that is just being started."""
    settings = folder / "run.json"
    text = settings.read_text()
    before, _, rest = text.partition('"created_at": ')
    settings.write_text(f'{before}"created_at": {time.time() - 3600}{rest[rest.index(","):]}')


def starts(file: Path) -> list[int]:
    """Where the records of a whole spool file begin."""
    return [8, *(position for position, _ in SpoolReader(str(file)).read())]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Where the records of the whole file begin that `damaged_run` changes."""
    file = tmp_path_factory.mktemp("frames") / "a.spool"
    write(file, POINTS)
    return starts(file)


def test_damage_is_told_with_the_run_and_the_file_is_kept(new_place: NewPlace, frames: list[int]) -> None:
    """The payload of a record in the middle, the magic, and settings that nobody can read beside a healthy run."""
    place = new_place()
    files = {
        "payload": damaged_run(place.spool, place.uri, "payload", {frames[200] + 20: 0xFF}),
        "magic": damaged_run(place.spool, place.uri, "magic", {0: 0}),
        "whole": damaged_run(place.spool, place.uri, "whole", {}),
    }
    settings = damaged_run(place.spool, place.uri, "settings", {}).parent / "run.json"
    settings.write_bytes(settings.read_bytes()[:40])
    done = place.sync()
    assert "Traceback" not in done.stderr
    runs = Truth(place.uri).runs()
    assert set(runs) == set(files)
    assert len(runs["whole"].points) == POINTS
    assert 190 <= len(runs["payload"].points) < 200
    assert "damaged at byte" in runs["payload"].tags["hpkb.spool.damage"]
    assert "hpkb.spool.damage" in runs["magic"].tags
    assert "hpkb.spool.damage" not in runs["whole"].tags
    assert not files["whole"].exists()
    for name in ("payload", "magic"):
        assert files[name].with_name(f"{files[name].name}.damaged").exists()
    assert settings.with_name(f"process-{1 << 22}-aaaaaaaa.spool").exists(), "nobody can say where it belongs"


def test_a_length_that_reaches_beyond_the_end_is_damage_once_nobody_writes(
    new_place: NewPlace, frames: list[int]
) -> None:
    place = new_place()
    file = damaged_run(place.spool, place.uri, "length", {frames[200] + 2: 0x7F})
    place.sync()
    [run] = Truth(place.uri).runs().values()
    assert 190 <= len(run.points) < 200
    assert "hpkb.spool.damage" in run.tags
    assert file.with_name(f"{file.name}.damaged").exists(), "what follows can still be saved by hand"


def test_a_last_record_that_was_cut_is_told_once_nobody_writes(new_place: NewPlace) -> None:
    place = new_place()
    file = damaged_run(place.spool, place.uri, "cut", {})
    file.write_bytes(file.read_bytes()[:-5])
    place.sync()
    [run] = Truth(place.uri).runs().values()
    assert len(run.points) == POINTS
    assert "bytes from there on cannot be read" in run.tags["hpkb.spool.damage"]
    assert file.with_name(f"{file.name}.damaged").exists()


def test_positions_that_are_damaged_are_taken_for_none(new_place: NewPlace) -> None:
    """The run is then sent once more, into the same MLflow run, where nothing is there twice."""
    place = new_place()
    folder = damaged_run(place.spool, place.uri, "again", {}).parent
    shutil.copytree(folder, place.folder / "before")
    for _ in range(2):
        assert place.sync().returncode == 0
        assert len(Truth(place.uri).runs()["again"].points) == POINTS
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place.folder / "before", folder)
        (folder / "shipped.json").write_bytes(b'{"run_id": "')
