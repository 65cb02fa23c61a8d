"""What scripts are told by command line libraries and configuration files, each with its defaults."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from hpkb.capture.arguments import plain_arguments
from hpkb.capture.flatten import flattened
from hpkb.capture.omega import resolved

from .running import Captured, Run

CLICK = """
import click
@click.group()
@click.option("--verbose", is_flag=True)
def main(verbose): pass
@main.command()
@click.option("--lr", default=0.1)
@click.option("--api-key", default="do-not-tell")
@click.option("--pin", default="do-not-tell", hide_input=True)
@click.argument("data", type=click.File())
def train(**options): pass
@main.command()
@click.option("--never")
def other(never): pass
main()
"""
TYPER = """
import enum, typer
class Kind(enum.Enum):
    small = "s"
def main(lr: float = 0.1, kind: Kind = Kind.small, secret_token: str = "do-not-tell"): pass
typer.run(main)
"""
ABSL = """
from absl import app, flags
flags.DEFINE_float("lr", 0.1, "")
flags.DEFINE_integer("width", 3, "")
app.run(lambda argv: None)
"""
FIRE = """
import fire
def main(lr=0.1, epochs=3, *rest, optimizer="sgd", **more): pass
fire.Fire(main)
"""
FIRE_CLASS = """
import fire
class Trainer:
    def __init__(self, lr=0.1): pass
    def fit(self, epochs=3): pass
fire.Fire(Trainer)
"""
JSONARGPARSE = """
from dataclasses import dataclass
from jsonargparse import ArgumentParser
@dataclass
class Optimizer:
    lr: float = 0.1
    wd: float = 0.0
parser = ArgumentParser()
parser.add_argument("--config", action="config")
parser.add_argument("--opt", type=Optimizer, default=Optimizer())
parser.add_argument("--db.password", default="do-not-tell")
parser.parse_args()
"""
SUBCOMMANDS = """
import argparse, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
train = parser.add_subparsers(dest="command").add_parser("train")
train.add_argument("--lr", type=float, default=0.1)
train.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
train.set_defaults(run=lambda: None)
parser.parse_known_args()
"""
HYDRA = """
import hydra, random
from omegaconf import OmegaConf
OmegaConf.register_new_resolver("draw", lambda: random.random())
@hydra.main(config_path=".", config_name="composed", version_base=None)
def main(cfg):
    random.seed(1)
    print("width:", cfg.model.again)
main()
"""
COMPOSED = """
defaults: [_self_, {override hydra/job_logging: disabled}]
lr: 0.1
model: {width: 8, again: "${model.width}", name: "w${.width}", missing: "???"}
api_key: do-not-tell
home: "${oc.env:OMP_TOKEN,do-not-tell}"
drawn: "${draw:}"
hydra: {run: {dir: "."}, output_subdir: null, job: {chdir: false}}
"""
YAML_FILE = """
opt: {lr: 0.5}
layers: [1, 2]
wandb: {key: do-not-tell}
"""
YAML = """
import argparse, yaml
parser = argparse.ArgumentParser()
parser.add_argument("--config", default="FOLDER/file.yaml")
path = parser.parse_known_args()[0].config
yaml.safe_load(open(path)), yaml.load("other: 1", Loader=yaml.SafeLoader)
"""
STEP = """
import torch
weight = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([weight], lr=0.1)
weight.sum().backward()
optimizer.step()
"""
OMEGACONF = f"""
import sys
from omegaconf import OmegaConf
OmegaConf.merge(OmegaConf.load(sys.argv[1]), OmegaConf.from_cli(sys.argv[2:]))
{STEP}
"""
JSON = f"""
import json, sys
json.loads('{{"other": 1}}')
with open(sys.argv[1].partition("=")[2]) as file:
    json.load(file)
{STEP}
"""
NANO = f"""
import sys
batch_size, lr, untouched = 64, 0.1, 3
for argument in sys.argv[1:]:
    if "=" in argument:
        name, value = argument[2:].split("=")
        globals()[name] = eval(value)
    else:
        exec(open(argument).read())
{STEP}
"""
FILES = {
    "file.yaml": YAML_FILE,
    "composed.yaml": COMPOSED,
    "file.json": '{"lr": 0.3, "net": {"width": 4, "token": "do-not-tell"}}',
    "small.py": "batch_size = 12\nlr = 1e-3\nother = [1]\n",
    "data.txt": "",
}

CASES: list[tuple[str, str, list[str], dict[str, Any]]] = [
    ("click", CLICK, ["train", "FOLDER/data.txt", "--lr", "0.3"],
     {"cli.verbose": False, "cli.lr": 0.3, "cli.api_key": "***", "cli.pin": "***", "cli.data": "FOLDER/data.txt",
      "cli.command": "train"}),
    ("typer", TYPER, ["--lr", "0.2"], {"cli.lr": 0.2, "cli.kind": "s", "cli.secret_token": "***"}),
    ("absl", ABSL, ["--lr=0.4"], {"cli.lr": 0.4, "cli.width": 3}),
    ("fire", FIRE, ["--lr=0.4", "--extra=7"],
     {"cli.lr": 0.4, "cli.epochs": 3, "cli.optimizer": "sgd", "cli.extra": 7}),
    ("fire", FIRE_CLASS, ["--lr", "0.5", "fit", "--epochs", "7"], {"cli.lr": 0.5, "cli.epochs": 7}),
    ("jsonargparse", JSONARGPARSE, ["--config", "FOLDER/opt.yaml", "--opt.wd", "0.2"],
     {"cli.opt.lr": 0.5, "cli.opt.wd": 0.2, "cli.db.password": "***"}),
    ("argparse", SUBCOMMANDS, ["train", "--lr", "0.3", "--extra", "5", "--fast"],
     {"cli.seed": 1, "cli.command": "train", "cli.lr": 0.3, "cli.out": "out", "cli.extra": 5, "cli.fast": True}),
    ("hydra", HYDRA, ["lr=0.9"],
     {"config.lr": 0.9, "config.model.width": 8, "config.model.again": 8, "config.model.name": "w8",
      "config.api_key": "***", "config.home": "***"}),
    ("yaml", YAML, ["--extra=1"],
     {"cli.config": "FOLDER/file.yaml", "config.opt.lr": 0.5, "config.layers": "[1, 2]", "config.wandb.key": "***",
      "cli.extra": 1}),
    ("omegaconf", OMEGACONF, ["FOLDER/file.yaml", "opt.lr=0.7"],
     {"config.opt.lr": 0.7, "config.layers": "[1, 2]", "config.wandb.key": "***"}),
    ("json", JSON, ["--config=FOLDER/file.json"],
     {"config.lr": 0.3, "config.net.width": 4, "config.net.token": "***", "cli.config": "FOLDER/file.json"}),
    ("json", NANO, ["FOLDER/small.py", "--batch_size=16"],
     {"cli.batch_size": 16, "config.batch_size": 16, "config.lr": 1e-3}),
]  # fmt: skip


def started(run: Run, folder: Path, code: str, arguments: list[str], captured: bool = True) -> Captured:
    """Runs the code as a script in a folder with the configuration files; `FOLDER` in both stands for it."""
    for name, text in {**FILES, "opt.yaml": "opt: {lr: 0.5}", "train.py": code}.items():
        (folder / name).write_text(text.replace("FOLDER", str(folder)))
    script = str(folder / "train.py")
    return run(script, *(argument.replace("FOLDER", str(folder)) for argument in arguments), captured=captured)


@pytest.mark.parametrize(("library", "code", "arguments", "expected"), CASES)
def test_what_the_script_was_told(
    run: Run, tmp_path: Path, library: str, code: str, arguments: list[str], expected: dict[str, Any]
) -> None:
    pytest.importorskip(library)
    if "import torch" in code:
        pytest.importorskip("torch")
    ran = started(run, tmp_path, code, arguments)
    assert (ran.stderr, ran.returncode) == ("", 0)
    params = {name: value for name, value in ran.params.items() if name.startswith(("cli.", "config."))}
    assert params == {name: _placed(value, tmp_path) for name, value in expected.items()}
    assert "do-not-tell" not in str(ran.records)


def _placed(value: Any, folder: Path) -> Any:
    return value.replace("FOLDER", str(folder)) if isinstance(value, str) else value


@pytest.mark.parametrize(("library", "code", "arguments"), [
    ("click", CLICK, ["train"]), ("fire", FIRE, ["--help"]), ("absl", ABSL, ["--lr=x"]),
    ("hydra", HYDRA.replace('print("width:"', 'raise ValueError("width:"'), []),
    ("yaml", "import yaml, sys\nyaml.load('{', Loader=yaml.SafeLoader)", []),
])  # fmt: skip
def test_what_goes_wrong_goes_wrong_alike(
    run: Run, tmp_path: Path, library: str, code: str, arguments: list[str]
) -> None:
    pytest.importorskip(library)
    captured = started(run, tmp_path, code, arguments)
    alone = started(run, tmp_path, code, arguments, captured=False)
    assert captured.returncode == alone.returncode != 0 or "--help" in arguments
    assert (captured.stdout, captured.stderr) == (alone.stdout, alone.stderr)


@pytest.mark.parametrize(("arguments", "told"), [
    (["--lr=0.1", "width=8", "--name", "a", "--fast"], {"lr": 0.1, "width": 8, "name": "a", "fast": True}),
    (["train", "data.csv", "-v", "--shift", "-1"], {"shift": -1}),
    (["--fast", "a.csv", "b.csv"], {}),
    (["--drop-out=0.5", "+opt.lr=1e-3", "--on=true"], {"drop_out": 0.5, "opt.lr": 1e-3, "on": True}),
    (["--url=http://a/b?c=d", "--", "=3", "---"], {"url": "http://a/b?c=d"}),
])  # fmt: skip
def test_plain_arguments(arguments: list[str], told: dict[str, Any]) -> None:
    assert plain_arguments(arguments) == told


def test_interpolations_that_run_code_are_left_out() -> None:
    root = {"a": {"b": 1, "c": "${.b}", "d": "${..e.0}"}, "e": [5, 6], "f": "${g}", "g": "${f}", "h": "${now:%Y}x",
            "i": "${a}", "j": "${a.${k}}", "k": "b", "l": "${gone}"}  # fmt: skip
    inside = {"b": 1, "c": 1, "d": 5}
    assert resolved(root, root) == {"a": inside, "e": [5, 6], "i": inside, "j": 1, "k": "b"}


def test_nothing_of_an_object_that_has_no_text_of_its_own() -> None:
    class Strange:
        def __str__(self) -> str:
            raise AssertionError("the job's code was called")

    nested: dict[str, Any] = {"a": {}, "_hidden": 1, "strange": Strange(), "many": [Strange()], "call": print}
    nested["kind"] = Strange
    found = flattened("config", nested)
    assert set(found) == {"config.a", "config.kind"}
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    assert len(flattened("config", circle)) <= 1
    assert len(flattened("config", {str(i): i for i in range(1000)})) == 500


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="no transformers")
def test_a_library_s_defaults_are_left_out_that_nobody_chose(run: Run, tmp_path: Path) -> None:
    code = """
from dataclasses import dataclass
from transformers import HfArgumentParser, TrainingArguments
@dataclass
class Model:
    width: int = 8
HfArgumentParser((Model, TrainingArguments)).parse_args_into_dataclasses()
"""
    arguments = ["--output_dir", str(tmp_path), "--learning_rate", "0.3", "--logging_steps", "7"]
    params = started(run, tmp_path, code, arguments).params
    expected = {"cli.width": 8, "cli.learning_rate": 0.3, "cli.logging_steps": 7, "cli.seed": 42}
    assert {name: params.get(name) for name in expected} == expected
    assert len(params) < 50
