"""Each defect that the Deep Learning Tuning Playbook warns of is found, and clean sweeps raise no alarm."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hpkb import miners
from hpkb.findings import Finding
from hpkb.playbook import CHECKS, results
from tests.truth.defects import DEFECTS, clean, names, statuses


def test_every_check_has_its_planted_defect_and_its_miner() -> None:
    assert list(DEFECTS) == names()
    assert {check.miner for check in CHECKS} <= set(miners.names())


@pytest.mark.parametrize("name", list(DEFECTS))
def test_a_planted_defect_is_found(name) -> None:
    for seed in range(2):
        assert statuses(DEFECTS[name](np.random.default_rng(seed)))[name] == "failed"


def test_clean_sweeps_raise_no_alarm_and_pass_most_checks() -> None:
    counted = Counter[tuple[str, str]]()
    for seed in range(8):
        counted.update(statuses(clean(np.random.default_rng(seed))).items())
    assert not {name: n for (name, status), n in counted.items() if status == "failed"}
    assert sum(n for (_, status), n in counted.items() if status == "passed") >= 0.8 * 8 * len(CHECKS)


def test_one_finding_with_the_defect_is_enough() -> None:
    found = [finding("rejected"), finding("supported"), finding("insufficient")]
    assert outcome(found) == ("failed", found[1])
    assert outcome(found[:1]) == ("passed", found[0])
    assert outcome(found[2:]) == ("unknown", found[2])
    assert outcome([]) == ("unknown", None)


def finding(verdict: str) -> Finding:
    return Finding("design", "task", (verdict,), "boundary", "So it is.", verdict)  # type: ignore[arg-type]


def outcome(findings: list[Finding]) -> tuple[str, Finding | None]:
    (found,) = (r for r in results(findings) if r.check.quantity == "boundary")
    return found.status, found.finding
