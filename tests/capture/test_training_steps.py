"""The points of every step are in the spool as soon as it is over, and the rate is followed all the while."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from .running import spools

torch = pytest.importorskip("torch")

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
        return [(point.step, point.values["train_loss"]) for point in points if "train_loss" in point.values]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_points_are_written_at_once(job: Job) -> None:
    for steps in (1, 3, 50):  # the first steps are taken note of by other lines than those that follow
        job.train(steps - job.steps)
        assert job.written() == [(step, float(step)) for step in range(1, steps + 1)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_written(job: Job, bad: float) -> None:
    job.train(50)
    job.train(1, factor=bad)
    *before, (step, loss) = job.written()
    assert (len(before), step) == (50, 51)
    assert not math.isfinite(loss)


def test_a_rate_that_moves_is_followed_all_the_while(job: Job) -> None:
    rates = [0.1 / (1 + k) for k in range(1000)]
    for rate in rates:
        job.optimizer.param_groups[0]["lr"] = rate
        job.train(1)
    (track,) = job.course._tracks.values()
    course = track.rates()
    assert (course.highest, course.final) == (rates[0], rates[-1])
