"""The gradient noise scale, from what single batches tell of the scatter of their examples' gradients.

A batch of n examples with gradients g_i gives two numbers that are unbiased at the very parameters it was computed
at: the mean product of two *different* examples' gradients, with expectation ‖G‖², and the mean ‖g_i‖², with
expectation ‖G‖² + tr(Σ). This is the estimator with two batch sizes of McCandlish et al. (2018, "An Empirical Model
of Large-Batch Training", appendix A), the smaller batch being a part of the larger one. Products of successive steps'
gradients, or of a gradient with the optimizer's momentum, need no second batch either, but the step taken on the
noise of the first enters the second, and where training oscillates they are far off, even negative.

The two are smoothed apart before they are divided, over the last steps where ‖G‖² stands out of its noise in them, else
over up to half of the training. Both flicker, and their peaks would rule a mean for long: late in training the noise
scale at a typical step is many times the ratio of the means over the steps around it. So the means are taken in
blocks, as many as the noise allows, and of those the medians. A block has no fewer than about 128 examples where it
can, as the examples' own gradients have long tails, so that the typical small batch holds none of the hard ones that
make up most of ‖G‖² and tr(Σ).

Nothing is told while ‖G‖² is known to less than a third of itself: of trainings in which it hardly stands out, those
would be told in which it seems larger than it is. Where the noise scale is ten times the batch, that takes hundreds
of samples; a few thousand steps of 1 ms, in 0.5% of whose time there are some dozens, tell nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional  # torch has imported it by now

_WINDOWS = (0.85, 0.7, 0.5)  # they begin at these shares of the steps so far
_SHORTEST = 25  # steps that they span at least
_FEWEST = 24  # samples without which there is no estimate
_CLEAR = 3.0  # standard errors that the mean must be above zero: it is known to a third then
_SIGNIFICANT = 0.7  # standard errors that a block's mean should be above zero; less gives noise, more the mean
_EXAMPLES = 128  # of which a block's mean is worth something by itself, however noisy
_KEPT = 400  # samples; more are merged two by two


class Sample(NamedTuple):
    """What n examples tell around one step: the mean product of two of their gradients, and the mean of the squares."""

    step: int
    n: int
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
        """Returns the estimate for the latest step; None while ‖G‖² does not stand out of its own noise."""
        for share in _WINDOWS:
            window = _window(self._samples, share)
            if len(window) < _FEWEST:
                continue
            significance = _significance([sample.product for sample in window])
            if not significance >= _CLEAR:
                continue
            blocks = _blocks(window, significance)
            squared_norm = _typical([sample.product for sample in window], blocks)
            trace = _typical([sample.square - sample.product for sample in window], blocks)
            if squared_norm > 0 and trace > 0:
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
    merged = [Sample(b.step, a.n + b.n, (a.product + b.product) / 2, (a.square + b.square) / 2) for a, b in pairs]
    return merged + samples[2 * len(merged) :]


def _blocks(window: list[Sample], significance: float) -> int:
    """Returns into how many blocks samples are cut, an odd number.

    They are as long as it takes for their means to be above zero, or shorter where they have enough examples. Fewer
    of them would give the mean, which peaks rule, and more would give noise.
    """
    significant = (significance / _SIGNIFICANT) ** 2
    worthwhile = sum(sample.n for sample in window) / _EXAMPLES
    blocks = max(1, int(min(len(window), max(significant, worthwhile))))
    return blocks - 1 + blocks % 2


def _typical(values: list[float], blocks: int) -> float:
    """Returns the median of the means of so many blocks."""
    count = len(values)
    parts = [values[index * count // blocks : (index + 1) * count // blocks] for index in range(blocks)]
    return sorted(sum(part) / len(part) for part in parts)[blocks // 2]


def _significance(values: list[float]) -> float:
    """Returns the mean in standard errors."""
    count = len(values)
    mean = sum(values) / count
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return mean / error if error else math.copysign(math.inf, mean)
