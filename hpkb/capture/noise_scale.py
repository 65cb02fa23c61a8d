"""The gradient noise scale, from what single batches tell of the scatter of their examples' gradients.

A batch of n examples with gradients g_i gives two numbers that are unbiased at the very parameters it was computed
at: the mean product of two *different* examples' gradients, with expectation ‖G‖², and the mean ‖g_i‖², with
expectation ‖G‖² + tr(Σ). This is the estimator with two batch sizes of McCandlish et al. (2018, "An Empirical Model
of Large-Batch Training", appendix A), the smaller batch being a part of the larger one. Products of successive steps'
gradients, or of a gradient with the optimizer's momentum, need no second batch either, but the step taken on the
noise of the first enters the second, and where training oscillates they are far off, even negative.

The two are smoothed apart before they are divided, over the last steps where ‖G‖² stands out of its noise in them, else
over up to half of the training. ‖G‖² flickers, and its peaks would rule a mean for long. So the mean is taken in
blocks, as many as the noise allows, and of those the median.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional  # torch has imported it by now

_WINDOWS = (0.85, 0.7, 0.5)  # they begin at these shares of the steps so far
_SHORTEST = 25  # steps that they span at least
_OUTSTANDING = 4.0  # standard errors above zero of the mean that make a shorter window do
_FEWEST = 5  # samples without which there is no estimate
_BLOCKS = 15  # at most; an odd number
_CLEAR = 1.3  # standard errors that the mean must be above zero
_SIGNIFICANT = 0.7  # standard errors that a block's mean should be above zero; less gives noise, more the mean
_KEPT = 400  # samples; more are merged two by two


class Sample(NamedTuple):
    """What batches tell around one step: the mean product of two examples' gradients, and the mean of their squares."""

    step: int
    product: float
    square: float


class Estimate(NamedTuple):
    """tr(Σ), ‖G‖² and their ratio, the noise scale, in examples."""

    noise_scale: float
    trace: float
    squared_norm: float


class NoiseScale:
    """The samples of a training and what follows from them."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def add(self, step: int, product: float, square: float, population: Optional[int] = None) -> bool:
        """Whether the sample counts: finite and with some gradient at all.

        Examples drawn without replacement from a `population` push each other apart: their products are smaller
        by tr(Σ)/(N - 1), with Σ and G those of the population.
        """
        if not (math.isfinite(product) and math.isfinite(square) and square > 0):
            return False
        if population is not None and population > 1:
            product += (square - product) / population
        self._samples.append(Sample(step, product, square))
        if len(self._samples) > _KEPT:
            self._samples = _merged(_window(self._samples, _WINDOWS[-1]))
        return True

    def estimate(self) -> Optional[Estimate]:
        """Returns the estimate for the latest step; None while ‖G‖² does not stand out of its own noise."""
        for share in _WINDOWS:
            window = _window(self._samples, share)
            if len(window) < _FEWEST:
                continue
            products = [sample.product for sample in window]
            if share != _WINDOWS[-1] and _significance(products) < _OUTSTANDING:
                continue
            squared_norm = _typical(products)
            trace = sum(sample.square - sample.product for sample in window) / len(window)
            if squared_norm is not None and trace > 0:
                return Estimate(trace / squared_norm, trace, squared_norm)
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
    merged = [Sample(b.step, (a.product + b.product) / 2, (a.square + b.square) / 2) for a, b in pairs]
    return merged + samples[2 * len(merged) :]


def _typical(values: list[float]) -> Optional[float]:
    """Returns the median of block means, None where the mean is not clearly above zero.

    Blocks are as long as it takes for their means to be above zero. Their median is what is typical, where fewer
    would give the mean, which peaks rule, and more would give noise.
    """
    count, significance = len(values), _significance(values)
    if not significance >= _CLEAR:
        return None
    blocks = max(1, int(min(_BLOCKS, count, (significance / _SIGNIFICANT) ** 2)))
    blocks -= 1 - blocks % 2
    parts = [values[index * count // blocks : (index + 1) * count // blocks] for index in range(blocks)]
    means = sorted(sum(part) / len(part) for part in parts)
    return means[blocks // 2] if means[blocks // 2] > 0 else None


def _significance(values: list[float]) -> float:
    """Returns the mean in standard errors."""
    count = len(values)
    mean = sum(values) / count
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return mean / error if error else math.copysign(math.inf, mean)
