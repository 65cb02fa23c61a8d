"""The demo: its design separates effects, its runs are what `hpkb log` records, and it goes on where it stopped."""

from __future__ import annotations

import io
import os
import re
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hpkb import demo
from hpkb.demo import examples_folder, progress_bar, sweep
from hpkb.demo_design import BATCH_SIZES, SCHEDULES, SEEDS, TASKS, design, plan
from hpkb.errors import HpkbError
from hpkb.ship import supervise
from hpkb.ship.client import MlflowClient
from hpkb.ship.rundir import RunSettings

DESIGN_SEEDS = (0, 1, 2)
DESIGNS = {seed: design(seed=seed) for seed in DESIGN_SEEDS}
FULL = plan()


def coded(configurations):
    """Logarithms of the continuous values, indicators of the categories; (n, 8)."""
    return np.array(
        [
            [np.log(c.learning_rate), np.log(c.weight_decay), np.log(c.batch_size), c.dropout, c.optimizer == "sgd"]
            + [c.schedule == name for name in SCHEDULES[1:]]
            for c in configurations
        ],
        dtype=float,
    )


def largest_correlation(configurations):
    correlations = np.abs(np.corrcoef(coded(configurations), rowvar=False))
    correlations[5:, 5:] = 0
    np.fill_diagonal(correlations, 0)
    return correlations.max()


# The design


@pytest.mark.parametrize("seed", DESIGN_SEEDS)
def test_the_design_separates_the_effects(seed):
    configurations = DESIGNS[seed]
    assert len(configurations) == 64
    assert largest_correlation(configurations) < 0.2


@pytest.mark.parametrize("seed", DESIGN_SEEDS)
def test_every_level_of_a_category_occurs_equally_often(seed):
    configurations = DESIGNS[seed]
    assert set(Counter(c.optimizer for c in configurations).values()) == {32}
    assert set(Counter(c.schedule for c in configurations).values()) == {16}
    counts = Counter(c.batch_size for c in configurations)
    assert sorted(counts) == list(BATCH_SIZES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_ranges_are_filled_on_their_own_scale():
    configurations = DESIGNS[0]
    decades = Counter(int(np.floor(np.log10(c.learning_rate))) for c in configurations)
    assert all(13 <= decades[decade] <= 19 for decade in (-4, -3, -2, -1))
    assert all(1e-6 <= c.weight_decay <= 1e-1 and 0 <= c.dropout <= 0.5 for c in configurations)


def test_values_are_what_a_person_types():
    for c in DESIGNS[0]:
        assert float(f"{c.learning_rate:.0e}") == c.learning_rate
        assert float(f"{c.weight_decay:.0e}") == c.weight_decay
        assert (20 * c.dropout).is_integer()


def test_the_same_configurations_go_to_every_task_and_twelve_of_them_to_three_seeds():
    jobs = FULL
    assert len(jobs) == 440
    assert len({job.key for job in jobs}) == len({job.name for job in jobs}) == 440
    for task in TASKS:
        mine = [job for job in jobs if job.task == task]
        assert {job.configuration for job in mine} == set(DESIGNS[0])
        seeds = Counter(job.configuration for job in mine)
        assert Counter(seeds.values()) == {1: 52, len(SEEDS): 12}
    repeated = [c for c, n in seeds.items() if n > 1]
    assert set(Counter(c.schedule for c in repeated)) == set(SCHEDULES)
    assert max(c.learning_rate for c in repeated) / min(c.learning_rate for c in repeated) > 1000


def test_the_quick_design_is_a_sixth_and_a_part_of_the_full_one():
    quick, full = plan(quick=True), FULL
    assert len(quick) == 75
    assert {job.key for job in quick} <= {job.key for job in full}
    assert {job.seed for job in quick} == set(SEEDS)


@pytest.mark.parametrize("cut", [75, 150, 250, 361])
def test_a_sweep_that_is_cut_off_is_balanced(cut):
    jobs = FULL[:cut]
    tasks = Counter(job.task for job in jobs)
    assert max(tasks.values()) - min(tasks.values()) <= 1
    assert abs(sum(job.seed > 0 for job in jobs) / cut - 24 / 88) < 0.08
    assert abs(sum(job.configuration.optimizer == "sgd" for job in jobs) / cut - 1 / 2) < 0.12


def test_the_command_is_what_a_person_would_type(tmp_path):
    job = FULL[0]
    python, script, *arguments = job.command(tmp_path / "examples")
    assert python == os.path.basename(sys.executable)
    assert script == "examples/digits_mlp.py"
    assert arguments[:2] == ["--lr", f"{job.configuration.learning_rate}"]
    assert str(tmp_path) not in " ".join(job.command(tmp_path / "examples"))


# The sweep


JOBS = FULL[:4]
BROKEN = replace(FULL[4], configuration=replace(FULL[4].configuration, dropout=2.0))  # torch refuses it


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def report(directory):
    return sweep([*JOBS, BROKEN], directory, workers=2)


def runs_of(directory, view=1):
    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("demo")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], run_view_type=view)}


def curves_of(directory, run):
    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


#: Curves of the machine, or sampled as often as its speed allows.
MEASURED = ("data_wait_share", "examples_per_second", "peak_memory", "grad_norm", "gradient_noise")


def test_a_sweep_is_shipped_whole(directory, report):
    assert (report.trained, report.skipped, report.failed) == (5, 0, 1)
    runs = runs_of(directory)
    assert set(runs) == {job.name for job in [*JOBS, BROKEN]}
    for job in JOBS:
        run = runs[job.name]
        assert run.info.status == "FINISHED"
        assert run.data.tags["hpkb.task"] == job.task
        assert run.data.tags["hpkb.demo.key"] == job.key
        assert float(run.data.params["learning_rate"]) == job.configuration.learning_rate
        assert float(run.data.params["weight_decay"]) == job.configuration.weight_decay
        assert int(run.data.params["batch_size"]) == job.configuration.batch_size
        assert int(run.data.params["seed"]) == job.seed
        assert {"train_loss", "val_loss", "learning_rate"} <= set(run.data.metrics)
    assert list((directory / "spool").iterdir()) == []


def test_a_script_that_fails_is_a_recorded_run(directory, report):
    run = runs_of(directory)[BROKEN.name]
    assert run.info.status == "FAILED"
    assert "dropout probability has to be between 0 and 1" in run.data.tags["hpkb.end.reason"]


def test_the_next_call_skips_what_has_ended(directory, report):
    again = sweep([*JOBS, BROKEN], directory, workers=2)
    assert (again.trained, again.skipped, again.failed) == (0, 5, 0)


def test_a_run_is_the_same_as_under_hpkb_log(directory, report, tmp_path, monkeypatch):
    job = JOBS[2]
    monkeypatch.chdir(examples_folder().parent)
    monkeypatch.setenv("HPKB_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = RunSettings(f"sqlite:///{tmp_path / 'mlflow.db'}", "demo", job.task, job.name)
    _, *arguments = job.command(examples_folder())
    assert supervise.log(settings, [sys.executable, *arguments], out=io.StringIO()) == 0
    ours, theirs = runs_of(directory)[job.name], runs_of(tmp_path)[job.name]
    assert ours.data.params == theirs.data.params
    ours_seen, theirs_seen = curves_of(directory, ours), curves_of(tmp_path, theirs)
    assert without(ours_seen, MEASURED) == without(theirs_seen, MEASURED)
    own = ("hpkb.run", "hpkb.command", "hpkb.demo.key", "hpkb.code", "hpkb.time", "mlflow.source.git")
    assert without(ours.data.tags, own) == without(theirs.data.tags, own)


def without(tags, prefixes):
    return {name: value for name, value in tags.items() if not name.startswith(prefixes)}


def test_ctrl_c_ends_the_scripts_and_the_next_call_goes_on(tmp_path):
    seen = []

    def interrupt(standing):
        seen.append(standing.done)
        if seen == [0, 1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(JOBS[:2], tmp_path, workers=2, progress=interrupt)
    statuses = Counter(run.info.status for run in runs_of(tmp_path).values())
    assert set(statuses) <= {"FINISHED", "KILLED"}
    assert sum(statuses.values()) == 2
    assert list((tmp_path / "spool").iterdir()) == []

    seen.clear()
    report = sweep(JOBS[:2], tmp_path, workers=1, progress=interrupt)
    assert (report.trained, report.skipped) == (2 - statuses["FINISHED"], statuses["FINISHED"])
    assert (seen[0], seen[-1]) == (report.skipped, 2)
    assert {run.info.status for run in runs_of(tmp_path).values()} == {"FINISHED"}
    assert len(runs_of(tmp_path, view=2)) == statuses["KILLED"]  # deleted: what was cut off


# What can be missing


def test_without_examples_it_says_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "hpkb" / "demo.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HpkbError, match="checkout"):
        sweep(JOBS, tmp_path / "demo", workers=1)
    assert not (tmp_path / "demo").exists()


def test_without_torch_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(HpkbError, match=r"hpkb\[demo\]"):
        sweep(JOBS, tmp_path / "demo", workers=1)
    assert not (tmp_path / "demo").exists()


def test_a_torch_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(HpkbError, match=r"libtorch\.so is broken") as error:
        sweep(JOBS, tmp_path / "demo", workers=1)
    assert "\n" not in str(error.value)


# Progress


def test_off_a_terminal_progress_is_a_line_now_and_then():
    stream = io.StringIO()
    with progress_bar(stream) as progress:
        for done in range(11):
            progress(demo.Standing(done, 10))
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 2
    assert re.fullmatch(r"10 of 10 runs.*", lines[-1])
