"""What the runs of several tasks say of a task that nobody has seen: draws of its regret over candidates.

A Gaussian process over all tasks. The square root of normalised regret (near the best, where it matters, differences
are small) of task t at x is a constant, a function that all tasks share, and one of the task's own; both functions have
the same Matérn 5/2 kernel with a length for each hyperparameter (Rasmussen & Williams 2006, chapters 4 and 5; the
intrinsic coregionalisation of Bonilla, Chai & Williams 2008, with one correlation for all pairs of tasks). Lengths,
signal and noise are those of the highest posterior of the tasks taken one by one.

An unseen task is one of the known ones, drawn at random and moved by half of what the process leaves open: a smoothed
bootstrap over tasks. A list that is good on average over such draws spreads over what tasks differ in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from hpkb.recommend.candidates import Configuration
from hpkb.recommend.regret import CAP, configuration_means
from hpkb.sweep import BoolArray, FloatArray, IntArray, Sweep

SHARED = 0.5  # correlation of the tasks' functions
TOGETHER = 1_200  # configurations of all tasks that the process rests on
FITTED = 100  # configurations of a task that lengths are fitted to, of at most FITTED_TASKS
FITTED_TASKS = 8
STEPS = 12
BEST = 250  # candidates with the lowest mean that draws are made for
DRAWS = 25  # a task
OPEN = 0.5  # of the standard deviation that the process leaves open
CONSTANT, CONSTANT_OF_TASK = 0.3, 0.2  # prior variances of the constants, in variances of y
LENGTH = float(np.log(0.6))  # prior centre of the logarithm, in the range of what was tried
ABSENT = 0.5  # distance of a value that is absent, or of two levels of a category, in that range


@dataclass(frozen=True)
class Space:
    """The columns that tasks are laid side by side in, each number from 0 to 1 over what all of them tried."""

    names: tuple[str, ...]
    low: dict[str, float]
    high: dict[str, float]
    logs: frozenset[str]
    levels: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, sweeps: Sequence[Sweep], names: Sequence[str]) -> Space:
        """The space over those of the named hyperparameters that a sweep varies."""
        low, high, levels, logs = {}, {}, {}, set()
        for name in names:
            varied = [h for s in sweeps if (h := s.hyperparameter(name)) is not None]
            if not varied:
                continue
            if any(h.scale == "category" for h in varied):
                levels[name] = tuple(sorted({level for h in varied for level in h.levels}))
                continue
            if any(h.scale == "log" for h in varied):
                logs.add(name)
            tried = np.concatenate([h.values[~np.isnan(h.values)] for h in varied])
            positive = tried[tried > 0]
            if name in logs:  # an exact 0 stands one decade below, as in `Hyperparameter.transformed`
                floor = float(positive.min()) / 10 if positive.size else 1.0
                tried = np.log(np.maximum(tried, floor))
            low[name], high[name] = float(tried.min()), float(tried.max())
        return cls(tuple(n for n in names if n in low or n in levels), low, high, frozenset(logs), levels)

    def with_range(self, name: str, low: float, high: float, is_log: bool) -> Space:
        """The space with a hyperparameter that reaches at least from low to high, be it a new one."""
        if name in self.levels:
            return self
        is_new = name not in self.low
        logs = self.logs | {name} if is_new and is_log else self.logs
        ends = [float(np.log(max(x, 1e-12))) if name in logs else x for x in (low, high)]
        return replace(
            self, names=(*self.names, name) if is_new else self.names, logs=logs,
            low=self.low | {name: min(ends[0], self.low.get(name, ends[0]))},
            high=self.high | {name: max(ends[1], self.high.get(name, ends[1]))},
        )  # fmt: skip

    def with_levels(self, name: str, levels: Sequence[str]) -> Space:
        """The space with a category that has at least these levels, be it a new one."""
        if name in self.low:
            return self
        names = self.names if name in self.levels else (*self.names, name)
        together = tuple(sorted({*self.levels.get(name, ()), *levels}))
        return replace(self, names=names, levels=self.levels | {name: together})

    def encode(self, configurations: Sequence[Configuration]) -> FloatArray:
        """The configurations as rows, (n, columns)."""
        return np.column_stack([column for name in self.names for column in self._columns(name, configurations)])

    def _columns(self, name: str, configurations: Sequence[Configuration]) -> list[FloatArray]:
        values = [c.get(name) for c in configurations]
        if name in self.levels:
            texts = [v if isinstance(v, str) or v is None else f"{v:g}" for v in values]
            return [ABSENT / 2**0.5 * np.array([t == level for t in texts], np.float64) for level in self.levels[name]]
        numbers = np.array([v if isinstance(v, float | int) else np.nan for v in values], dtype=np.float64)
        absent = np.isnan(numbers)
        if name in self.logs:
            numbers = np.log(np.maximum(numbers, np.exp(self.low[name])))
        spread = max(self.high[name] - self.low[name], 1e-12)
        placed = np.where(absent, 0.5, np.clip((numbers - self.low[name]) / spread, -0.02, 1.02))
        return [placed, ABSENT * absent]


@dataclass(frozen=True)
class Evidence:
    """What tasks have measured: rows (n, columns), of each its task's number, its regret and how many runs it had."""

    rows: FloatArray
    task: IntArray
    regret: FloatArray
    runs: FloatArray

    def only(self, keep: BoolArray) -> Evidence:
        """The part of it."""
        return Evidence(self.rows[keep], self.task[keep], self.regret[keep], self.runs[keep])


def evidence(scaled: Sequence[Sweep], space: Space, read: Sequence[Sequence[Configuration]], seed: int) -> Evidence:
    """Returns what sweeps on the scale of regret have measured, at most `TOGETHER` configurations, drawn at random.

    `read` holds the configurations of each sweep, in the order of their numbers.
    """
    rng = np.random.default_rng([seed, 3])
    share = max(TOGETHER // max(len(scaled), 1), 20)
    parts = []
    for number, (sweep, configurations) in enumerate(zip(scaled, read, strict=True)):
        some = np.sort(rng.permutation(len(configurations))[:share])
        rows = space.encode([configurations[i] for i in some])
        regret, runs = configuration_means(sweep, sweep.y)[some], np.bincount(sweep.configuration)[some]
        parts.append((rows, np.full(some.size, number), regret, np.minimum(runs, 10).astype(np.float64)))
    rows, task, regret, runs = zip(*parts, strict=True)
    return Evidence(np.concatenate(rows), np.concatenate(task), np.concatenate(regret), np.concatenate(runs))


@dataclass(frozen=True)
class Kernel:
    """Natural logarithms fitted to the tasks one by one: lengths (columns,), signal and noise variance."""

    lengths: FloatArray
    signal: float
    noise: float

    def between(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """The kernel between rows of a and of b, (len(a), len(b))."""
        a, b = a / np.exp(self.lengths), b / np.exp(self.lengths)
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.asarray(np.exp(self.signal) * _matern(np.maximum(squares, 0.0))[0])


def fit_kernel(known: Evidence, seed: int) -> Kernel:
    """Returns the kernel of the highest sum of the tasks' posteriors; every task is in units of its own spread."""
    rng = np.random.default_rng([seed, 4])
    data = []
    for task in rng.permutation(np.unique(known.task))[:FITTED_TASKS]:
        rows = rng.permutation(np.flatnonzero(known.task == task))[:FITTED]
        y = np.sqrt(known.regret[rows])
        if rows.size > 2 and y.std() > 0:
            x = known.rows[rows].T
            squares = ((x[:, :, None] - x[:, None, :]) ** 2).reshape(len(x), -1)
            data.append((squares, (y - y.mean()) / y.std(), known.runs[rows]))
    start = np.append(np.full(known.rows.shape[1], LENGTH), [0.0, -2.0])
    if data:
        bounds = [(-3.5, 3.0)] * known.rows.shape[1] + [(-4.0, 3.0), (-8.0, 2.0)]
        options = {"maxiter": STEPS}
        start = minimize(_loss, start, (data, start), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Kernel(start[:-2], float(start[-2]), float(start[-1]))


def _matern(squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matérn 5/2 of squared distances, and minus twice its derivative by them."""
    r = np.sqrt(5 * squares)
    fall = np.exp(-r)
    return (1 + r + r**2 / 3) * fall, (5 / 3) * (1 + r) * fall


def _loss(
    theta: FloatArray, data: Sequence[tuple[FloatArray, FloatArray, FloatArray]], prior: FloatArray
) -> tuple[float, FloatArray]:
    """Minus the logarithm of the posterior and its gradient (Rasmussen & Williams 2006, equations 5.8 and 5.9)."""
    d = theta.size - 2
    widths = np.append(np.ones(d), [1.0, 1.5])
    off = (theta - prior) / widths
    loss, gradient = 0.5 * float(off @ off), off / widths
    inverse_squares, signal, noise = np.exp(-2 * theta[:d]), np.exp(theta[-2]), np.exp(theta[-1])
    for squares, y, runs in data:
        n = y.size
        k, slope = (m.reshape(n, n) for m in _matern(inverse_squares @ squares))
        lower = cholesky(signal * k + CONSTANT + CONSTANT_OF_TASK + np.diag(noise / runs + 1e-6), lower=True)
        inverse = cho_solve((lower, True), np.eye(n))
        alpha = inverse @ y
        inner = inverse - np.outer(alpha, alpha)
        loss += 0.5 * float(y @ alpha) + float(np.log(np.diag(lower)).sum())
        by_length = inverse_squares * (squares @ (inner * slope * signal).ravel())
        by_noise = noise * float((np.diag(inner) / runs).sum())
        gradient = gradient + 0.5 * np.append(by_length, [signal * float((inner * k).sum()), by_noise])
    return loss, gradient


@dataclass(frozen=True)
class Population:
    """The process over the tasks given to `fit`; `tasks` are their numbers."""

    kernel: Kernel
    known: Evidence
    tasks: IntArray
    centre: float
    spread: float
    lower: FloatArray
    alpha: FloatArray

    @classmethod
    def fit(cls, known: Evidence, seed: int) -> Population:
        """The process fitted to the evidence."""
        kernel = fit_kernel(known, seed)
        y = np.sqrt(known.regret)
        centre, spread = float(y.mean()), float(y.std()) or 1.0
        same = known.task[:, None] == known.task
        covariance = kernel.between(known.rows, known.rows) * np.where(same, 1.0, SHARED)
        covariance += np.where(same, CONSTANT + CONSTANT_OF_TASK, CONSTANT)
        covariance[np.diag_indices(y.size)] += np.exp(kernel.noise) / known.runs + 1e-6
        lower = cholesky(covariance, lower=True)
        alpha = cho_solve((lower, True), (y - centre) / spread)
        return cls(kernel, known, np.unique(known.task), centre, spread, lower, alpha)

    def roots(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The predicted square roots of regret on each task, (tasks, n), and the shared part of the kernel, (n, m)."""
        kernel = self.kernel.between(rows, self.known.rows)
        shared = SHARED * kernel + CONSTANT
        own = (1 - SHARED) * kernel + CONSTANT_OF_TASK
        at = [shared @ self.alpha + own @ np.where(self.known.task == t, self.alpha, 0.0) for t in self.tasks]
        return self.centre + self.spread * np.stack(at), shared

    @property
    def variance(self) -> float:
        """The variance of a task's function before anything is known, in units of the process."""
        return float(np.exp(self.kernel.signal)) + CONSTANT + CONSTANT_OF_TASK

    def placed(self, regrets: FloatArray) -> FloatArray:
        """Regrets in units of the process."""
        return (np.sqrt(regrets) - self.centre) / self.spread

    def unseen_task(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The mean of an unseen task at rows, (n,), in units of the process, and W (evidence, n): given the known
        tasks, the covariance between a and b is the kernel with the constants less W(a).T @ W(b).
        """
        shared = SHARED * self.kernel.between(self.known.rows, rows) + CONSTANT
        whitened = solve_triangular(self.lower, shared, lower=True)
        return shared.T @ self.alpha, np.asarray(whitened)

    def regrets(self, rows: FloatArray) -> FloatArray:
        """The predicted regret on each task, (tasks, n)."""
        return np.asarray(np.clip(self.roots(rows)[0], 0.0, CAP**0.5) ** 2)

    def unseen(self, rows: FloatArray, seed: int) -> tuple[IntArray, FloatArray]:
        """Draws of an unseen task's regret: the numbers of the best candidates (m,), and draws there (draws, m)."""
        roots, shared = self.roots(rows)
        mean = (np.clip(roots, 0.0, CAP**0.5) ** 2).mean(axis=0)
        best = np.sort(np.argsort(mean, kind="stable")[:BEST])
        explained = shared[best] @ cho_solve((self.lower, True), shared[best].T)
        left = self.kernel.between(rows[best], rows[best]) + CONSTANT - explained
        values, vectors = np.linalg.eigh((left + left.T) / 2)
        draws = np.repeat(np.arange(self.tasks.size), DRAWS)
        rng = np.random.default_rng([seed, 5])
        noise = (rng.standard_normal((draws.size, best.size)) * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        drawn = roots[draws][:, best] + OPEN * self.spread * noise
        return best, np.asarray(np.clip(drawn, 0.0, CAP**0.5) ** 2)
