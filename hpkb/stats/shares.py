"""The share of configurations that show a sign, tested against how often clean ones would; and a typical value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc
from scipy.stats import binom

from hpkb.stats.curves import by_configuration
from hpkb.stats.feasibility import wilson
from hpkb.sweep import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Share:
    """The mean over configurations of the share of their runs, with Wilson's 95% interval.

    `p_value` is that of no more configurations showing the sign in most of their runs than false alarms would.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    n_configurations: int


def share_of(shown: BoolArray, known: BoolArray, configuration: IntArray, false_alarms: float) -> Share | None:
    """The share among runs of which it is known, (n_runs,) each; None where there are none.

    Runs of one configuration are no independent evidence: the interval is that of as many configurations, or of more
    where their shares scatter less than single runs would. Most of a configuration's runs show a false alarm at most
    twice as often as one (Markov's inequality), whatever they have in common; the test is binomial and exact.
    """
    rows = np.flatnonzero(known)
    if not rows.size:
        return None
    of_each = by_configuration(shown[rows].astype(np.float64), configuration[rows])
    k, mean = of_each.size, float(of_each.mean())
    spread = float(of_each.var(ddof=1)) if k > 1 else 0.0
    worth = float(np.clip(k * mean * (1 - mean) / spread, k, rows.size)) if spread > 0 else float(k)
    rate = false_alarms * (2.0 if rows.size > k else 1.0)
    count = int((of_each > 0.5).sum())
    p = float(bdtrc(count - 1, k, rate)) if count else 1.0
    return Share(mean, *wilson(mean, worth), p, k)


def median_of(values: FloatArray) -> tuple[float, float | None, float | None] | None:
    """The median with its 95% interval between order statistics, exact whatever the distribution; None for nothing.

    The interval is None below six values, where no two of them make one.
    """
    known = np.sort(values[np.isfinite(values)])
    if not known.size:
        return None
    place = int(binom.ppf(0.025, known.size, 0.5))
    middle = float(np.median(known))
    return (middle, float(known[place - 1]), float(known[-place])) if place >= 1 else (middle, None, None)
