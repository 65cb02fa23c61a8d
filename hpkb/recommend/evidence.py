"""What a recommendation rests on: the findings that speak of its values, and the rules that tie values together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpkb.findings import Finding
from hpkb.recommend.laws import laws_of, rules
from hpkb.sweep import Sweep


def with_evidence(document: dict[str, Any], findings: Sequence[Finding], sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Adds to each configuration the supported findings that its values rest on, and to the document its rules.

    A rule with the tasks' sizes in it, which was chosen over tasks, comes before those of the findings.
    """
    task = document["task"]
    relevant = [f for f in findings if f.verdict == "supported" and f.hyperparameters and task in (f.task, None)]
    for configuration in document["configurations"]:
        names = set(configuration["values"])
        own = [f.id for f in relevant if names.issuperset(f.hyperparameters)]
        configuration["finding_ids"] = list(dict.fromkeys([*configuration.get("finding_ids", ()), *own]))
    if document["configurations"]:
        known = {name for rule in document["rules"] for name in rule["exponents"]}
        found = rules(laws_of(findings, task), document["configurations"][0]["values"], sweeps)
        document["rules"] = [*document["rules"], *(r for r in found if known.isdisjoint(r["exponents"]))]
    return document
