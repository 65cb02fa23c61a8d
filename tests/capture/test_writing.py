"""Who writes a spool at the same time as another, or in the middle of a write of its own, and what is no number."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpkb.capture import baton, session, spool
from hpkb.capture.spool import Points, SpoolWriter
from hpkb.capture.spool_reader import SpoolReader

THREADS, STEPS = 8, 3_000


def points(path: str) -> list[tuple[int, dict[str, float]]]:
    """The steps and values of the whole stream."""
    reader = SpoolReader(path)
    found = [record for _, record in reader.read()]
    assert reader.damage is None
    return [(record.step, record.values) for record in found if isinstance(record, Points)]


@pytest.fixture
def eager() -> Iterator[None]:
    """Lets the interpreter change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_threads_that_write_at_once_in_many_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_SEGMENT", 50_000)
    writer = SpoolWriter(str(tmp_path / "a.spool"), {}, 1 << 30)

    def work(number: int) -> None:
        for step in range(STEPS):
            writer.points(step, 1.0, {f"of {number}": float(step), f"{step % 7}": 1.0})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = points(writer.path)
    assert len(spool.segments(writer.path)) > 5
    for number in range(THREADS):
        name = f"of {number}"
        assert [(step, values[name]) for step, values in found if name in values] == [(i, i) for i in range(STEPS)]


def test_a_signal_handler_that_writes_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """It need not wait for the write that it interrupts, and neither loses a record."""
    writer, heard, logged = SpoolWriter(str(tmp_path / "a.spool"), {}, 1 << 30), [0], 0

    def handler(*_: object) -> None:
        heard[0] += 1
        writer.points(heard[0], 1.0, {"heard": float(heard[0]), f"{heard[0] % 5}": 0.0})

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while heard[0] < 500:
            logged += 1
            writer.points(logged, 1.0, {"logged": float(logged), f"{logged % 3}": 0.0})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = points(writer.path)
    for name, n in (("heard", heard[0]), ("logged", logged)):
        assert sorted((step, values[name]) for step, values in found if name in values) == [
            (i, i) for i in range(1, n + 1)
        ]


def test_who_holds_the_baton_does_not_wait_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum is made in the middle of a write; another thread waits until it is done."""
    monkeypatch.setattr(baton, "_PATIENCE", 60.0)
    writer, order, crc32 = SpoolWriter(str(tmp_path / "a.spool"), {}), [], spool.crc32
    other = threading.Thread(target=lambda: (writer.points(3, 1.0, {"a": 3.0}), order.append("other")))

    def interrupting(payload: bytes) -> int:
        monkeypatch.setattr(spool, "crc32", crc32)
        writer.write({"type": "note"})
        writer.points(2, 1.0, {"a": 2.0})
        other.start()
        other.join(0.05)
        order.append("held")
        return crc32(payload)

    writer.points(0, 1.0, {"a": 0.0})
    monkeypatch.setattr(spool, "crc32", interrupting)
    writer.points(1, 1.0, {"a": 1.0})
    other.join()
    assert order == ["held", "other"]
    assert [step for step, _ in points(writer.path)] == [0, 2, 1, 3]


def test_a_baton_that_was_lost_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baton, "_PATIENCE", 0.05)
    writer = SpoolWriter(str(tmp_path / "a.spool"), {})
    writer._baton.pop()  # as when Ctrl-C comes in that very moment
    for step in range(3):
        writer.points(step, 1.0, {"a": 1.0})
    assert [step for step, _ in points(writer.path)] == [0, 1, 2]


def test_a_tensor_makes_the_garbage_collector_track_a_dict() -> None:
    """`session.log` tells by it what it may hand to the spool without a look at each value."""
    torch = pytest.importorskip("torch")
    assert not gc.is_tracked({"a": 1.0, "b": 2}) or sys.version_info >= (3, 14)
    assert gc.is_tracked({"a": 1.0, "b": torch.tensor(1.0)})
    later = {"a": 1.0}
    later["b"] = torch.tensor(1.0)
    assert gc.is_tracked(later)
    assert gc.is_tracked(dict(later))


class Half:
    """Neither a number nor a container, and yet it becomes one."""

    __slots__ = ()

    def __float__(self) -> float:
        return 0.5


class MadeUp(dict[str, float]):
    """Makes up what it is asked for."""

    def __missing__(self, name: str) -> float:
        self[name] = 0.0
        return 0.0


@pytest.mark.parametrize(("metrics", "recorded", "lost"), [
    ({"a": 1.5, "b": 2}, {"a": 1.5, "b": 2.0}, 0),
    ({"a": True, "b": "0.25"}, {"a": 1.0, "b": 0.25}, 0),
    ({"a": "much", "b": 2.0}, {"b": 2.0}, 1),
    ({"a": None, "b": 10**400, "c": 1.0}, {"c": 1.0}, 2),
    ({1: 1.0, "b": 2.0}, {"1": 1.0, "b": 2.0}, 0),
    ({"a": Half()}, {"a": 0.5}, 0),
    ({"b": 1.0, "a": 2.0}, {"a": 2.0, "b": 1.0}, 0),
    (MadeUp(b=1.0, c=2.0), {"b": 1.0, "c": 2.0}, 0),
    ({}, None, 0),
])  # fmt: skip
def test_what_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: Any, recorded: dict[str, float] | None, lost: int
) -> None:
    live = session.Session(str(tmp_path))
    monkeypatch.setattr(session, "_current", live)
    session.log({"a": 1.0, "b": 1.0}, 1)
    session.log({"z": 1.0}, 1)
    session.log(metrics, 2)
    live.turn_off()
    [file] = tmp_path.glob("*.spool")
    assert points(str(file))[2:] == ([] if recorded is None else [(2, recorded)])
    assert live.dropped == lost
    assert set(metrics) <= {1, "a", "b", "c"}
