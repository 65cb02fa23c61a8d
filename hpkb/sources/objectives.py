"""Objectives: which metric a task is judged by, and in which direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from hpkb.errors import UsageError

Direction = Literal["min", "max"]


@dataclass(frozen=True)
class Objective:
    """A metric and its direction."""

    metric: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.metric}:{self.direction}"


def parse_objective(text: str) -> tuple[Objective, ...]:
    """Returns the objectives in "val_loss:min", or in "val_acc:max,val_loss:min", in the order of preference.

    Raises UsageError where a direction is missing or is neither min nor max.
    """
    return tuple(_one_objective(part.strip()) for part in text.split(","))


def _one_objective(text: str) -> Objective:
    metric, _, direction = text.rpartition(":")
    if not metric or direction not in ("min", "max"):
        raise UsageError(f"The objective '{text}' has no direction. Write METRIC:min or METRIC:max.")
    return Objective(metric, "min" if direction == "min" else "max")


_LOSSES = ("loss", "nll", "perplexity", "ppl", "error", "err", "error_rate", "mse", "rmse", "mae", "wer", "cer")
_SCORES = (
    "acc", "accuracy", "top1", "top_1", "acc1", "f1", "auc", "auroc", "r2", "iou", "miou", "map", "dice", "bleu",
    "score",
)  # fmt: skip
_VALIDATION = ("val", "valid", "validation", "eval", "evaluation", "dev")
_TEST = ("test", "testing")
#: Metrics that say how training itself went, best known first; the first one that a run has decides on divergence.
TRAIN_LOSSES = ("train_loss", "training_loss", "loss_train", "loss_training", "train_losses", "loss")


def _of(splits: Iterable[str], kinds: Iterable[str], direction: Direction) -> list[Objective]:
    pairs = [*product(kinds, splits)]
    spellings = [f"{split}_{kind}" for kind, split in pairs] + [f"{kind}_{split}" for kind, split in pairs]
    return [Objective(spelling, direction) for spelling in spellings]


#: What a task is judged by where nobody says, in this order: validation losses and scores, then those of a test split,
#: then scores of a split unknown, then the training loss. Spelled as `plain` spells a metric.
OBJECTIVES: tuple[Objective, ...] = (
    *_of(_VALIDATION, _LOSSES, "min"),
    *_of(_VALIDATION, _SCORES, "max"),
    *_of(_TEST, _LOSSES, "min"),
    *_of(_TEST, _SCORES, "max"),
    *(Objective(kind, "max") for kind in _SCORES),
    *(Objective(name, "min") for name in TRAIN_LOSSES),
)
_RANK = {objective.metric: rank for rank, objective in reversed([*enumerate(OBJECTIVES)])}
_FIRST_TEST = _RANK["test_loss"]
_FIRST_UNKNOWN = _RANK[_SCORES[0]]


def plain(metric: str) -> str:
    """Returns the metric's name in lower case with one underscore for whatever separates its words."""
    return re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_")


def choose(counts: Mapping[str, int], n_runs: int, preferred: Sequence[Objective]) -> Objective | None:
    """Returns the objective of a task, or None where its runs have no metric that could be one.

    `counts` says how many of the task's `n_runs` runs have each metric. Of the preferred ones, or else of OBJECTIVES,
    the first that at least half of the runs have; where none is that common, the first that any run has.
    """
    candidates = [o for o in preferred if o.metric in counts] if preferred else _known(counts)
    common = (o for o in candidates if 2 * counts[o.metric] >= n_runs)
    return next(common, candidates[0] if candidates else None)


def caveat(objective: Objective) -> str | None:
    """Returns what a reader must know of an objective that was chosen for want of a better one, or None."""
    rank = _RANK.get(plain(objective.metric), 0)
    if rank < _FIRST_TEST:
        return None
    if rank < _FIRST_UNKNOWN:
        return "chosen on a test metric, so no test is left to confirm it"
    if plain(objective.metric) in TRAIN_LOSSES:
        return "judged by its training loss, which says nothing of generalisation"
    return "judged by a metric whose split is not known"


def _known(counts: Mapping[str, int]) -> list[Objective]:
    known = [(_RANK[plain(metric)], -count, metric) for metric, count in counts.items() if plain(metric) in _RANK]
    return [Objective(metric, OBJECTIVES[rank].direction) for rank, _, metric in sorted(known)]
