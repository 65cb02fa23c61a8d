"""The signs that each run of a task shows on its curves, with the reason in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hpkb.miners._curves import Watched
from hpkb.stats.curve_shape import RISE, SURE, Shapes, rises_between, shapes, stuck, underfits
from hpkb.sweep import BoolArray, FloatArray, Sweep

#: Of each sign, which runs show it and of which runs that is known, (n_runs,) each.
Shown = Mapping[str, tuple[BoolArray, BoolArray]]


@dataclass(frozen=True)
class Signs:
    """What the runs of a task show; `best_share` and `clipped` (n_runs,), NaN where unknown.

    `watched` and the shapes of its curve and of training's are None where no run has curves that tell.
    """

    best_share: FloatArray
    clipped: FloatArray
    shown: Shown = field(default_factory=dict)
    reasons: tuple[tuple[str, ...], ...] = ()
    watched: Watched | None = None
    of_metric: Shapes | None = None
    of_training: Shapes | None = None

    @property
    def metric(self) -> str:
        """The metric whose curves are told from."""
        return self.watched.metric if self.watched else "no metric"

    def lacking(self, quantity: str) -> str:
        """What is missing for a sign to be told."""
        if quantity == "clipped_step_share":
            return "no run records how many of its steps were clipped"
        if self.watched is None:
            return "no run has a curve of ten points of a metric of validation or test data"
        return "no run has a curve of its training"

    def caveats(self, quantity: str) -> tuple[str, ...]:
        """What has to be said beside a share."""
        if quantity == "clipped_step_share" or self.watched is None:
            return ()
        found = []
        if quantity == "overfit_share" and self.watched.training is None:
            found.append("There is no curve of training: runs that get worse in training as well count as overfitting.")
        if quantity == "still_improving_share":
            found.append("Low learning rates improve to the end; what matters is whether the best run does.")
        return tuple(found)


def signs_of(sweep: Sweep, watched: Watched | None) -> Signs:
    """What each run of a sweep shows; of runs that are infeasible or have no curve nothing is known."""
    n, nothing = sweep.n_runs, np.full(sweep.n_runs, np.nan)
    clipped = _clipped(sweep)
    shown: dict[str, tuple[BoolArray, BoolArray]] = {}
    if np.isfinite(clipped).any():
        shown["clipped_step_share"] = (np.nan_to_num(clipped) > 0.5, np.isfinite(clipped))
    if watched is None:
        return Signs(nothing, clipped, shown, _reasons(sweep, shown, {}))
    curve = shapes(watched.panel())
    training = shapes(watched.panel(watched.training)) if watched.training else None
    best = nothing.copy()
    best[watched.rows] = curve.best_share
    numbers = {}
    for name, (which, known) in _of_curves(curve, training).items():
        whole = np.zeros((2, n), dtype=bool)
        whole[0, watched.rows], whole[1, watched.rows] = which & known, known
        shown[name] = (whole[0], whole[1])
    for name, values in _numbers(curve, training).items():
        numbers[name] = nothing.copy()
        numbers[name][watched.rows] = values
    return Signs(best, clipped, shown, _reasons(sweep, shown, {**numbers, "best": best}), watched, curve, training)


def _of_curves(curve: Shapes, training: Shapes | None) -> Shown:
    known = curve.known
    risen = np.zeros_like(known)
    if training is not None:
        rise, p = rises_between(training.of_windows, training.height, np.nan_to_num(curve.best_share))
        risen = training.known & (rise >= RISE) & (p <= SURE)
    found = {
        "overfit_share": (curve.turns & ~risen, known),
        "still_improving_share": (curve.still_improving, known),
        "early_best_share": (curve.early, known),
        "late_noise_share": (curve.noisy, known),
        "unstable_share": ((training or curve).unstable | curve.unstable, known),
        "plateau_share": (stuck(curve), known),
        "saturated": (curve.flat & ~stuck(curve), known),
    }
    if training is not None:
        under, _ = underfits(training)
        found |= {
            "underfit_share": (under & ~found["overfit_share"][0], training.known),
            "training_rising_share": (training.turns, training.known),
        }
    return found


def _numbers(curve: Shapes, training: Shapes | None) -> dict[str, FloatArray]:
    """The size of each departure, to be told with the reason."""
    found = {"rise": curve.rise, "gain": curve.gain, "scatter": curve.scatter}
    found["spikes"] = np.maximum(curve.spikes, training.spikes if training else 0)
    if training is not None:
        found |= {"way": underfits(training)[1], "training_rise": training.rise}
    return found


_WORDS = {
    "overfit_share": "overfits: {metric} ends {rise:.0%} of its way above its best, which was at {best:.0%} of the run",
    "underfit_share": "underfits: training went {way:.0%} of the way that the best runs went",
    "still_improving_share": "still improving: by {gain:.0%} of its way over the last eighth of the run",
    "early_best_share": "best at {best:.0%} of the run, worse after it",
    "late_noise_share": "late noise: values scatter by {scatter:.0%} of its way",
    "unstable_share": "{spikes:.0f} spikes",
    "plateau_share": "stands still over the second half, above what other runs reach",
    "saturated": "saturated: no change over the second half",
    "training_rising_share": "training ends {training_rise:.0%} of its way above its best",
    "clipped_step_share": "{clipped:.0%} of the steps clipped",
}


def _reasons(sweep: Sweep, shown: Shown, numbers: Mapping[str, FloatArray]) -> tuple[tuple[str, ...], ...]:
    """What each run shows, in words."""
    found: list[list[str]] = [["infeasible"] if bad else [] for bad in sweep.infeasible]
    clipped = _clipped(sweep)
    for name, (which, _) in shown.items():
        for run in np.flatnonzero(which):
            values = {key: float(array[run]) for key, array in numbers.items()}
            found[run].append(_WORDS[name].format(metric="it", clipped=float(clipped[run]), **values))
    return tuple(tuple(reasons) for reasons in found)


def _clipped(sweep: Sweep) -> FloatArray:
    """The share of each run's steps whose gradients were clipped, as measured, or from their norms and the bound."""
    measured = sweep.records.numbers("gradient_clip_share")
    curves = sweep.records.curves("grad_norm")
    if np.isfinite(measured).all() or not any(c is not None for c in curves):
        return measured
    h, fixed = sweep.hyperparameter("gradient_clip_norm"), sweep.fixed.get("gradient_clip_norm")
    bound = h.values if h is not None else np.full(sweep.n_runs, _number(fixed))
    of_norms = np.full(sweep.n_runs, np.nan)
    for run in np.flatnonzero(np.isfinite(bound) & (bound > 0) & ~np.isfinite(measured)):
        curve = curves[run]
        if curve is not None and (there := np.isfinite(curve.value)).any():
            of_norms[run] = (curve.value[there] > bound[run]).mean()
    return np.where(np.isfinite(measured), measured, of_norms)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
