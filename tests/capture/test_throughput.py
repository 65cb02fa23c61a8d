"""Throughput, waiting for data, memory and passes, held against what the script measures itself."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from .running import Captured, Run

torch = pytest.importorskip("torch")


@pytest.fixture
def ran(run: Run) -> Captured:
    return run("throughput.py", "4")


def tags(ran: Captured) -> dict[str, str]:
    return {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}


def test_examples_a_second_and_the_share_of_waiting(ran: Captured) -> None:
    (rate,), (share,) = ran.printed("rate"), ran.printed("share")
    ((step, measured),) = ran.curve("examples_per_second")
    assert (step, measured) == (20, pytest.approx(rate, rel=0.1))  # 19 steps of 20 examples, four of them of 10
    assert ran.curve("data_wait_share")[-1][1] == pytest.approx(share, abs=0.1)


def test_totals_leave_evaluation_out(ran: Captured) -> None:
    told = tags(ran)
    (evaluated,) = ran.printed("evaluated")
    assert float(told["hpkb.time.evaluation_seconds"]) == pytest.approx(evaluated * 3 / 4, rel=0.2)
    assert float(told["hpkb.time.training_seconds"]) < evaluated + 20 * 0.02 * 10
    assert 20 * 10 * 0.0005 < float(told["hpkb.time.data_wait_seconds"]) < float(told["hpkb.time.training_seconds"])


def test_passes_through_the_data(ran: Captured) -> None:
    assert (tags(ran)["hpkb.epochs_seen"], ran.curve("epoch")) == ("4", [(20, 4.0)])


def test_a_look_at_the_training_data_is_no_pass_through_it(run: Run) -> None:
    code = (
        "import torch\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "model = torch.nn.Linear(3, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
        "loader = DataLoader(TensorDataset(torch.randn(20, 3)), 4)\n"
        "for epoch in range(3):\n"
        "    for (inputs,) in loader:\n"
        "        optimizer.zero_grad()\n"
        "        model(inputs).square().mean().backward()\n"
        "        optimizer.step()\n"
        "    with torch.no_grad():\n"
        "        print('loss', sum(model(inputs).square().mean().item() for (inputs,) in loader))\n"
    )
    told = tags(run("-c", code))
    assert told["hpkb.epochs_seen"] == "3"
    assert float(told["hpkb.time.evaluation_seconds"]) > 0


def test_memory(ran: Captured) -> None:
    ((_, peak),) = ran.curve("peak_memory_gib")
    assert 0.05 < peak < 4
    assert not ran.curve("gpu_peak_memory_gib")


class Live:
    """A session that keeps what it is told."""

    def __init__(self) -> None:
        self.step = 0
        self.closing: list[Any] = []
        self.told: list[tuple[int, dict[str, float]]] = []
        self._parts: dict[Any, Any] = {}

    def part(self, kind: Any) -> Any:
        return self._parts.setdefault(kind, kind(self))

    def parameter(self, name: str) -> Any:
        return {"batch_size": 10}.get(name)

    def points(self, step: int, values: dict[str, float]) -> None:
        self.told.append((step, values))

    def tags(self, values: dict[str, str]) -> None:
        pass


@pytest.mark.parametrize(
    ("seconds", "steps", "windows"),
    [(0.001, 20000, [5000]), (0.02, 2000, [250]), (0.2, 500, [100]), (2.0, 120, [30]), (100.0, 5, [1])],
)
def test_windows_by_the_length_of_a_step(seconds: float, steps: int, windows: list[int]) -> None:
    from hpkb.capture.throughput import Throughput

    live, due = Live(), {}
    training = SimpleNamespace(live=live, torch=torch, after_batch=SimpleNamespace(add=lambda function: None))
    training.after = due.__setitem__
    training.stepped_at = 0.0
    Throughput(training)
    for step in range(1, steps + 1):
        training.stepped_at += seconds
        live.step = step
        if step in due:
            due.pop(step)(step)
    told = [(step, values["examples_per_second"]) for step, values in live.told]
    assert all(rate == pytest.approx(10 / seconds) for _, rate in told)
    lengths = [after - before for (before, _), (after, _) in zip([(1, 0.0), *told], told, strict=False)]
    assert all(windows[0] <= length <= 1.6 * windows[0] + 1 for length in lengths)
    assert len(told) >= steps // windows[0] // 2


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_peak_memory_is_this_process_own(run: Run) -> None:
    code = (
        "import subprocess, sys; ballast = bytearray(400 << 20)\n"
        "child = 'from hpkb.capture.memory import peak_gib; print(f\"peak: {peak_gib():.4f}\")'\n"
        "subprocess.run([sys.executable, '-c', child])"
    )
    peaks = run("-c", code).printed("peak")
    assert 0 < peaks[0] < 0.2


def test_kills_for_want_of_memory_are_counted_where_a_control_group_says_so() -> None:
    from hpkb.capture.memory import oom_kills

    count = oom_kills()
    assert count is None or count >= 0
