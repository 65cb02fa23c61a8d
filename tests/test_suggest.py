"""The next experiments: designs that separate what they say, nothing twice, nothing that diverges; run for real."""

from __future__ import annotations

import json
import os
import shutil
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import hpkb as package
from hpkb.recommend.candidates import key, read
from hpkb.suggest.export import FORMATS
from hpkb.suggest.factorial import FULL, factorial, plackett_burman, regular
from hpkb.suggest.space import Knob, fixed_knob, plain
from tests.advice import advised as advised
from tests.stores import Hpkb

DESIGNS = ("auto", "perturb", "factorial")
TASKS = ("alpha", "edge", "small", "single", "odd")


def suggested(
    folder: Path, task: str | None, n: int = 8, design: str = "auto", seed: int = 0
) -> dict[str, Any]:
    with package.open(folder / "hpkb.duckdb") as base:
        return base.suggest(task, n, design, seed)


def word_length(signs: np.ndarray) -> int:
    """The resolution by brute force: the fewest columns whose product is the same in every run."""
    for length in range(1, 6):
        for columns in combinations(range(signs.shape[1]), length):
            if abs(int(np.prod(signs[:, columns], axis=1).sum())) == len(signs):
                return length
    return FULL


@pytest.mark.parametrize(
    ("factors", "basic", "resolution"),
    [(3, 2, 3), (4, 3, 4), (7, 3, 3), (5, 4, 5), (6, 4, 4), (8, 4, 4), (15, 4, 3), (4, 4, FULL), (10, 5, 4)],
)
def test_a_regular_design_has_the_resolution_of_the_tables(factors: int, basic: int, resolution: int) -> None:
    design = regular(factors, basic)
    assert np.array_equal(design.signs.T @ design.signs, len(design.signs) * np.eye(factors))
    assert design.resolution == resolution == word_length(design.signs)


@pytest.mark.parametrize("runs", [12, 20, 24])
def test_a_plackett_burman_design_is_orthogonal(runs: int) -> None:
    signs = plackett_burman(runs - 1, runs).signs
    assert np.array_equal(signs.T @ signs, runs * np.eye(runs - 1))


def test_a_factorial_of_too_few_runs_is_none() -> None:
    assert factorial(4, 4) is None


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_proposed_twice_or_beyond_what_is_safe(advised: Path, task: str, design: str) -> None:
    from hpkb.kb import load_sweeps
    from hpkb.suggest.space import limits_of

    document = suggested(advised, task, 16, design)
    with package.open(advised / "hpkb.duckdb") as base:
        [sweep] = load_sweeps(base.connection, task)
        limits = limits_of(base.findings(task=task))
        findings = {f.id for f in base.findings()}
    names = [h.name for h in sweep.hyperparameters]
    ran = {key(read(sweep, row, names)) for row in range(sweep.n_runs)}
    seen = set()
    assert document["experiments"]
    for e in document["experiments"]:
        values = {name: v if isinstance(v, str) else float(v) for name, v in e["values"].items()}
        own = {name: v for name, v in values.items() if name in names}
        moved = [n for n, v in values.items() if n not in names and plain(v) != plain(float(sweep.fixed.get(n, "nan")))
                 if not isinstance(v, str)]  # fmt: skip
        assert not any(limit.rules_out(values) for limit in limits)
        assert e["is_repeat"] == (key(own) in ran and not moved), e
        assert (key(values), e["seed"]) not in seen
        seen.add((key(values), e["seed"]))
        assert e["settles"].endswith(".")
        assert e["finding_id"] is None or e["finding_id"] in findings
        assert ("momentum" in values) == (values.get("optimizer") == "SGD") or task not in ("alpha", "odd")


def test_a_repeat_has_a_seed_that_was_not_run(advised: Path) -> None:
    repeats = [e for e in suggested(advised, "small", 16)["experiments"] if e["is_repeat"]]
    assert {e["seed"] for e in repeats} == {1, 2}
    assert len({e["values"]["learning_rate"] for e in repeats}) == 3


def test_the_same_seed_proposes_the_same(advised: Path) -> None:
    assert suggested(advised, "alpha", 8, seed=3) == suggested(advised, "alpha", 8, seed=3)


def test_each_kind_of_question_is_asked(advised: Path) -> None:
    edge = {e["design"] for e in suggested(advised, "edge", 8)["experiments"]}
    assert {"seeds", "factorial", "perturb", "boundary"} <= edge, "no repeats, aliased, at the edge"
    settles = " ".join(e["settles"] for e in suggested(advised, "small", 8)["experiments"])
    assert "How far seeds alone move val_loss" in settles
    assert "it was 64 in every run" in settles, "what never varied"


def test_the_aliased_are_moved_apart(advised: Path) -> None:
    apart = [e["values"] for e in suggested(advised, "edge", 16)["experiments"] if "always changed together" in
             e["settles"]]  # fmt: skip
    ratios = [e["learning_rate"] / e["weight_decay"] for e in apart]
    assert len(ratios) >= 2
    assert all(ratio < 4 or ratio > 25 for ratio in ratios), "in every run it was 10"


def test_where_no_run_succeeded_only_smaller_learning_rates_are_proposed(advised: Path) -> None:
    for design in DESIGNS:
        experiments = suggested(advised, "dead", 8, design)["experiments"]
        assert [e["values"]["learning_rate"] for e in experiments] == [0.03, 0.01, 0.003, 0.001]


def test_perturbations_change_one_value(advised: Path) -> None:
    document = suggested(advised, "alpha", 8, "perturb")
    baseline = document["baseline"]["values"]
    for e in document["experiments"]:
        changed = {n for n in {*baseline, *e["values"]} if baseline.get(n) != e["values"].get(n)} - {
            "momentum"
        }
        assert len(changed) <= 1


def test_a_factorial_leaves_out_the_corners_that_were_run(advised: Path) -> None:
    document = suggested(advised, "alpha", 8, "factorial")
    assert "separate" in document["reason"]
    assert 6 <= len(document["experiments"]) <= 8, "the baseline is a corner, and has been run"


@pytest.mark.parametrize(
    ("knob", "value", "typed"),
    [
        (Knob("learning_rate", "log", 1e-5, 1.0), 0.00031, 3e-4),
        (Knob("learning_rate", "log", 1e-5, 1.0), 0.0871, 0.1),
        (Knob("batch_size", "log", 16, 512, is_whole=True, is_power_of_two=True), 200.0, 256.0),
        (Knob("warmup_steps", "linear", 0, 2000, is_whole=True), 1234.0, 1200.0),
        (Knob("beta2", "linear", 0.9, 0.999), 0.9983, 0.998),
        (Knob("dropout", "linear", 0.0, 0.5), 0.1234, 0.12),
    ],
)
def test_values_are_what_a_person_would_type(knob: Knob, value: float, typed: float) -> None:
    assert knob.typed(value) == pytest.approx(typed)


def test_a_share_never_steps_to_1_and_nothing_steps_below_0() -> None:
    assert Knob("momentum", "linear", 0.0, 0.9).step(0.9, 1) is None
    assert Knob("dropout", "linear", 0.0, 0.4).step(0.0, -1) is None
    assert fixed_knob("parameter_count", "1000") is None, "what nobody tunes is not varied"


def test_bayes_starts_from_what_is_known(advised: Path) -> None:
    pytest.importorskip("optuna")
    document = suggested(advised, "small", 6, "bayes")
    assert document == suggested(advised, "small", 6, "bayes")
    assert "5 runs of its own and" in document["reason"]
    assert len(document["experiments"]) == 6
    rates = [e["values"]["learning_rate"] for e in suggested(advised, "alpha", 8, "bayes")["experiments"]]
    assert np.mean([0.001 < rate < 0.06 for rate in rates]) >= 0.75, "near the planted 0.0067"
    odd = suggested(advised, "odd", 6, "bayes")
    assert "runs of its own." in odd["reason"], "what is good elsewhere is bad there, and its own runs are enough"
    far = [not 0.001 < e["values"]["learning_rate"] < 0.06 for e in odd["experiments"]]
    assert np.mean(far) >= 0.5


def test_without_optuna_bayes_says_what_to_install(advised: Path, hpkb: Hpkb, tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ImportError('hidden by the test')\n")
    hidden = os.pathsep.join([str(tmp_path), str(Path(package.__file__).parents[1])])
    result = hpkb("suggest", "--task", "alpha", "--design", "bayes", cwd=advised, PYTHONPATH=hidden)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "hpkb: The design 'bayes' needs Optuna. Run: pip install 'hpkb[optuna]'"
    ]


def test_every_format(advised: Path, hpkb: Hpkb) -> None:
    shown = {f: hpkb("suggest", "--task", "small", "--n", 3, "--format", f, cwd=advised) for f in
             ("table", "json", "args", *FORMATS)}  # fmt: skip
    assert all(result.returncode == 0 for result in shown.values()), [r.stderr for r in shown.values()]
    document = json.loads(shown["json"].stdout)
    assert [line.split()[0] for line in shown["args"].stdout.splitlines()] == ["--lr"] * 3
    assert shown["table"].stdout.count("\n") >= 6
    compile(shown["ray"].stdout, "ray", "exec")
    assert len(shown["hydra"].stdout.splitlines()) == 3
    sweep = yaml.safe_load(shown["wandb"].stdout)
    assert len(sweep["parameters"]["arguments"]["values"]) == 3
    pytest.importorskip("optuna")
    tried: list[dict[str, Any]] = []
    exec(shown["optuna"].stdout, {"train": lambda values: tried.append(values) or 0.0})
    for values, e in zip(tried, document["experiments"], strict=True):
        assert {n: values[n] for n in e["values"]} == e["values"]
        assert values["seed"] == (e["seed"] or 0)


def test_a_wandb_sweep_hands_the_arguments_over(advised: Path, hpkb: Hpkb, tmp_path: Path) -> None:
    """What W&B's agent makes of the sweep's command, by its own code, and bash of that."""
    import subprocess

    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    sweep = yaml.safe_load(
        hpkb("suggest", "--task", "small", "--n", 1, "--format", "wandb", cwd=advised).stdout
    )
    line = sweep["parameters"]["arguments"]["values"][0]
    parts = utils.create_sweep_command_args({"args": {"arguments": {"value": line}}})
    command: list[str] = []
    for word in utils.create_sweep_command(sweep["command"]):
        command += parts["args_no_hyphens"] if word == "${args_no_hyphens}" else ["/usr/bin/env"] if word == "${env}" \
            else [word]  # fmt: skip
    (tmp_path / "train.py").write_text("import sys; print(*sys.argv[1:])")
    command = [word.replace("exec python", f"exec {sys.executable}") for word in command]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.strip() == line


def test_search_spaces_of_a_recommendation(advised: Path, hpkb: Hpkb) -> None:
    shown = {f: hpkb("recommend", "--task", "alpha", "--format", f, cwd=advised) for f in FORMATS}
    assert all(result.returncode == 0 for result in shown.values()), [r.stderr for r in shown.values()]
    space = yaml.safe_load(shown["wandb"].stdout)["parameters"]
    assert 1e-4 < space["lr"]["min"] < 0.0067 < space["lr"]["max"] < 0.3, "cut where training diverges"
    compile(shown["ray"].stdout, "ray", "exec")
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    params = yaml.safe_load(shown["hydra"].stdout)["hydra"]["sweeper"]["params"]
    assert len(
        parser.OverridesParser.create().parse_overrides([f"{n}={v}" for n, v in params.items()])
    ) == len(params)
    pytest.importorskip("optuna")
    tried: list[dict[str, Any]] = []
    exec(shown["optuna"].stdout, {"train": lambda values: tried.append(values) or 0.0})
    assert len(tried) == 32


TRAIN = """
import argparse, math, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--batch_size", type=int, default=64)
parser.add_argument("--weight_decay", type=float, default=0.001)
parser.add_argument("--optimizer", default="AdamW")
parser.add_argument("--momentum", type=float)
parser.add_argument("--seed", type=int, default=0)
told = parser.parse_args()
if told.seed == 1:
    sys.exit(3)
print(f"val_loss: {0.3 + 0.05 * (math.log(told.lr) + 5) ** 2}")
"""


def test_run_makes_real_runs_and_one_that_fails_does_not_stop_the_rest(
    hpkb: Hpkb, tmp_path: Path, empty_store: Path
) -> None:
    """From two logged runs to suggestions, to five more runs and an analysis."""
    here = tmp_path / "here"
    shutil.copy(empty_store, here / "mlflow.db")
    (here / "train.py").write_text(TRAIN)
    train = [sys.executable, "train.py"]
    for rate in ("0.001", "0.003"):
        logged = hpkb("log", "--task", "tiny", "--", *train, "--lr", rate, "--batch_size", "32")
        assert logged.returncode == 0, logged.stderr
    assert hpkb("analyze", "--objective", "val_loss:min", "--miner", "noise_floor").returncode == 0
    lines = hpkb(
        "suggest", "--task", "tiny", "--n", 5, "--format", "args", "--underscores"
    ).stdout.splitlines()
    assert len(lines) == 5
    assert any("--weight_decay" in line for line in lines), "as the script has it"
    ran = hpkb("suggest", "--task", "tiny", "--n", 5, "--underscores", "--run", "--", *train)
    failing = sum("--seed 1" in line for line in lines)
    assert failing >= 1, lines
    assert ran.returncode == 1
    assert f"{5 - failing} of 5 experiments done, {failing} failed" in ran.stderr, ran.stderr
    assert hpkb("analyze", "--objective", "val_loss:min", "--miner", "noise_floor").returncode == 0
    with package.open(here / "hpkb.duckdb") as base:
        [(runs, failed)] = base.sql(
            "SELECT count(*), count(*) FILTER (status = 'FAILED') FROM runs"
        ).fetchall()
    assert (runs, failed) == (7, failing)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "Say which task"),
        (("--task", "delta2"), 1, "No task 'delta2'"),
        (("--task", "alpha", "--n", "3", "--design", "factorial"), 2, "at least 4 runs"),
        (("--task", "alpha", "--run"), 2, "needs a command"),
        (("--task", "alpha", "--", "python", "train.py"), 2, "Add --run"),
        (("--task", "alpha", "--tracking-uri", "sqlite:///x.db"), 2, "belong to --run"),
        (("--task", "alpha", "--kb", "absent.duckdb"), 1, "absent.duckdb"),
    ],
)
def test_bad_input_is_one_line(
    advised: Path, hpkb: Hpkb, arguments: tuple[str, ...], status: int, says: str
) -> None:
    before = sorted(path.name for path in advised.iterdir())
    result = hpkb("suggest", *arguments, cwd=advised)
    assert result.returncode == status
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr
    assert sorted(path.name for path in advised.iterdir()) == before
