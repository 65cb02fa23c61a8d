"""What capture tells of the models of real trainings, against a table of what is true of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .running import Captured, Run, RunEach, spools

torch = pytest.importorskip("torch")

ABSENT = None
DEFAULTS = {"compiled": False, "precision": "float32", "residual": False, "initialization": "default"}


def true(model: str, normalization: str | None, activation: str | None, depth: int | None, width: int | None,
         **others: Any) -> dict[str, Any]:  # fmt: skip
    told = {"model": model, "normalization": normalization, "activation": activation, "depth": depth, "width": width}
    return {**DEFAULTS, **told, **others}


TRUTH: dict[str, dict[str, Any]] = {
    "mlp": true("Sequential", "none", "relu", 3, 32, layer_kinds="Linear:3 ReLU:2", total_parameter_count=1893),
    "lenet": true("LeNet", "none", "tanh", 5, ABSENT, initialization="xavier_uniform"),
    "resnet": true("ResNet", "batch_norm", "relu", 4, ABSENT, residual=True, initialization="kaiming_normal"),
    "projected": true("ResNet", "batch_norm", "relu", 2, ABSENT, residual=True),
    "vgg": true("VGG", "batch_norm", "relu", 6, 16,
                layer_kinds="BatchNorm2d:4 Conv2d:4 Dropout:1 Linear:2 MaxPool2d:2 ReLU:5"),
    "encoder": true("Encoder", "layer_norm", "gelu", 3, 32, residual=True),
    "gpt": true("GPT", "layer_norm", "gelu", 4, 32, residual=True, initialization="normal"),
    "lstm": true("Classifier", "none", ABSENT, 3, 24, layer_kinds="Embedding:1 LSTM:1 Linear:1"),
    "gru": true("Classifier", "none", ABSENT, 3, 24, residual=ABSENT),  # too many sums of gates to be certain
    "unet": true("UNet", "none", "leaky_relu", 5, ABSENT),
    "densenet": true("DenseNet", "batch_norm", "relu", 5, 8),
    "gan": true("Discriminator", "none", "leaky_relu", 2, 16, initialization="normal"),
    "autoencoder": true("TiedAutoencoder", "none", "sigmoid", 1, ABSENT),
    "gpt2": true("GPT2LMHeadModel", "layer_norm", "gelu", 3, 32, residual=True, initialization="normal"),
    "distributed": true("ResNet", "batch_norm", "relu", 2, 8, residual=True),
    "lightning": true("ResNet", "batch_norm", "relu", 3, 8, residual=True),
    "loaded": true("Sequential", "none", "tanh", 2, 16, initialization="loaded", precision="bfloat16-mixed"),
    "by_hand": true("Sequential", "none", "relu", 2, 16, initialization=ABSENT, precision="bfloat16"),
    "frozen": true("Probe", "batch_norm", ABSENT, 2, 8, residual=ABSENT),
    "twins": true("Critics", "none", "elu", ABSENT, ABSENT),
    "scaled": true("Linear", "none", ABSENT, 1, ABSENT, precision="float16-mixed"),
    "compiled": true("GPT", "layer_norm", "gelu", 2, 32, residual=ABSENT, initialization="normal", compiled=True,
                     precision=ABSENT),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(run_each: RunEach) -> dict[str, Captured]:
    """What each training of `models.py` printed and recorded."""
    return run_each("models.py", TRUTH)


@pytest.mark.parametrize("name", TRUTH)
def test_models_are_told_as_they_are(models: dict[str, Captured], name: str) -> None:
    params = models[name].params
    assert {key: params.get(key) for key in TRUTH[name]} == TRUTH[name]
    assert models[name].end["dropped"] == 0


def test_each_optimizer_has_its_own_model(models: dict[str, Captured]) -> None:
    expected = {
        "model": "Generator", "activation": "relu", "depth": 3, "width": 32, "initialization": "normal",
        "residual": False, "total_parameter_count": 2004,
    }  # fmt: skip
    assert {name: models["gan"].params.get(f"optimizer.2.{name}") for name in expected} == expected


def test_frozen_parameters_count_in_the_total(models: dict[str, Captured]) -> None:
    params = models["frozen"].params
    assert (params["parameter_count"], params["total_parameter_count"]) == (55, 2745)


def test_steps_that_the_scaler_skipped_are_counted(models: dict[str, Captured]) -> None:
    scales = [float(line.split()[-1]) for line in models["scaled"].stdout.splitlines()]
    halved = sum(after < before for before, after in zip([2.0**17, *scales], scales, strict=False))
    assert 0 < halved < 6
    assert models["scaled"].params["grad_scaler.skipped_steps"] == halved


def test_dead_units_are_sampled(models: dict[str, Captured]) -> None:
    ran = models["mlp"]
    ((step, share),) = ran.curve("dead_unit_share")
    assert step == 10
    assert share == pytest.approx((ran.curve("dead_unit_share.1")[0][1] + ran.curve("dead_unit_share.3")[0][1]) / 2)
    assert 0 <= share < 0.5
    assert ran.params["dead_unit_share"] == share
    assert "dead_unit_share" not in models["gpt"].params


def test_the_fingerprint_is_that_of_the_architecture(models: dict[str, Captured], run: Run, tmp_path: Path) -> None:
    again = run("models.py", str(tmp_path), "compiled", "mlp", captured=False)
    assert again.returncode == 0, again.stderr
    for name in ("compiled", "mlp"):
        (records,) = spools(tmp_path / name)
        other = replace(again, processes=(records,)).params
        assert other["model_fingerprint"] == models[name].params["model_fingerprint"]
    prints = {models[name].params["model_fingerprint"] for name in TRUTH}
    assert len(prints) == len(TRUTH)


def test_what_is_compiled_whole_stays_whole(run: Run) -> None:
    captured, alone = run("compiled_whole.py"), run("compiled_whole.py", captured=False)
    assert (captured.stdout, captured.stderr, captured.returncode) == (alone.stdout, alone.stderr, 0)
    expected = {"compiled": True, "precision": "bfloat16-mixed", "model": "Sequential", "residual": None, "depth": 2}
    assert {name: captured.params.get(name) for name in expected} == expected
    assert not captured.curve("dead_unit_share")  # whose hooks would have the model compiled anew


def test_training_is_the_same_to_the_last_bit(models: dict[str, Captured], run: Run) -> None:
    names = [name for name in TRUTH if name not in ("lightning", "distributed")]
    alone = run("models.py", "-", *names, captured=False)
    parts = dict(re.findall(r"--- (\w+)\n((?:(?!---).*\n)*)", alone.stdout))
    assert {name: models[name].stdout for name in names} == parts
