"""Which printed numbers are metrics."""

from __future__ import annotations

import math

import pytest

from hpkb.capture.output import parse


@pytest.mark.parametrize(
    ("line", "metrics", "positions"),
    [
        ("Epoch: 3 | train_loss: 0.12 | val_acc: 93.25%", {"train_loss": 0.12, "val_acc": 93.25}, {"epoch": 3}),
        ("step: 10, epoch: 1, val_loss: 2.31", {"val_loss": 2.31}, {"step": 10, "epoch": 1}),
        ("Epoch 1/10: Train Loss: 0.5 val-loss = 6e-1", {"train_loss": 0.5, "val_loss": 0.6}, {"epoch": 1}),
        ("{'loss': 0.3, 'learning_rate': 5e-05, 'epoch': 1.0}", {"loss": 0.3, "learning_rate": 5e-5}, {"epoch": 1}),
        ("[step 5] loss=1e-3", {"loss": 1e-3}, {"step": 5}),
        ("global_step=7 loss=-.5", {"loss": -0.5}, {"global_step": 7}),
        ("loss=inf gap=-inf", {"loss": math.inf, "gap": -math.inf}, {}),
        ("Test set: Average loss: 0.0292, Accuracy: 9901/10000 (99%)", {"average_loss": 0.0292}, {}),
        ("100%|##| 10/10 [00:01<00:00,  9.5it/s, loss=0.3]", {"loss": 0.3}, {}),
        ("train/loss: 0.5, note: fine", {"train/loss": 0.5}, {}),
        ("The loss: 0.5.", {"the_loss": 0.5}, {}),
        ("loss:0.25", {"loss": 0.25}, {}),
        ("step 20: train loss 0.91, val loss 0.92", {"train_loss": 0.91, "val_loss": 0.92}, {"step": 20}),
        ("Epoch: [0] Loss 6.98e+00 (6.9) Acc@1   0.00", {"loss": 6.98}, {"epoch": 0}),
        ("best val loss 0.3", {"best_val_loss": 0.3}, {}),
        ("Loss 5 items: lost", {}, {}),
        ("Using device: cuda:0", {}, {}),
        ("(fc1): Linear(in_features=784, out_features=128, bias=True)", {}, {}),
        ("Namespace(lr=0.1, betas=(0.9, 0.99), seed=3)", {}, {}),
        ("http://localhost:8080/ at 127.0.0.1:5000", {}, {}),
        ("2024-01-01 12:00:00,123 INFO: done, date: 2024-01-02", {}, {}),
        ("version: 2.13.0, shape: 3x4, host: 10.0.0.1", {}, {}),
        ("elapsed: 0:01:02", {}, {}),
        ("no numbers: none", {}, {}),
    ],
)
def test_lines(line: str, metrics: dict[str, float], positions: dict[str, int]) -> None:
    assert parse(line) == (metrics, positions)


def test_not_a_number() -> None:
    assert math.isnan(parse("loss: nan")[0]["loss"])


def test_a_long_line_without_metrics_is_quick() -> None:
    assert parse("a b " * 500 + ": " + "x=" * 400)[0] == {}
