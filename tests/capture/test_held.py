"""Points of short steps are held for a moment, and come whole and in order whatever follows; longer steps' are not."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from .running import spools

torch = pytest.importorskip("torch")

from hpkb.capture import training  # noqa: E402
from hpkb.capture.session import Session  # noqa: E402
from hpkb.capture.training import Training  # noqa: E402


class Job:
    """A training by hand, whose loss is the number of its step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.live = folder, Session(str(folder))
        self.course = self.live.training = Training(self.live, torch)
        self.weight = torch.ones(1, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.weight], lr=0.0)
        self.steps = 0

    def train(self, n: int, factor: float = 1.0) -> None:
        for _ in range(n):
            self.steps += 1
            loss = (self.weight * self.steps * factor).sum()
            self.course.backward(loss)
            loss.backward()
            self.optimizer.step()
            self.course.stepped(self.optimizer, with_closure=False)

    def written(self) -> list[tuple[int, float]]:
        points = [record for record in spools(self.folder)[0] if not isinstance(record, dict)]
        assert all(before.time <= after.time for before, after in itertools.pairwise(points))
        return [(point.step, point.values["train_loss"]) for point in points if "train_loss" in point.values]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job all of whose steps are short."""
    monkeypatch.setattr(training, "_SHORT", math.inf)
    monkeypatch.setattr(training, "_HELD", math.inf)
    return Job(tmp_path)


def expected(steps: int) -> list[tuple[int, float]]:
    return [(step, float(step)) for step in range(1, steps + 1)]


def test_nothing_is_lost_at_the_end(job: Job) -> None:
    job.train(50)
    assert job.written() == expected(3)
    job.live.close("FINISHED", "exit status 0", 0)
    assert job.written() == expected(50)


def test_a_batch_of_something_else_writes_them(job: Job) -> None:
    job.train(50)
    loader = torch.utils.data.DataLoader([1.0])
    use = job.course.loaders.use(loader)
    from hpkb.capture import session
    from hpkb.capture.batches import Drawing, _look
    from hpkb.capture.passes import Courses

    before, session._current = session._current, job.live
    try:
        _look(Drawing(use, job.live.part(Courses)), 0.0, exhausted=False)
    finally:
        session._current = before
    assert job.written() == expected(50)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_written_at_once_behind_them(job: Job, bad: float) -> None:
    job.train(50)
    job.train(1, factor=bad)
    *before, (step, loss) = job.written()
    assert before == expected(50)
    assert step == 51
    assert not math.isfinite(loss)


def test_longer_steps_are_written_at_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SHORT", 0.0)
    job.train(50)
    assert job.written() == expected(50)


def test_they_are_held_for_a_while_only(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_HELD", 0.0)
    job.train(50)
    assert job.written() == expected(50)


def test_a_rate_that_moves_is_followed_all_the_while(job: Any) -> None:
    rates = [0.1 / (1 + k) for k in range(1000)]
    for rate in rates:
        job.optimizer.param_groups[0]["lr"] = rate
        job.train(1)
    (track,) = job.course._tracks.values()
    course = track.rates()
    assert (course.highest, course.final) == (rates[0], rates[-1])
