"""Rules with the task's scale in them: lr* = c · N^a · D^b · B^c, where the tasks support one.

Each task gives its best learning rate with the error of it (`scale_facts`). A meta-regression over the tasks has the
sizes as moderators and lets the tasks differ beyond them (variance between tasks by Paule and Mandel 1982; intervals by
Knapp and Hartung 2003, Student's t with tasks less terms as degrees of freedom, never narrower than the plain ones). A
rule takes the place of a constant only if its terms together are significant, and if on tasks left out it has less
regret than the best constant of the others, its terms chosen anew without the task each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from hpkb.recommend.scale_facts import FACTS, Optimum, optimum_of
from hpkb.sweep import FloatArray, Sweep

FEWEST_TASKS = 6
SPARE = 3  # tasks more than terms and constant
LEVEL = 0.05  # of all terms together
DROP = 0.1  # a term whose p-value is above it is left out
ALIKE = 0.95  # correlation of two sizes over the tasks that cannot be told apart


@dataclass(frozen=True)
class Rule:
    """ln lr = constant + sum of exponent · ln(size / reference).

    `intervals` holds the 95% interval of each exponent, `spans` the least and the largest of each size among the tasks.
    The regrets are normalised ones on tasks left out, of the rule and of the best constant.
    """

    constant: float
    references: dict[str, float]
    exponents: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    held_out_regret: float
    constant_held_out_regret: float
    tasks: int
    spans: dict[str, tuple[float, float]]

    def learning_rate(self, sizes: Mapping[str, float]) -> float:
        """Returns the learning rate of a task with these sizes; raises KeyError where one is missing."""
        moved = sum(e * np.log(sizes[name] / self.references[name]) for name, e in self.exponents.items())
        return float(np.exp(self.constant + moved))

    def document(self) -> dict[str, Any]:
        """Returns the rule as the contract has it, its exponents and regrets beside it."""
        terms = [f"({n}/{self.references[n]:g})^{e:.2f}" for n, e in self.exponents.items()]
        return {
            "hyperparameter": "learning_rate",
            "formula": " * ".join([f"{np.exp(self.constant):.2g}", *terms]),
            "exponents": {name: list(interval) for name, interval in self.intervals.items()},
            "estimates": dict(self.exponents),
            "held_out_regret": {"mean": self.held_out_regret, "constant": self.constant_held_out_regret,
                                "tasks": self.tasks},
        }  # fmt: skip


def scale_rules(sweeps: Sequence[Sweep]) -> list[Rule]:
    """Returns the rule that the tasks support, in a list; an empty one where the constant is kept."""
    found = [o for o in map(optimum_of, sweeps) if o is not None and np.isfinite(o.error) and o.error > 0]
    rule = rule_of(found)
    return [] if rule is None else [rule]


def rule_of(optima: Sequence[Optimum]) -> Rule | None:
    """Returns the rule for the best learning rate over tasks; None where none beats the best constant."""
    chosen = _choose(optima)
    if chosen is None:
        return None
    names, fit = chosen
    ruled, constant = _held_out(optima)
    if not ruled < constant:
        return None
    means = {n: _round_reference(float(np.exp(np.mean([o.facts[n] for o in optima])))) for n in names}
    at_reference = fit.beta[0] + sum(b * np.log(means[n]) for n, b in zip(names, fit.beta[1:], strict=True))
    half = stats.t.ppf(0.975, fit.freedom) * fit.errors[1:]
    exponents = {n: float(b) for n, b in zip(names, fit.beta[1:], strict=True)}
    intervals = {n: (e - float(h), e + float(h)) for (n, e), h in zip(exponents.items(), half, strict=True)}
    logs = {n: [o.facts[n] for o in optima] for n in names}
    spans = {n: (float(np.exp(min(known))), float(np.exp(max(known)))) for n, known in logs.items()}
    return Rule(float(at_reference), means, exponents, intervals, ruled, constant, len(optima), spans)


@dataclass(frozen=True)
class _Fit:
    beta: FloatArray
    errors: FloatArray
    covariance: FloatArray
    freedom: int

    @property
    def p_value(self) -> float:
        """Of no term but the constant: Wald's F with the covariance of Knapp and Hartung."""
        terms = self.beta.size - 1
        wald = float(self.beta[1:] @ np.linalg.solve(self.covariance[1:, 1:], self.beta[1:])) / terms
        return float(stats.f.sf(wald, terms, self.freedom))

    @property
    def p_values(self) -> FloatArray:
        """Of each term but the constant."""
        return np.asarray(2 * stats.t.sf(np.abs(self.beta[1:] / self.errors[1:]), self.freedom))


def _choose(optima: Sequence[Optimum]) -> tuple[list[str], _Fit] | None:
    """The terms that stay of all, if all together are significant."""
    names = _moderators(optima) if len(optima) >= FEWEST_TASKS else []
    if not names:
        return None
    fit = _meta_regression(optima, names)
    if fit.p_value > LEVEL:
        return None
    while len(names) > 1 and fit.p_values.max() > DROP:
        names = [n for i, n in enumerate(names) if i != int(fit.p_values.argmax())]
        fit = _meta_regression(optima, names)
    return (names, fit) if fit.p_value <= LEVEL else None


def _moderators(optima: Sequence[Optimum]) -> list[str]:
    """The sizes that all tasks know and that differ, no two alike, no more than the number of tasks bears."""
    names: list[str] = []
    for name in FACTS:
        if any(name not in o.facts for o in optima):
            continue
        values = np.array([o.facts[name] for o in optima])
        varies = np.ptp(values) > np.log(1.5) or any(name in o.slopes for o in optima)
        if varies and not _repeats(optima, names, values):
            names.append(name)
    return names[: max(len(optima) - 1 - SPARE, 0) // 2 or 1]


def _repeats(optima: Sequence[Optimum], names: Sequence[str], values: FloatArray) -> bool:
    """Whether the other sizes already say what this one does: multiple correlation over the tasks."""
    if not names or np.ptp(values) == 0:
        return False
    design = np.column_stack([np.ones(values.size), *([o.facts[n] for o in optima] for n in names)])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(left @ left) < (1 - ALIKE**2) * float(((values - values.mean()) ** 2).sum())


def _meta_regression(optima: Sequence[Optimum], names: Sequence[str]) -> _Fit:
    design = np.array([[1.0, *(o.facts[n] for n in names)] for o in optima])
    y, variance = np.array([o.log_rate for o in optima]), np.array([o.error**2 for o in optima])
    slope_rows = [(j, o.slopes[n]) for o in optima for j, n in enumerate(names, 1) if n in o.slopes]
    between = _paule_mandel(design, y, variance)
    y = np.append(y, [s for _, (s, _) in slope_rows])
    weights = 1 / np.append(variance + between, _slope_variances(slope_rows))
    design = np.vstack([design, *(np.eye(design.shape[1])[j][None] for j, _ in slope_rows)])
    information = (design * weights[:, None]).T @ design
    inverse = np.linalg.pinv(information)
    beta = inverse @ (design * weights[:, None]).T @ y
    freedom = len(optima) - len(names) - 1
    spare = y.size - design.shape[1]
    inflation = max(1.0, float(weights @ (y - design @ beta) ** 2) / spare)
    covariance = inverse * inflation
    return _Fit(beta, np.sqrt(np.diag(covariance)), covariance, freedom)


def _slope_variances(rows: Sequence[tuple[int, tuple[float, float]]]) -> list[float]:
    """Of each task's own slope: its error, and how far the tasks' slopes of that size differ beyond their errors."""
    found = []
    for j, (_, error) in rows:
        same = [(s, e) for k, (s, e) in rows if k == j]
        slopes, errors = np.array(same).T
        between = _paule_mandel(np.ones((slopes.size, 1)), slopes, errors**2) if slopes.size > 1 else 0.0
        found.append(error**2 + between)
    return found


def _paule_mandel(design: FloatArray, y: FloatArray, variance: FloatArray) -> float:
    """The variance between tasks at which the weighted residuals are as large as their degrees of freedom."""
    freedom = int(y.size - design.shape[1])
    if freedom < 1:
        return 0.0

    def excess(between: float) -> float:
        root = 1 / np.sqrt(variance + between)
        scaled, target = design * root[:, None], y * root
        left = target - scaled @ np.linalg.lstsq(scaled, target, rcond=None)[0]
        return float(np.sum(left**2)) - freedom

    if excess(0.0) <= 0:
        return 0.0
    low: float = 0.0
    high: float = float(np.var(y)) * y.size + float(variance.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


def _held_out(optima: Sequence[Optimum]) -> tuple[float, float]:
    """The mean regrets on tasks left out, of the rule of the others and of their best constant."""
    ruled, constant = [], []
    for i, out in enumerate(optima):
        others = [o for j, o in enumerate(optima) if j != i]
        fixed = best_constant(others)
        chosen = _choose(others)
        rate = fixed
        if chosen is not None:
            names, fit = chosen
            rate = float(fit.beta[0] + fit.beta[1:] @ np.array([out.facts[n] for n in names]))
        ruled.append(out.regret_at(rate))
        constant.append(out.regret_at(fixed))
    return float(np.mean(ruled)), float(np.mean(constant))


def best_constant(optima: Sequence[Optimum]) -> float:
    """Returns the natural logarithm of the one learning rate with the least mean regret over the tasks."""
    places = np.linspace(min(o.log_rate for o in optima), max(o.log_rate for o in optima), 201)
    regrets = [np.mean([o.regret_at(float(place)) for o in optima]) for place in places]
    return float(places[int(np.argmin(regrets))])


def _round_reference(value: float) -> float:
    """To one digit, a power of two where that is as near: sizes are typed so."""
    two = float(2 ** round(np.log2(value)))
    return two if value < 5000 else float(f"{value:.0e}")
