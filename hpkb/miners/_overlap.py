"""What `reproducibility` says of examples that are in two splits at once, from the tag `hpkb.split.overlap`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpkb.findings import Finding, Verdict, evidence
from hpkb.sweep import Sweep

#: "training+validation: 12 by index, 9 by content (of a sample); validation+test: 3 by content", or "none".
_PART = re.compile(r"(\w+)\+(\w+): ([^;]*)")
_COUNT = re.compile(r"(\d+) by (index|content)")
FEWEST_RUNS = 6


@dataclass(frozen=True)
class Shared:
    """The examples that two splits of one run share: the larger count of those by index and by content."""

    pair: str
    second: str
    n: int
    is_sample: bool


def read_overlap(text: str) -> list[Shared]:
    """Returns which splits share examples, from the tag's text; nothing for "none"."""
    found = []
    for first, second, told in _PART.findall(text):
        counts: list[int] = [int(n) for n, _ in _COUNT.findall(told)]
        if any(counts):
            found.append(Shared(f"{first}+{second}", second, max(counts), "of a sample" in told))
    return found


def leakage(sweep: Sweep) -> Iterator[Finding]:
    """Yields for each pair of splits with examples in common how many; that there are none; or that nobody looked."""
    texts = sweep.records.texts("hpkb.split.overlap")
    flags = sweep.records.texts("hpkb.split.leakage")
    known = [i for i, (text, flag) in enumerate(zip(texts, flags, strict=True)) if text or flag]
    if not known:
        yield _finding(sweep, "Whether examples are in two splits at once cannot be said: no overlap was recorded.",
                       "insufficient")  # fmt: skip
        return
    pairs: dict[str, dict[int, Shared]] = {}
    for i in known:
        for shared in read_overlap(texts[i] or ""):
            pairs.setdefault(shared.pair, {})[i] = shared
    for pair, runs in sorted(pairs.items()):
        yield _leak(sweep, pair, runs, len(known))
    if not pairs and any((flags[i] or "").lower() == "true" for i in known):
        yield _finding(sweep, "Training examples are in another split as well; how many was not recorded.", "supported",
                       p_value=0.0)  # fmt: skip
    elif not pairs:
        claim = f"No example is in two splits at once, in any of the {len(known)} runs that were looked at."
        yield _finding(sweep, claim, "rejected", estimate=0.0)


def _leak(sweep: Sweep, pair: str, runs: dict[int, Shared], n_known: int) -> Finding:
    worst = max(runs.values(), key=lambda shared: shared.n)
    first, _, second = pair.partition("+")
    sizes = sweep.records.numbers(f"n_examples.{second}")[sorted(runs)]
    size = float(np.nanmedian(sizes)) if np.isfinite(sizes).any() else None
    share = f" ({worst.n / size:.1%} of {size:,.0f})" if size and not worst.is_sample else ""
    at_least = "at least " if worst.is_sample else ""
    claim = (
        f"{at_least}{worst.n:,} {second} examples{share} are among the {first} examples as well, in {len(runs)} of "
        f"{n_known} runs"
    )
    follows = "what they measure is too good" if first == "training" else f"the {second} result is not independent"
    told = f"{claim}: {follows}."
    # An overlap that was found is a fact: hence the p-value.
    enough = n_known >= FEWEST_RUNS
    return _finding(sweep, told[0].upper() + told[1:], "supported" if enough else "insufficient",
                    p_value=0.0 if enough else None, estimate=float(worst.n), condition=pair)  # fmt: skip


def _finding(sweep: Sweep, claim: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(
        miner="reproducibility", hyperparameters=(), quantity="leakage", claim=claim, verdict=verdict, unit="examples",
        **more, **evidence(sweep),
    )  # fmt: skip
