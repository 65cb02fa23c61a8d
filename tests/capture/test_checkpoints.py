"""Checkpoints that are written and read, and a training that stops before its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .running import Captured, Run

torch = pytest.importorskip("torch")


def tags(ran: Captured) -> dict[str, str]:
    return {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}


def written(ran: Captured) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(ran.of_type("artifact")[-1]["text"])
    assert ran.of_type("artifact")[-1]["path"] == "checkpoints.json"
    return told


def test_what_was_written_and_read_back(run: Run, tmp_path: Path) -> None:
    ran = run("checkpoints.py", str(tmp_path))
    assert (ran.returncode, ran.stderr, ran.end["dropped"]) == (0, "RuntimeError\n", 0)
    (size,) = ran.printed("size")
    places = [(one["path"], one["step"]) for one in written(ran)]
    assert places == [
        ("kept/last.pt", 5), ("kept/best.pt", 5), ("kept/last.pt", 10), ("kept/best.pt", 10),
        ("kept/last.pt", 15), ("kept/last.pt", 20), ("kept/last.pt", 25),
    ]  # fmt: skip
    assert written(ran)[3]["bytes"] == size
    told = tags(ran)
    assert (told["hpkb.checkpoints"], told["hpkb.checkpoints.last"]) == ("7", "last.pt")
    assert (told["hpkb.end.best_step"], told["hpkb.end.restored_step"]) == ("10", "10")
    assert told["hpkb.end.early_stopping"] == "stopped at step 25, best at 10"
    assert str(tmp_path) not in json.dumps(written(ran))


def test_a_training_that_makes_all_its_passes_did_not_stop_early(run: Run, tmp_path: Path) -> None:
    told = tags(run("checkpoints.py", str(tmp_path), "--epochs", "3", "--keep", "none"))
    assert "hpkb.end.early_stopping" not in told
    assert (told["hpkb.end.best_step"], told["hpkb.checkpoints"]) == ("10", "2")


def test_saving_is_the_same(run: Run, tmp_path: Path) -> None:
    code = (
        "import io, pickle, torch; from pathlib import Path\n"
        "assert torch.save is torch.serialization.save and pickle.loads(pickle.dumps(torch.save)) is torch.save\n"
        "kept = io.BytesIO(); torch.save({'a': torch.ones(2)}, kept); kept.seek(0)\n"
        "print(torch.load(kept)['a'].sum().item())\n"
        f"torch.save({{'a': torch.ones(2)}}, Path({str(tmp_path)!r}) / 'outside.pt')\n"
        "print('done: 1')"
    )
    ran = run("-c", code)
    assert (ran.stdout, ran.stderr) == ("2.0\ndone: 1\n", "")
    (one,) = written(ran)
    assert (one["path"], one["step"]) == ("outside.pt", 0)


def test_the_list_is_bounded_and_told_of_on_the_way(tmp_path: Path) -> None:
    from hpkb.capture.checkpoints import Checkpoints

    class Live:
        step = before = 0
        run_dir = str(tmp_path)
        closing: list[Any] = []  # noqa: RUF012
        told: list[int] = []  # noqa: RUF012

        def artifact(self, path: str, text: str) -> None:
            self.told.append(len(json.loads(text)))

        def tags(self, values: dict[str, str]) -> None:
            self.last = values

    live = Live()
    checkpoints = Checkpoints(live)  # type: ignore[arg-type]
    (tmp_path / "model.pt").write_text("weights")
    for live.step in range(1000):
        checkpoints.wrote(str(tmp_path / "model.pt"))
    assert live.told == [1, 2, 4, 8, 16, 32, 64, 128, 200, 200]
    live.closing[0]()
    assert (live.last["hpkb.checkpoints"], live.told[-1]) == ("1000", 200)
