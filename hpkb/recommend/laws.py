"""How the best learning rate goes with another value, as the supported findings have it: the rules that are printed.

A law says lr = c · (value / reference)^exponent. It moves a default along the ridge: to a batch size that is given, and
beyond what was tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpkb.findings import Finding
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.typed import COARSE, FINE, is_power_of_two, is_whole, on_log, significant
from hpkb.sweep import FloatArray, Sweep

RATE = "learning_rate"
#: Which hyperparameter a miner's exponent is in; that of momentum is in 1 - momentum.
KNOBS = {"scaling_exponent": "batch_size", "ridge_exponent": "weight_decay", "effective_lr_exponent": "momentum"}
STEP, PRINTED = 4.0, 5  # from one printed value to the next, and how many are printed


@dataclass(frozen=True)
class Law:
    """d ln lr* / d ln `knob` with its 95% interval (an end is None where the runs leave it open), from one finding.

    `task` is None where all tasks together bear it; `optimizer` is the one that it was found with, empty for all.
    """

    knob: str
    exponent: float
    low: float | None
    high: float | None
    finding_id: str
    task: str | None
    optimizer: str = ""

    def holds_for(self, values: Configuration) -> bool:
        """Whether a configuration has both values, and an optimizer that the law is of."""
        named = isinstance(values.get(RATE), float | int) and isinstance(values.get(self.knob), float | int)
        return named and (not self.optimizer or values.get("optimizer", self.optimizer) == self.optimizer)

    def factors(self, value: float, reference: float) -> tuple[float, float, float]:
        """Returns by what the best rate changes from `reference` to `value`: the estimate, and the interval's ends."""
        one, other = (1 - x if self.knob == "momentum" else x for x in (value, reference))
        ratio = one / other if one > 0 and other > 0 else 1.0
        if ratio == 1:
            return 1.0, 1.0, 1.0
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        ends = sorted(float(ratio**e) for e in (low, high))
        return float(ratio**self.exponent), ends[0], ends[1]

    def moved(self, values: Configuration, value: float) -> dict[str, Value]:
        """Returns the configuration with the knob at `value` and its learning rate moved along the ridge."""
        moved = {**values, self.knob: value}
        if self.holds_for(values):
            moved[RATE] = float(values[RATE]) * self.factors(value, float(values[self.knob]))[0]
        return moved


def laws_of(findings: Sequence[Finding], task: str | None) -> list[Law]:
    """Returns the supported laws of a task, and of all tasks where the task's own runs do not settle one.

    A law of one optimizer comes before one of all; where the task's own runs show that there is none (*rejected*), that
    of all tasks does not hold for it.
    """
    laws = []
    asked = [f for f in findings if f.quantity in KNOBS and f.hyperparameters == (RATE, KNOBS[f.quantity])]
    for quantity, knob in KNOBS.items():
        own = [f for f in asked if f.quantity == quantity and f.task == task and f.condition.split("=")[0] in _OF_WHOLE]
        denied = task is not None and any(f.verdict == "rejected" for f in own)
        together = [] if denied or task is None else [
            f for f in asked if f.quantity == quantity and f.task is None and not f.condition
        ]  # fmt: skip
        found = [f for f in own if f.verdict == "supported"] or [f for f in together if f.verdict == "supported"]
        laws += [_law(f, knob) for f in sorted(found, key=lambda f: not f.condition) if isinstance(f.estimate, float)]
    return laws


_OF_WHOLE = ("", "optimizer")  # conditions: none, or one optimizer; not "at equal steps"


def _law(finding: Finding, knob: str) -> Law:
    low, high = (x if isinstance(x, float) else None for x in (finding.low, finding.high))
    optimizer = finding.condition.partition("=")[2]
    return Law(knob, float(finding.estimate or 0.0), low, high, finding.id, finding.task, optimizer)


def rules(laws: Sequence[Law], default: Configuration, sweeps: Sequence[Sweep]) -> list[dict[str, Any]]:
    """Returns the contract's rules of a default: what its learning rate becomes at other values of each knob.

    `at` holds values over what was tried and one step beyond either end, which say that they are an extrapolation.
    """
    found, known = [], set()
    for law in laws:
        tried = tried_values(sweeps, law.knob)
        if law.knob not in known and law.holds_for(default) and tried.size and float(default[law.knob]) > 0:
            known.add(law.knob)
            found.append(_rule(law, default, tried))
    return found


def tried_values(sweeps: Sequence[Sweep], name: str) -> FloatArray:
    """Returns the distinct positive values that the tasks tried of a number, in order; fixed ones too."""
    values = [h.values for s in sweeps if (h := s.hyperparameter(name)) is not None and h.scale != "category"]
    fixed = [_number(s.fixed[name]) for s in sweeps if name in s.fixed]
    every = np.concatenate([*values, np.array(fixed, dtype=np.float64)])
    return np.unique(every[np.isfinite(every) & (every > 0)])


def _rule(law: Law, default: Configuration, tried: FloatArray) -> dict[str, Any]:
    rate, reference = float(default[RATE]), float(default[law.knob])
    base = f"(1-momentum)/{1 - reference:g}" if law.knob == "momentum" else f"{law.knob}/{reference:g}"
    at = [_at(law, rate, reference, value, tried) for value in _printed(law.knob, reference, tried)]
    return {
        "hyperparameter": RATE, "formula": f"{rate:.2g} * ({base})^{law.exponent:.2f}",
        "exponents": {law.knob: [law.low, law.high]}, "estimates": {law.knob: law.exponent},
        "finding_id": law.finding_id, "from_all_tasks": law.task is None, "optimizer": law.optimizer or None, "at": at,
        "words": _words(law.knob, at),
    }  # fmt: skip


def _at(law: Law, rate: float, reference: float, value: float, tried: FloatArray) -> dict[str, Any]:
    factor, low, high = law.factors(value, reference)
    ends = [rate * x if 0 < x < np.inf else None for x in (low, high)]
    return {
        law.knob: value, RATE: typed_rate(rate * factor, *ends), "low": ends[0], "high": ends[1],
        "extrapolated": not tried[0] <= value <= tried[-1],
    }  # fmt: skip


def typed_rate(rate: float, low: float | None, high: float | None) -> float:
    """Returns the rate as a person would type it, with as many digits as it takes to stay within the interval."""
    coarser = (on_log(rate, COARSE), on_log(rate, FINE), significant(rate, 2))
    inside = (r for r in coarser if low is not None and high is not None and low <= r <= high)
    return next(inside, coarser[-1])


def moved_by(
    factor: float, rate: float, plateau: Mapping[str, Sequence[float]],
    low: float | None = None, high: float | None = None,
) -> tuple[float, dict[str, list[float]]]:
    """Returns a rate moved by a factor, typed as `typed_rate` does, and a configuration's ranges, the rate within."""
    moved, ranges = typed_rate(rate * factor, low, high), {name: list(ends) for name, ends in plateau.items()}
    if RATE in ranges:
        ends = [end * factor for end in ranges[RATE]]
        ranges[RATE] = [min(ends[0], moved), max(ends[1], moved)]
    return moved, ranges


def _printed(knob: str, reference: float, tried: FloatArray) -> list[float]:
    """A few values of the knob around the reference, each as a person would type it."""
    if knob == "momentum":
        return [m for m in (0.0, 0.5, 0.9, 0.95, 0.99) if tried[0] - 0.05 <= m <= tried[-1] + 0.05]
    step = STEP if tried[-1] / tried[0] < STEP ** (PRINTED + 1) else 10.0
    steps = np.arange(-20, 21)
    values = reference * step ** steps.astype(np.float64)
    inside = np.flatnonzero((values >= tried[0] / step) & (values <= tried[-1] * step * (1 + 1e-9)))
    near = inside[np.argsort(np.abs(steps[inside]), kind="stable")[: PRINTED + 2]]
    whole = is_whole(tried)
    powers = whole and all(is_power_of_two(v) for v in tried)
    kept = [float(values[i]) if powers else on_log(float(values[i]), FINE) for i in sorted(near)]
    return [float(round(v)) if whole else v for v in kept if not whole or v >= 1]


def _words(knob: str, at: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"{row[knob]:g}, {row[RATE]:g}{' (beyond what was tried)' if row['extrapolated'] else ''}" for row in at
    ]  # fmt: skip
    first, *others = parts
    more = "".join(f"; at {part}" for part in others)
    return f"If the {knob.replace('_', ' ')} is {first.replace(', ', ', learning rate ', 1)}{more}."


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
