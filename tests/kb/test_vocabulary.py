"""What recorded names and values are read as."""

from __future__ import annotations

import pytest

from hpkb.configuration import in_configuration
from hpkb.names import NAMES
from hpkb.vocabulary import read_level, read_name, read_number


@pytest.mark.parametrize(
    ("recorded", "meant"),
    [
        *((name, "learning_rate") for name in (
            "lr", "learning_rate", "optimizer.lr", "optim.args.learning_rate", "hp/lr", "LEARNING_RATE", "--lr",
            "args.lr", "learningRate", "optimizer__lr", "cli.optimizer.lr", "train.lr", "config/optim/lr", "LR",
        )),
        *((name, "batch_size") for name in ("batch", "bs", "train_batch_size", "data.batch_size", "batchSize")),
        ("per_device_train_batch_size", "micro_batch_size"), ("trainer.max_epochs", "epochs"),
        ("optimizer.name", "optimizer"), ("optim._target_", "optimizer"), ("scheduler.type", "lr_schedule"),
        ("model.name", "model"), ("model.dropout", "dropout"), ("model.n_layers", "depth"), ("hparams.seed", "seed"),
    ],
)  # fmt: skip
def test_a_name_that_says_whose_setting_it_is(recorded: str, meant: str) -> None:
    found = read_name(recorded)
    assert found is not None
    assert found.name == meant


@pytest.mark.parametrize(
    "recorded",
    [
        "discriminator.lr", "teacher.model.dropout", "optimizer.2.learning_rate", "optimizer.group.0.learning_rate",
        "val.batch_size", "eval_batch_size", "lr_schedule.period", "lr_schedule.class", "model.lr", "optimizer.dropout",
        "optimizer.scheduler.lr", "lr_decay", "lr2", "my lr", "", ".", "/", "name", "type",
    ],
)  # fmt: skip
def test_a_name_that_means_something_else_or_may(recorded: str) -> None:
    assert read_name(recorded) is None


def test_every_canonical_name_means_itself() -> None:
    assert all(read_name(name.name) is name for name in NAMES)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 0.001), ("0.001", 0.001), ("1/1000", 0.001), (" 3 / 4 ", 0.75), ("2**14", 16384), ("10^-3", 0.001),
        ("10%", 0.1), ("1_000", 1000), ("-5", -5), ("None", None), ("1/0", None), ("a/b", None), ("2024/11/23", None),
        ("9**999999", None), ("", None), ("0x10", None),
    ],
)  # fmt: skip
def test_numbers_are_read_in_all_their_spellings(text: str, number: float | None) -> None:
    assert read_number(text) == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("name", "text", "level"),
    [
        ("optimizer", "torch.optim.adamw.AdamW", "AdamW"), ("optimizer", "sgd", "SGD"),
        ("optimizer", "adamw_torch", "AdamW"), ("optimizer", "MyOwn", "MyOwn"),
        ("lr_schedule", "CosineAnnealingLR", "cosine"), ("lr_schedule", "OneCycleLR", "one_cycle"),
        ("nesterov", "true", "True"), ("nesterov", "1", "True"), ("nesterov", "False", "False"),
        ("activation", "1", "1"), ("dropout", "true", "true"),
    ],
)  # fmt: skip
def test_levels_have_one_word(name: str, text: str, level: str) -> None:
    assert read_level(name, text) == level


def test_what_only_says_where_output_goes_is_no_configuration() -> None:
    assert not any(map(in_configuration, ("output_dir", "args.output_dir", "hp/log_dir", "cli.device", "optimizer.lr")))
    assert all(map(in_configuration, ("learning_rate", "discriminator.lr", "ambiguous.batch_size", "my_knob")))
