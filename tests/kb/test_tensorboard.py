"""Reading TensorBoard's folders, made by the real torch.utils.tensorboard: the same answers as TensorBoard's own."""

from __future__ import annotations

import math
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpkb.errors import SourceError
from hpkb.kb import connect, ingest_into, load_sweeps
from hpkb.sources import Source
from hpkb.sources.event_records import DAMAGED, UNFINISHED
from hpkb.sources.tensorboard import TensorBoard

pytest.importorskip("tensorboard", reason="tensorboard is not installed (the extra `dev` has it)")
pytest.importorskip("torch", reason="torch is not installed (the extra `dev` has it)")

STEPS = 200
SINGLE = struct.unpack("<f", struct.pack("<f", 0.1))[0]


def write(folder: Path, log: Callable[[Any], None], **options: Any) -> None:
    """Lets the real writer write a run."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), **options) as writer:
        log(writer)


def train(writer: Any) -> None:
    for step in range(STEPS):
        writer.add_scalar("train/loss", 1 / (step + 1), step, walltime=1_700_000_000 + step)
        writer.add_scalar("tensor", step / 8, step, new_style=True)
        writer.add_scalar("double", step / 10, step, new_style=True, double_precision=True)
    writer.add_histogram("weights", np.arange(3.0), 1)
    writer.add_text("select", "SELECT", 1)
    for value in (math.nan, math.inf, -math.inf):
        writer.add_scalar("größe/2 – \"b\" 'c'", value, 7)
    writer.add_scalar("odd", 0.1, -3)
    writer.add_scalar("odd", 0.1, 2**40)


def hparams(rate: float, **metrics: float) -> Callable[[Any], None]:
    def log(writer: Any) -> None:
        train(writer)
        settings = {"lr": rate, "batch_size": 64, "optimizer": "adam", "nesterov": True}
        writer.add_hparams(settings, {f"hparam/{name}": value for name, value in metrics.items()})

    return log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs as torch's scripts leave them."""
    root = tmp_path / "runs"
    write(root / "plain", train)
    write(root / "tuned", hparams(1e-3, val_loss=0.1))
    write(root / "deep" / "er", lambda writer: writer.add_scalars("Loss/all", {"train": 1.0, "val": 2.0}, 3))
    return root


def read(source: Source) -> dict[str, dict[str, Any]]:
    """All that there is, by the run's name."""
    ids = source.fingerprints()["run_id"].combine_chunks()
    runs: dict[str, dict[str, Any]] = {
        row["run_id"]: {**row, "params": {}, "curves": {}, "times": {}}
        for row in source.runs(ids).to_pylist()
    }
    for row in source.parameters(ids).to_pylist():
        runs[row["run_id"]]["params"][row["name"]] = row["value"]
    for batch in source.curves(ids):
        for row in batch.to_pylist():
            runs[row["run_id"]]["curves"].setdefault(row["metric"], []).append((row["step"], row["value"]))
            runs[row["run_id"]]["times"].setdefault(row["metric"], []).append(row["timestamp"].timestamp())
    return {run["run_name"]: run for run in runs.values()}


def accumulated(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads of one folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
    return found


def file_in(folder: Path) -> Path:
    return next(file for file in folder.iterdir() if "tfevents" in file.name)


def test_the_same_as_tensorboard_reads(folder: Path) -> None:
    before = {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()
    }
    source = TensorBoard(folder)
    run = read(source)["plain"]
    assert source.notes() == {}
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before} == before
    assert repr(sorted(run["curves"].items())) == repr(sorted(accumulated(folder / "plain").items()))
    assert (
        len(run["curves"]["double"])
        == len(run["curves"]["tensor"])
        == len(run["curves"]["train/loss"])
        == STEPS
    )
    assert run["curves"]["double"][1] == (1, 0.1)
    assert run["curves"]["odd"] == [(-3, SINGLE), (2**40, SINGLE)]
    assert (run["experiment"], run["task"], run["status"]) == ("runs", "runs", "FINISHED")
    assert run["params"] == {}


def test_what_add_hparams_writes_belongs_to_the_run_above(folder: Path) -> None:
    runs = read(TensorBoard(folder))
    assert set(runs) == {"plain", "tuned", "deep/er"}
    tuned = runs["tuned"]
    assert tuned["params"] == {"lr": "0.001", "batch_size": "64", "optimizer": "adam", "nesterov": "1"}
    assert tuned["status"] == "FINISHED"
    assert len(tuned["curves"]["train/loss"]) == STEPS
    assert tuned["curves"]["hparam/val_loss"] == [(0, SINGLE)]
    assert runs["deep/er"]["curves"] == {"Loss/all/train": [(3, 1.0)], "Loss/all/val": [(3, 2.0)]}
    assert runs["deep/er"]["experiment"] == "runs/deep"


def test_several_calls_of_add_hparams_are_several_runs(tmp_path: Path) -> None:
    def log(writer: Any) -> None:
        for i in range(3):
            writer.add_hparams({"lr": 10.0**-i}, {"val_loss": i + 0.5}, run_name=f"{1_700_000_000 + i}.5")

    write(tmp_path / "sweep", log)
    runs = read(TensorBoard(tmp_path / "sweep"))
    assert sorted(run["params"].get("lr", "") for run in runs.values()) == ["", "0.01", "0.1", "1"]
    ingest_into(tmp_path / "kb.duckdb", TensorBoard(tmp_path / "sweep"), objective="val_loss:min")
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        sweep = load_sweeps(connection)[0]
    assert sorted(sweep.y.tolist()) == [0.5, 1.5, 2.5]


def changed(summary: Any, **fields: Any) -> Any:
    """A session's start or end as torch makes it, with fields that torch leaves empty."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    place = summary.value[0].metadata.plugin_data
    said = HParamsPluginData.FromString(place.content)
    info = getattr(said, said.WhichOneof("data"))
    for name, value in fields.items():
        setattr(info, name, value)
    place.content = said.SerializeToString()
    return summary


@pytest.mark.parametrize(
    ("end", "status"), [("STATUS_SUCCESS", "FINISHED"), ("STATUS_FAILURE", "FAILED"), (None, "RUNNING")]
)
def test_how_a_session_ended(tmp_path: Path, end: str | None, status: str) -> None:
    from tensorboard.plugins.hparams.api_pb2 import Status
    from torch.utils.tensorboard.summary import hparams as summaries

    def settings(writer: Any) -> None:
        _, started, ended = summaries({"lr": 0.5, "units": 16}, {})
        writer.file_writer.add_summary(changed(started, start_time_secs=1_600_000_000))
        if end:
            writer.file_writer.add_summary(
                changed(ended, status=Status.Value(end), end_time_secs=4_000_000_000)
            )

    write(tmp_path / "trial-1", settings)
    for split in ("train", "validation"):
        write(tmp_path / "trial-1" / split, lambda writer: writer.add_scalar("epoch_loss", 0.5, 1))
    (run,) = read(TensorBoard(tmp_path)).values()
    assert (run["status"], run["run_name"]) == (status, "trial-1")
    assert run["params"] == {"lr": "0.5", "units": "16"}
    assert run["curves"] == {"train/epoch_loss": [(1, 0.5)], "validation/epoch_loss": [(1, 0.5)]}
    assert run["started_at"].year == 2020
    assert (run["ended_at"].year if run["ended_at"] else None) == (2096 if end else None)


def test_files_of_one_run_are_one_curve_without_what_was_purged(tmp_path: Path) -> None:
    def part(steps: range) -> Callable[[Any], None]:
        return lambda writer: [writer.add_scalar("loss", float(step), step) for step in steps]

    write(tmp_path / "run", part(range(10)))
    write(tmp_path / "run", part(range(6, 12)), purge_step=6, filename_suffix=".later")
    (first,) = [file for file in (tmp_path / "run").iterdir() if not file.name.endswith(".later")]
    first.rename(first.with_name(first.name.replace(first.name.split(".")[3], "1000000000")))
    source = TensorBoard(tmp_path)
    run = read(source)["run"]
    assert (
        run["curves"]
        == accumulated(tmp_path / "run")
        == {"loss": [(step, float(step)) for step in range(12)]}
    )
    assert source.notes() == {"points that a restarted run replaced, left out": 4}


def test_damage_costs_what_is_damaged(folder: Path) -> None:
    file = file_in(folder / "plain")
    whole = file.read_bytes()
    complete = read(TensorBoard(folder))["plain"]["curves"]["train/loss"]
    for size in (len(whole) - 1, len(whole) // 2, len(whole) // 2 + 7):
        file.write_bytes(whole[:size])
        source = TensorBoard(folder)
        kept = read(source)["plain"]["curves"]["train/loss"]
        assert source.notes() in ({UNFINISHED: 1}, {})  # cut between two records, nothing tells
        assert kept == complete[: len(kept)]
    # Before the tag are 12 bytes of length and checksum, and 17 of the event.
    tag = whole.index(b"train/loss", len(whole) // 4)
    lost = complete[whole[:tag].count(b"train/loss")]
    for damaged in (tag, tag - 14, tag - 29, tag - 28):  # in the content, the time, the length
        file.write_bytes(whole[:damaged] + bytes([whole[damaged] ^ 0x55]) + whole[damaged + 1 :])
        source = TensorBoard(folder)
        kept = read(source)["plain"]["curves"]["train/loss"]
        assert source.notes() == {DAMAGED: 1}
        assert kept == [point for point in complete if point != lost]
    file.write_bytes(b"")
    assert read(TensorBoard(folder))["plain"]["curves"] == {}


def test_importing_again_reads_what_changed(folder: Path, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    assert ingest_into(kb, TensorBoard(folder), objective="train/loss:min").new == 3
    report = ingest_into(kb, TensorBoard(folder), objective="train/loss:min")
    assert (report.unchanged, report.points) == (3, 0)
    moved = folder.rename(tmp_path / "elsewhere")
    assert set(ids_of(TensorBoard(moved))) == set(ids_of(TensorBoard(moved)))
    write(moved / "plain", lambda writer: writer.add_scalar("train/loss", 0.25, STEPS))
    shutil.copytree(moved / "tuned", moved / "copies" / "tuned")
    source = TensorBoard(moved)
    report = ingest_into(kb, source, objective="train/loss:min")
    assert (report.changed, report.new) == (3, 0)  # in another folder, its task has another name
    assert source.notes() == {"copies of TensorBoard runs, left out": 1}


def ids_of(source: Source) -> list[str]:
    return source.fingerprints()["run_id"].to_pylist()


def test_what_is_missing_is_said_in_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(tmp_path / "empty")
    with pytest.raises(SourceError, match="No TensorBoard runs in"):
        TensorBoard(tmp_path / "empty")
    for module in ("google_crc32c", "tensorboard.compat.proto.event_pb2"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(SourceError, match=r"pip install 'hpkb\[tensorboard\]'"):
                TensorBoard(folder)
