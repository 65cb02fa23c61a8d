"""What every miner owes: its documentation, and a calm answer to sweeps that hold little or nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpkb import miners
from hpkb.findings import Finding
from hpkb.kb.store import writing
from hpkb.kb.sweep import load_sweeps
from hpkb.names import NAMES
from hpkb.sweep import Sweep
from tests.truth.planted import planted_sweep

HEADINGS = ["Question", "Method", "How to read it", "When it misleads"]
VERDICTS = {"supported", "rejected", "insufficient"}
LAW = {
    "optimizers": ("AdamW", "SGD"), "momentum": True, "diverging": True, "schedules": ("constant", "cosine"),
}  # fmt: skip

pytestmark = pytest.mark.parametrize("name", miners.names())


def planted(n: int = 40, repeats: int = 2, **law: object) -> Sweep:
    return planted_sweep(np.random.default_rng(7), n, repeats, **{**LAW, **law})[0]  # type: ignore[arg-type]


def mine(name: str, sweep: Sweep, seed: int = 0) -> list[Finding]:
    return miners.load(name).mine(miners.Context(sweep, seed))


def assert_sound(findings: list[Finding], name: str, sweep: Sweep) -> None:
    """The findings keep to the contract: JSON without NaN, one answer a question, verdicts with their p-value."""
    assert len({f.id for f in findings}) == len(findings)
    for finding in findings:
        json.dumps([finding.to_json(), dict(finding.figure)], allow_nan=False)
        assert (finding.miner, finding.task) == (name, sweep.task)
        assert finding.verdict in VERDICTS
        assert finding.claim.endswith((".", "?"))
        assert not re.search(r"\bnan\b|\binf\b", finding.claim + finding.claim_if_insufficient)
        assert (finding.n_runs, finding.n_configurations) == (sweep.n_runs, sweep.n_configurations)
        assert set(finding.run_ids) <= set(sweep.run_ids)
        if finding.verdict == "supported":
            assert finding.p_value is not None
            assert 0 <= finding.p_value <= 0.05
        if finding.quantity and isinstance(finding.estimate, float) and finding.low is not None:
            assert finding.low <= finding.estimate
        if finding.quantity and isinstance(finding.estimate, float) and finding.high is not None:
            assert finding.estimate <= finding.high


def said(findings: list[Finding]) -> str:
    """The findings and their figures as text, byte for byte."""
    return json.dumps([[f.to_json(), f.claim_if_insufficient, f.figure] for f in findings], sort_keys=True)


def test_its_documentation_has_the_four_headings(name):
    doc = miners.load(name).__doc__
    assert re.findall(r"^(.+)\n-{3,}$", doc, flags=re.MULTILINE) == HEADINGS
    sections = re.split(r"^.+\n-{3,}$", doc, flags=re.MULTILINE)
    assert all(len(section.split()) > 15 for section in sections[1:])
    assert re.search(r"\b(19|20)\d\d\b", sections[2]), "the method cites where it comes from"


def test_a_planted_sweep(name):
    sweep = planted()
    assert_sound(mine(name, sweep), name, sweep)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_hardly_any_runs(name, n):
    sweep = planted().subset(np.arange(n))
    findings = mine(name, sweep)
    assert_sound(findings, name, sweep)
    assert not [f for f in findings if f.verdict == "supported"]


def test_all_runs_infeasible(name):
    sweep = planted()
    lost = replace(sweep, y=np.full(sweep.n_runs, np.nan), infeasible=np.ones(sweep.n_runs, dtype=bool))
    findings = mine(name, lost)
    assert_sound(findings, name, lost)
    assert not [f for f in findings if f.verdict == "supported"]


def test_one_configuration_repeated(name):
    rows = np.zeros(30, dtype=np.int64)
    sweep = planted(diverging=False).subset(rows)
    y = sweep.y + np.random.default_rng(0).normal(0, 0.1, 30)
    sweep = replace(sweep, y=y, run_ids=tuple(map(str, range(30))), seed=np.arange(30.0))
    findings = mine(name, sweep)
    assert_sound(findings, name, sweep)
    assert not [f for f in findings if f.verdict == "supported"]


def test_a_constant_objective(name):
    sweep = planted(diverging=False)
    flat = replace(sweep, y=np.full(sweep.n_runs, 0.5))
    findings = mine(name, flat)
    assert_sound(findings, name, flat)
    assert not [f for f in findings if f.verdict == "supported"]


def test_no_hyperparameter_varies(name):
    sweep = replace(planted(), hyperparameters=())
    assert_sound(mine(name, sweep), name, sweep)


def test_a_fixed_seed_gives_the_same_findings_byte_for_byte(name):
    sweep = planted()
    assert said(mine(name, sweep, 3)) == said(mine(name, sweep, 3))


def test_renamed_runs_change_nothing_but_the_names(name):
    sweep = planted()
    ids = {old: f"run-{i:04}" for i, old in enumerate(reversed(sweep.run_ids))}
    renamed = replace(sweep, run_ids=tuple(ids[old] for old in sweep.run_ids))
    before = said(mine(name, sweep))
    for old, new in ids.items():
        before = before.replace(f'"{old}"', f'"{new}"')
    assert before == said(mine(name, renamed))


def stored(sweep: Sweep, path: Path, order: np.ndarray, prefix: str) -> Sweep:
    """The sweep as a knowledge base gives it back, its runs written in `order` and named anew."""
    ids = [f"{prefix}{i}" for i in range(sweep.n_runs)]
    with writing(path) as connection:
        connection.execute(
            "INSERT INTO tasks (task_id, name, metric, direction) VALUES ('planted', 'planted', 'val_loss', 'min')"
        )
        for place, i in enumerate(order):
            y = None if sweep.infeasible[i] else sweep.y[i]
            connection.execute(
                "INSERT INTO runs (run_id, task_id, source, seed, objective_min, infeasible, fingerprint) "
                "VALUES ($id, 'planted', 'test', $seed, $y, $infeasible, '')",
                {"id": ids[place], "seed": int(sweep.seed[i]), "y": y, "infeasible": bool(sweep.infeasible[i])},
            )
            for h in (h for h in sweep.hyperparameters if np.isfinite(h.values[i])):
                number = None if h.levels else float(h.values[i])
                text = h.levels[int(h.values[i])] if h.levels else repr(number)
                connection.execute(
                    "INSERT INTO hyperparameters VALUES ($id, $name, $text, $number, 'param', $name)",
                    {"id": ids[place], "name": h.name, "text": text, "number": number},
                )
        return load_sweeps(connection)[0]


def test_shuffled_rows_change_nothing(name, tmp_path):
    sweep = planted(30)
    rng = np.random.default_rng(0)
    found = []
    for file in ("one", "other"):
        order = rng.permutation(sweep.n_runs)
        again = stored(sweep, tmp_path / f"{file}.duckdb", order, file)
        same_names = replace(again, run_ids=tuple(map(str, range(again.n_runs))))
        found.append(said(mine(name, same_names)))
    assert found[0] == found[1]


def test_a_sweep_is_left_as_it_was(name):
    sweep = planted()
    before = [sweep.y.copy(), *(h.values.copy() for h in sweep.hyperparameters)]
    mine(name, sweep)
    after = [sweep.y, *(h.values for h in sweep.hyperparameters)]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))


def test_it_speaks_of_hyperparameters_by_their_names(name):
    known = {n.name for n in NAMES}
    for finding in mine(name, planted()):
        assert set(finding.hyperparameters) <= known
