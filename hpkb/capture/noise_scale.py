"""The gradient noise scale, from what single batches tell of the scatter of their examples' gradients.

A batch of n examples with gradients g_i gives two numbers that are unbiased at the very parameters it was computed
at: the mean product of two *different* examples' gradients, with expectation ‖G‖², and the mean ‖g_i‖², with
expectation ‖G‖² + tr(Σ). This is the estimator with two batch sizes of McCandlish et al. (2018, "An Empirical Model
of Large-Batch Training", appendix A), the smaller batch being a part of the larger one. Products of successive steps'
gradients, or of a gradient with the optimizer's momentum, need no second batch either, but the step taken on the
noise of the first enters the second, and where training oscillates they are far off, even negative.

Both numbers flicker from step to step by far more than their ratio does, and late in training a few peaks would rule
their means: the ratio of the means may lie at a fifth of the noise scale of a typical step, and its error is half of
itself where that of a mean of ratios is a sixth. So each sample counts relative to its own surroundings: its product
of two examples is divided by the mean square around it. The mean of these shares ρ = ‖G‖²/(‖G‖² + tr(Σ)) over the
last steps gives the noise scale 1/ρ - 1, a harmonic mean of those of the steps. The surroundings have no fewer than
128 examples, as the squares of the examples' gradients have long tails: a typical small batch holds none of the hard
ones that make up most of tr(Σ), and divided by its own square alone it would tell up to four times the share.

A value is told where the 90% interval of the share lies within half of it and one and a half times it. One sample of n
examples leaves ρ uncertain by some sqrt(2/d)/n, with d directions of noise, so that it takes about 22 (B/n)²/d
samples for a noise scale of B: where the most of a training has fewer, nothing is told. The gradient's
products with the optimizer's momentum would be far less noisy, but where learning rates are as large as they can be,
the gradient turns round within a few steps: of small networks they come out between -0.3 and 0.3 of ‖G‖² and the
squared norm of the momentum, less its noise, between -0.3 and 0.7.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional  # torch has imported it by now

_WINDOWS = (0.7, 0.4)  # they begin at these shares of the steps so far
_SHORTEST = 25  # steps that they span at least
_FEWEST = 16  # samples without which there is no estimate
_KNOWN = 0.5 / 1.645  # standard error of a share in itself, at most: its 90% interval reaches half of it to either side
_EXAMPLES = 128  # in the surroundings of a sample, at least
_KEPT = 400  # samples; more are merged two by two


class Sample(NamedTuple):
    """What n examples tell around one step: the mean product of two of their gradients, and the mean of the squares."""

    step: int
    n: int
    product: float
    square: float


class Estimate(NamedTuple):
    """tr(Σ), ‖G‖² and their ratio, the noise scale, in examples, over the steps since one of them."""

    noise_scale: float
    trace: float
    squared_norm: float
    since: int


class Share(NamedTuple):
    """The mean of ‖G‖²/(‖G‖² + tr(Σ)) and its standard error."""

    mean: float
    error: float


class NoiseScale:
    """The samples of a training and what follows from them."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def add(self, step: int, n: int, product: float, square: float, population: Optional[int] = None) -> bool:
        """Whether the sample counts: finite and with some gradient at all.

        Examples drawn without replacement from a `population` push each other apart: their products are smaller
        by tr(Σ)/(N - 1), with Σ and G those of the population.
        """
        if not (math.isfinite(product) and math.isfinite(square) and square > 0):
            return False
        if population is not None and population > 1:
            product += (square - product) / population
        self._samples.append(Sample(step, n, product, square))
        if len(self._samples) > _KEPT:
            self._samples = _merged(_window(self._samples, _WINDOWS[-1]))
        return True

    def estimate(self) -> Optional[Estimate]:
        """Returns the estimate for the latest steps; None while the share of ‖G‖² is not known well enough."""
        for share in _WINDOWS:
            window = _window(self._samples, share)
            if len(window) < _FEWEST:
                continue
            groups = _groups(window)
            found = _share(groups)
            if 0 < found.mean < 1 and found.error <= _KNOWN * found.mean:
                noise_scale, trace = 1 / found.mean - 1, _typical_trace(groups)
                return Estimate(noise_scale, trace, trace / noise_scale, window[0].step)
        return None


def _window(samples: list[Sample], share: float) -> list[Sample]:
    """Returns the latest samples, from a share of the steps so far on."""
    if not samples:
        return samples
    latest = samples[-1].step
    first = min(share * latest, latest - _SHORTEST)
    return [sample for sample in samples if sample.step >= first]


def _merged(samples: list[Sample]) -> list[Sample]:
    """Returns half as many samples, the means of two neighbours each; an odd one at the end is left as it is."""
    if len(samples) <= _KEPT // 2:
        return samples
    pairs = zip(samples[::2], samples[1::2])
    merged = [Sample(b.step, a.n + b.n, (a.product + b.product) / 2, (a.square + b.square) / 2) for a, b in pairs]
    return merged + samples[2 * len(merged) :]


def _groups(window: list[Sample]) -> list[list[Sample]]:
    """Returns samples in groups of neighbours with enough examples; what is left over joins the last group."""
    groups: list[list[Sample]] = []
    group: list[Sample] = []
    for sample in window:
        group.append(sample)
        if sum(one.n for one in group) >= _EXAMPLES:
            groups.append(group)
            group = []
    if groups:
        groups[-1].extend(group)
    return groups or [group]


def _share(groups: list[list[Sample]]) -> Share:
    """Returns the mean share over all samples, each as important as it has examples."""
    shares = [(sample.n, sample.product / _mean_square(group)) for group in groups for sample in group]
    count, total = len(shares), sum(n for n, _ in shares)
    mean = sum(n * share for n, share in shares) / total
    scatter = sum((n * (share - mean)) ** 2 for n, share in shares)
    return Share(mean, math.sqrt(scatter * count / (count - 1)) / total)


def _mean_square(group: list[Sample]) -> float:
    return sum(sample.n * sample.square for sample in group) / sum(sample.n for sample in group)


def _typical_trace(groups: list[list[Sample]]) -> float:
    """Returns the median of the groups' tr(Σ)."""
    traces = [sum(s.n * (s.square - s.product) for s in group) / sum(s.n for s in group) for group in groups]
    return sorted(traces)[len(traces) // 2]
