"""`check`, and recommendations that lean on alike tasks: what is known is said, and what is not known as well."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpkb as package
from hpkb.errors import HpkbError, UsageError
from hpkb.recommend.answer import Recommendation
from hpkb.suggest.check import lines_of
from hpkb.suggest.known import Known
from hpkb.suggest.space import Knob, Space
from hpkb.sweep import Sweep
from tests.advice import advised as advised
from tests.stores import Hpkb


def verdicts(folder: Path, values: dict[str, Any], task: str | None = "alpha") -> dict[str, str]:
    with package.open(folder / "hpkb.duckdb") as base:
        lines = base.check(values, task)["lines"]
    return {", ".join(line["hyperparameters"]): line["verdict"] for line in lines}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"lr": 0.004, "optimizer": "AdamW"}, "fits"),
        ({"lr": 0.0005, "optimizer": "AdamW"}, "against"),
        ({"lr": 0.28}, "against"),
        ({"lr": 30.0}, "against"),
        ({"lr": 1e-9}, "unknown"),
        ({"batch_size": 64}, "no matter"),
        ({"batch_size": 4096}, "unknown"),
        ({"optimizer": "Lion"}, "unknown"),
    ],
)
def test_a_value_is_held_against_the_planted_law(advised: Path, values: dict[str, Any], verdict: str) -> None:
    assert next(iter(verdicts(advised, values).values())) == verdict


def test_each_line_names_its_finding(advised: Path) -> None:
    with package.open(advised / "hpkb.duckdb") as base:
        known = {f.id: f for f in base.findings()}
        lines = base.check({"lr": 0.28, "optimizer": "SGD"}, "alpha")["lines"]
    assert known[lines[0]["finding_id"]].quantity == "safe_upper_bound"


def test_the_finding_itself_says_with_which_optimizer_its_answer_was_seen(advised: Path) -> None:
    with package.open(advised / "hpkb.duckdb") as base:
        found = [f for f in base.findings("alpha", "response") if f.quantity == "optimum"]
    rates = [f for f in found if f.hyperparameters == ("learning_rate",)]
    assert {f.seen_with for f in rates} == {"optimizer=AdamW", "optimizer=SGD"}
    assert all(f.condition in ("", f.seen_with) for f in rates)
    assert all(f.to_json()["seen_with"] == f.seen_with for f in rates)
    usual = next(f for f in rates if not f.condition)
    space = Space((Knob("learning_rate", "log", 1e-4, 1.0),))
    sweep = Sweep("t", "val_loss:min", (), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, bool), ())
    for words in (usual.claim, "The words say nothing."):
        known = Known(sweep, space, [replace(usual, claim=words)], {}, "", 0)
        asked = [{"learning_rate": 0.005, "optimizer": name} for name in ("AdamW", "SGD", "Lion")]
        lines = [next(lines_of(known, values)) for values in asked]
        says = [line.says for line in lines]
        own = usual.seen_with.partition("=")[2]
        assert says[("AdamW", "SGD").index(own)].endswith(f"(with {own})")
        assert says[2] == "too few runs with Lion to tell"


def test_what_always_changed_together_is_not_judged(advised: Path) -> None:
    assert verdicts(advised, {"learning_rate": 0.001}, "edge") == {"learning_rate": "unknown"}


def test_too_little_is_unknown_and_never_against(advised: Path) -> None:
    for task in ("small", "single", "dead"):
        assert set(
            verdicts(advised, {"lr": 0.001, "batch_size": 128, "weight_decay": 0.1}, task).values()
        ) <= {"unknown"}


def test_over_all_tasks_the_majority_decides(advised: Path) -> None:
    assert verdicts(advised, {"lr": 0.0055}, None)["learning_rate"] in ("fits", "no matter")
    assert verdicts(advised, {"lr": 0.0005}, None)["learning_rate"] == "against"


def test_exit_statuses_and_forms(advised: Path, hpkb: Hpkb, tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(
        "optimizer: {name: AdamW, lr: 4e-3, betas: [0.9, 0.999]}\nbatch_size: 64\nseed: 1\ndata_dir: /x\n"
    )
    fine = hpkb("check", "--task", "alpha", good, cwd=advised)
    assert fine.returncode == 0, fine.stderr + fine.stdout
    assert "within the safe range" in fine.stdout
    assert "data_dir" in fine.stdout
    bad = hpkb("check", "--task", "alpha", good, "lr=0.28", "--format", "json", cwd=advised)
    assert bad.returncode == 1
    document = json.loads(bad.stdout)
    assert document["verdict"] == "against"
    assert document["values"]["learning_rate"] == 0.28


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is not there"),
        ("{", "can be read"),
        ("[1, 2]", "no mapping"),
        ('{"lr": 0.1, "learning_rate": 0.2}', "disagree"),
        ("{}", "No configuration"),
    ],
)
def test_a_file_that_says_nothing_is_wrong_usage(
    advised: Path, hpkb: Hpkb, tmp_path: Path, text: str | None, says: str
) -> None:
    file = tmp_path / "c.json"
    if text is not None:
        file.write_text(text)
    result = hpkb("check", file, cwd=advised)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr


@pytest.mark.parametrize("argument", ["=3", "lr="])
def test_a_pair_without_a_side_is_wrong_usage(advised: Path, hpkb: Hpkb, argument: str) -> None:
    assert hpkb("check", argument, cwd=advised).returncode == 2
    assert hpkb("check", cwd=advised).returncode == 2
    assert hpkb("check", "--task", "nope", "lr=1", cwd=advised).returncode == 1


def test_like_leans_on_what_agrees_and_not_on_what_is_opposite(advised: Path) -> None:
    with package.open(advised / "hpkb.duckdb") as base:
        document = base.recommend(like="alpha")
        weights = {part["task"]: part["weight"] for part in document["leaned_on"]}
        assert document["verdict"] == "recommended"
        assert weights["beta"] > 0.8 > 0.2 > weights["odd"]
        assert 0.002 < document.hyperparameters["learning_rate"] < 0.04
        assert document["configurations"][0]["held_out_regret"]["mean"] < 0.4
        assert document["budget"]["sets"][0]["hyperparameters"] == ["learning_rate"]
        given = base.recommend(like="alpha", given={"batch_size": 64})
        assert given["configurations"][0]["values"]["batch_size"] == 64
        with pytest.raises(UsageError):
            base.recommend(task="beta", like="alpha")
        with pytest.raises(HpkbError, match="No task 'nope'"):
            base.recommend(like="nope")


def test_a_task_leans_on_others_by_its_own_first_runs(advised: Path) -> None:
    from dataclasses import replace

    import numpy as np

    from hpkb.kb import load_sweeps
    from hpkb.recommend.leaning import lean

    with package.open(advised / "hpkb.duckdb") as base:
        sweeps = load_sweeps(base.connection)
        odd = next(s for s in sweeps if s.task == "odd")
        few = replace(odd.subset(np.isin(odd.configuration, range(0, 36, 3))), task="newcomer")
        document = lean(base, few, [s for s in sweeps if s.task != "small"], {}, 1, is_like=False)
    weights = {part["task"]: part["weight"] for part in document["leaned_on"]}
    assert weights["odd"] > 0.6 > 0.2 > weights["alpha"]


def test_a_task_that_shows_nothing_yet_gets_the_overall_default_or_none(advised: Path) -> None:
    with package.open(advised / "hpkb.duckdb") as base:
        document, overall = base.recommend(task="single"), base.defaults(None)
    assert overall is not None
    assert document["verdict"] == overall["verdict"]
    assert "do not tell yet" in document["reason"] or document["verdict"] == "insufficient"


def test_the_values_go_straight_into_a_script(advised: Path) -> None:
    with package.open(advised / "hpkb.duckdb") as base:
        values = base.recommend(task="alpha").hyperparameters
        assert isinstance(values["batch_size"], int)
    with pytest.raises(HpkbError, match="too few"):
        _ = Recommendation({"verdict": "insufficient", "reason": "too few runs."}).hyperparameters
