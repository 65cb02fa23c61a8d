"""What capture records of real training scripts, held against what they were told and what they print."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from .running import Run

torch = pytest.importorskip("torch")


def test_parameters_are_those_of_the_real_objects(run: Run) -> None:
    params = run("sgd_steplr.py", "--lr", "0.04").params
    expected = {
        "cli.lr": 0.04, "cli.batch_size": 16, "cli.max_tokens": 77, "cli.api_key": "***",
        "learning_rate": 0.04, "peak_learning_rate": 0.04, "weight_decay": 1e-4, "momentum": 0.9, "nesterov": True,
        "optimizer": "SGD", "batch_size": 16, "micro_batch_size": 16, "accumulation_steps": 1, "world_size": 1,
        "lr_schedule": "step", "lr_schedule.step_size": 1, "lr_schedule.gamma": 0.5, "seed": 3, "seed.torch": 3,
        "loader.shuffle": True, "loader.workers": 0, "loader.drop_last": False, "parameter_count": 5,
    }  # fmt: skip
    assert {name: params.get(name) for name in expected} == expected


def test_curves_equal_what_the_script_prints(run: Run) -> None:
    ran = run("sgd_steplr.py", "--lr", "0.04")
    steps = list(range(1, 16))
    assert ran.curve("train_loss") == list(zip(steps, ran.printed("loss")[:15], strict=True))
    assert ran.curve("loss") == ran.curve("train_loss")
    assert ran.curve("learning_rate") == list(zip(steps, ran.printed("lr"), strict=True))
    assert ran.curve("val_loss") == list(zip([5, 10, 15], ran.printed("val_loss"), strict=True))
    assert [step for step, _ in ran.curve("printed.train_loss")] == [5, 10, 15]


def test_splits_are_told_by_content_and_role(run: Run) -> None:
    from .reading import content

    ran = run("sgd_steplr.py", "--lr", "0.04")
    data = torch.Generator().manual_seed(1)
    x = torch.randn(100, 4, generator=data)
    whole = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    for role, rows in (("training", range(80)), ("validation", range(80, 100))):
        split = ran.splits[role]
        assert (split["n"], split["digest_of"]) == (len(rows), "all")
        assert split["digest"] == content(torch.utils.data.Subset(whole, rows)).digest
    assert set(ran.splits) == {"training", "validation"}


def test_the_job_is_the_same_with_and_without_capture(run: Run) -> None:
    captured, alone = run("sgd_steplr.py", "--lr", "0.04"), run("sgd_steplr.py", "--lr", "0.04", captured=False)
    assert (captured.stdout, captured.stderr, captured.returncode) == (alone.stdout, alone.stderr, 0)
    assert "do-not-tell" not in str(captured.records)


def test_versions_are_recorded_and_the_end(run: Run) -> None:
    ran = run("sgd_steplr.py", "--lr", "0.04")
    tags = {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}
    assert tags["hpkb.env.torch"] == torch.__version__
    assert (ran.end["status"], ran.end["exit_status"], ran.end["dropped"]) == ("FINISHED", 0, 0)


def test_the_largest_group_speaks_for_several(run: Run) -> None:
    ran = run("adamw_onecycle.py")
    expected = {
        "optimizer": "AdamW", "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7,
        "lr_schedule": "one_cycle", "lr_schedule.total_steps": 20, "lr_schedule.max_lr": "[0.02, 0.01]",
        "optimizer.group.0.weight_decay": 0.0, "optimizer.group.1.weight_decay": 0.1, "seed": 5,
    }  # fmt: skip
    assert {name: ran.params.get(name) for name in expected} == expected
    assert ran.params["learning_rate"] == pytest.approx(0.01 / 25)
    assert ran.params["optimizer.group.0.learning_rate"] == pytest.approx(0.02 / 25)
    assert [rate for _, rate in ran.curve("learning_rate")] == ran.printed("rate")
    assert ran.params["peak_learning_rate"] == max(ran.printed("rate"))
    assert "batch_size" not in ran.params


@pytest.mark.parametrize("way", ["divide", "sum"])
def test_accumulated_losses_are_averaged(run: Run, way: str) -> None:
    ran = run("accumulation.py", way)
    assert [value for _, value in ran.curve("train_loss")] == pytest.approx(ran.printed("mean"), rel=1e-6)
    sizes = {name: ran.params[name] for name in ("accumulation_steps", "micro_batch_size", "batch_size")}
    assert sizes == {"accumulation_steps": 4, "micro_batch_size": 8, "batch_size": 32}


def test_nothing_is_guessed_for_batches_cut_by_hand(run: Run) -> None:
    ran = run("by_hand.py")
    assert not {"batch_size", "micro_batch_size"} & set(ran.params)
    assert (ran.params["lr_schedule"], ran.params["warmup_steps"]) == ("constant", 4)
    assert not ran.splits
    assert (ran.params["learning_rate"], ran.params["peak_learning_rate"], ran.params["seed"]) == (0.1, 0.1, 11)
    assert [value for _, value in ran.curve("train_loss")] == ran.printed("loss")


def test_losses_that_are_no_numbers_are_kept(run: Run) -> None:
    losses = [value for _, value in run("diverges.py").curve("train_loss")]
    assert losses[0] == 1
    assert any(math.isinf(value) for value in losses)
    assert math.isnan(losses[-1])


def test_an_exception_is_the_reason_and_its_traceback_the_same(run: Run) -> None:
    ran, alone = run("raises.py"), run("raises.py", captured=False)
    assert (ran.stderr, ran.returncode) == (alone.stderr, alone.returncode)
    assert (ran.end["status"], ran.end["exit_status"]) == ("FAILED", None)
    assert ran.end["reason"] == "ValueError: example 5 is broken"
    assert len(ran.curve("train_loss")) == 2
    assert ran.params["batch_size"] == 2


def test_only_those_children_that_train_have_a_spool(run: Run) -> None:
    """Workers of a DataLoader and a forked process that only prints have none."""
    all_of_them, alone = run("workers.py"), run("workers.py", captured=False)
    assert all_of_them.stdout == alone.stdout
    assert (all_of_them.stderr, all_of_them.returncode) == (alone.stderr, 0)
    by_parent = sorted(all_of_them.processes, key=lambda records: bool(records[0]["parent"]))
    ran, *children = (replace(all_of_them, processes=(records,)) for records in by_parent)
    assert len(ran.curve("train_loss")) == 3
    assert not ran.curve("fork_loss") + ran.curve("spawn_loss") + ran.curve("forked_loss")
    assert sorted(name for child in children for name in ("fork_loss", "spawn_loss") if child.curve(name)) == [
        "fork_loss", "spawn_loss",
    ]  # fmt: skip
    assert [child.end["reason"] for child in children] == ["exit status 0"] * 2
    assert ran.params["loader.workers"] == 2
