"""What depth, width, normalisation and residual connections are worth, and what they depend on.

Question
--------
Does a deeper or a wider model, normalisation, or residual connections give a better result, once the learning rate
suits each? Does the answer depend on the size of the model, on the initialisation, on how much data there is?

Method
------
Models of different shape want different learning rates (Yang & Hu 2021), so a comparison at one common rate favours
the model that it suits. Each level gets a curve of its own along the learning rate: one smooth shape for all,
moved and scaled for each level; what is compared are the lowest points, with all other hyperparameters held (Choi et
al. 2019 show how rankings turn round when each is tuned). A number with up to five values is compared value by value,
one with more by the lowest and the highest third of the configurations. Errors allow for scatter of any size anywhere
(HC3, MacKinnon & White 1985), and the p-value must hold on the ranks of the results as well. What two settings do
together beyond what each does alone is the share of their pair in an exact functional ANOVA (Hutter, Hoos &
Leyton-Brown 2014), held against an F test of their products. Whether a difference depends on the number of training
examples is the slope of its product with their logarithm. Tasks are never pooled: each difference is divided by the
spread of its task's results, and these are combined by random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: the first kind of model goes with a better (or worse) result than the second, each at its own best
learning rate. *Rejected*: the whole interval lies within the scatter over seeds. The best rate's ratio says how the
learning rate has to follow the model. An interaction that is supported says: choose the two together.

When it misleads
----------------
A deeper or wider model has more parameters and takes more time a step: at equal steps it has used more compute, at
equal time it has seen less data; *efficiency* has the price. Where depth and width were always changed together,
nothing is said of either. Residual connections and normalisation matter most where the model is deep and the rate
high: a comparison on shallow models says nothing of deep ones. Runs that diverged are left out, with their shares in
the caveats: a kind of model that diverges more often may look better than it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
from hpkb.miners._model_levels import asked_of, level_findings, level_groups, without_what_follows
from hpkb.miners._pairs import pairs_over_tasks
from hpkb.miners._words import interval
from hpkb.stats.effects import effects_of
from hpkb.stats.fanova import Decomposition, decompose
from hpkb.stats.slopes import measured, slope
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Hyperparameter, Sweep, direction_of, metric_of

KINDS = ("depth", "width", "normalization", "residual")
CAPACITY = ("depth", "width", "parameter_count")
PARTNERS = (*CAPACITY, "learning_rate", "initialization", "normalization", "residual")
FEWEST_DOUBLINGS = 1.0


def mine(context: Context) -> list[Finding]:
    """Returns the differences between levels, what pairs do together, and whether data size matters."""
    sweep = without_what_follows(context.sweep)
    own = [h for name in KINDS if (h := sweep.hyperparameter(name)) is not None]
    found = [f for h in own for f in level_findings(asked_of("architecture", sweep, h), sweep, h)]
    return [*found, *_interactions(context, own), *(f for h in own for f in _by_data(sweep, h))]


def _interactions(context: Context, own: Sequence[Hyperparameter]) -> Iterator[Finding]:
    """The share of the variance that each pair of a kind and a partner has beyond the two alone."""
    sweep = context.sweep
    names = [h.name for h in sweep.hyperparameters]
    pairs = [(h.name, other) for h in own for other in PARTNERS if other in names and other != h.name]
    unique = list({tuple(sorted(pair)): pair for pair in reversed(pairs)}.values())[::-1]
    shares = decompose(context.process) if unique else None
    if shares is None:
        return
    tests = effects_of(sweep).pair
    for one, other in unique:
        i, j = sorted((names.index(one), names.index(other)))
        yield _interaction(sweep, shares, (one, other), i, j, tests.get((names[i], names[j])))


def _interaction(
    sweep: Sweep, shares: Decomposition, pair: tuple[str, str], i: int, j: int, p_value: float | None
) -> Finding:
    estimate, low, high = (float(part[i, j]) for part in (shares.pair, shares.pair_low, shares.pair_high))
    one, other = (name.replace("_", " ") for name in pair)
    said = f"{estimate:.0%} (95% interval {100 * low:.0f} to {100 * high:.0f}%) of the variance of {metric_of(sweep)}"
    return Finding(
        miner="architecture", hyperparameters=pair, quantity="interaction_share", verdict="supported",
        claim=f"What {one} does depends on {other}: together they carry {said} beyond what each does alone.",
        claim_if_insufficient=f"Whether what {one} does depends on {other} is not settled: {said}.",
        estimate=estimate, low=low, high=high, unit="share", p_value=p_value, **evidence(sweep),
    ).judged()  # fmt: skip


def _by_data(sweep: Sweep, h: Hyperparameter) -> Iterator[Finding]:
    """How the difference of two levels, or the slope along a number, changes with every doubling of the data."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log2(sweep.records.numbers("n_examples.training"))
    if not np.isfinite(size).any() or np.nanmax(size) - np.nanmin(size) < FEWEST_DOUBLINGS:
        return
    groups = level_groups(sweep, h)
    known = (groups.codes == 0) | (groups.codes == len(groups.labels) - 1)
    outcome = np.where(feasible_runs(sweep), direction_of(sweep) * sweep.y, np.nan)
    at = measured(sweep, outcome, known & np.isfinite(size))
    if at.y.size < 2:
        return
    x: FloatArray = (groups.codes[at.first] > 0).astype(np.float64)
    doublings: FloatArray = size[at.first]
    product: FloatArray = (x - x.mean()) * (doublings - doublings.mean())
    found = slope(sweep, at, product, (h.name,), (x, doublings))
    if found is None:
        return
    one, other = groups.labels[-1], groups.labels[0]
    number = interval(found.estimate, found.estimate - found.half_width, found.estimate + found.half_width)
    claim = f"the difference between {one} and {other} changes by {number} with every doubling of the training data"
    yield Finding(
        miner="architecture", hyperparameters=(h.name,), quantity="difference_by_data_size", verdict="supported",
        claim=f"How much data there is matters: {claim}.",
        claim_if_insufficient=f"Whether data size matters is not settled: {claim}.",
        estimate=found.estimate, low=found.estimate - found.half_width, high=found.estimate + found.half_width,
        unit=f"{metric_of(sweep)}, per doubling", p_value=found.p_value, condition=f"{one} against {other}",
        **evidence(sweep),
    ).judged()  # fmt: skip


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each pair of levels."""
    return list(pairs_over_tasks(findings))
