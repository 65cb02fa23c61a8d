"""Losses that are still on the GPU: written in the order of the steps, waited for at the end and no longer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from .running import Run, spools

torch = pytest.importorskip("torch")

from hpkb.capture import losses, training  # noqa: E402
from hpkb.capture.session import Session  # noqa: E402
from hpkb.capture.training import Training  # noqa: E402


class Event:
    """Stands for a CUDA event: it has happened when the test says so."""

    def __init__(self) -> None:
        self.happened = False

    def query(self) -> bool:
        return self.happened


class Elsewhere:
    """Stands for a loss on a device whose values come late."""

    is_cpu = is_cuda = False

    def __init__(self, loss: Any) -> None:
        self.detach, self.grad_fn = loss.detach, loss.grad_fn


class Pool:
    free: list[Any]

    def __init__(self) -> None:
        self.free = []


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training whose every loss arrives when its event happens; gives (session, training, events, pool)."""
    live = Session(str(tmp_path))
    course = Training(live, torch)
    events: list[Event] = []
    pool = Pool()

    def read(_torch: Any, scalar: Any) -> losses.Late:
        events.append(Event())
        return losses.Late(pool, scalar.detach().clone(), events[-1])  # type: ignore[arg-type]

    monkeypatch.setattr(training, "read", read)
    return live, course, events, pool


def train(course: Training, n: int) -> None:
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    for _ in range(n):
        loss = (weight**2).sum()
        course.backward(Elsewhere(loss))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        course.stepped(optimizer, with_closure=False)


def losses_of(records: list[Any]) -> list[Any]:
    return [record for record in records if not isinstance(record, dict) and "train_loss" in record.values]


def test_order_is_kept_and_slots_come_back(late: Any, tmp_path: Path) -> None:
    live, course, events, pool = late
    train(course, 3)
    events[1].happened = events[2].happened = True
    assert not live.is_open or not any("train_loss" in str(record) for record in spools(tmp_path)[0])
    events[0].happened = True
    live.close("FINISHED", "exit status 0", 0)
    points = losses_of(spools(tmp_path)[0])
    assert [point.step for point in points] == [1, 2, 3]
    assert points[0].values == {"train_loss": 1.0, "learning_rate": 0.5}
    assert points[0].time <= points[1].time <= points[2].time
    assert len(pool.free) == 3


def test_the_end_does_not_wait_for_ever(late: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, course, events, _ = late
    monkeypatch.setattr(training, "_PATIENCE", 0.05)
    train(course, 2)
    events[0].happened = True
    begun = time.monotonic()
    live.close("FINISHED", "exit status 0", 0)
    assert time.monotonic() - begun < 5
    records = spools(tmp_path)[0]
    assert [point.step for point in losses_of(records)] == [1]
    assert records[-1]["dropped"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_on_a_real_gpu(run: Run) -> None:
    ran = run("by_hand.py", "cuda")
    assert [value for _, value in ran.curve("train_loss")] == ran.printed("loss")
    assert ran.end["dropped"] == 0
