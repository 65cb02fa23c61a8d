"""Objectives: which metric a task is judged by, and in which direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hpkb.errors import UsageError
from hpkb.names import lookup
from hpkb.sources.metric_reading import Direction as Direction
from hpkb.sources.metric_reading import Reading, Split, read_metric

_LISTED = 5  # metrics that a question names


@dataclass(frozen=True)
class Objective:
    """A metric and its direction."""

    metric: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.metric}:{self.direction}"


@dataclass(frozen=True)
class Choice:
    """The objective of a task and why it is that one; where it is None, `reason` says what a person has to decide."""

    objective: Objective | None
    reason: str


def parse_objective(text: str) -> tuple[Objective, ...]:
    """Returns the objectives in "val_loss:min", or in "val_acc:max,val_loss:min", in the order of preference.

    Raises UsageError where a direction is missing or is neither min nor max.
    """
    return tuple(parse_one(part.strip()) for part in text.split(","))


def parse_one(text: str) -> Objective:
    """Returns the objective that `str` made the text of; raises UsageError for one without a direction."""
    metric, _, direction = text.rpartition(":")
    if not metric or direction not in ("min", "max"):
        raise UsageError(f"The objective '{text}' has no direction. Write METRIC:min or METRIC:max.")
    return Objective(metric, "min" if direction == "min" else "max")


#: Metrics that say how training itself went, best known first; the first one that a run has decides on divergence.
TRAIN_LOSSES = ("train_loss", "training_loss", "loss_train", "loss_training", "train_losses", "loss")

# What a task is judged by where nobody says, in this order; a loss of no split is taken for that of the training.
_ORDER: tuple[Split, ...] = ("validation", "test", "", "training")
_CAVEATS: Mapping[Split, str] = {
    "validation": "",
    "test": "; there is no validation metric, so no test is left to confirm what is chosen by it",
    "": "; no metric says that it is of the validation data",
    "training": "; there is no other metric, and this one says nothing of generalisation",
}
#: Why a task has no objective of whose runs nothing can be judged yet.
NO_METRIC = "no run with a metric has ended"
_TRAINING_KINDS = ("loss", "losses")


def plain(metric: str) -> str:
    """Returns the metric's name in lower case with one underscore for whatever separates its words."""
    return re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_")


def is_objective(metric: str) -> bool:
    """Whether a name is that of a metric, and says what is measured and which direction is better.

    `precision` alone is a number format as well, and so it is not.
    """
    reading = read_metric(metric)
    return reading is not None and reading.is_known and lookup(metric) is None


def prefer(counts: Mapping[str, int], n_runs: int, preferred: Sequence[Objective], said_by: str) -> Choice:
    """Returns the first of the preferred objectives that at least half of the runs have, else the first that any has.

    `counts` says how many of the task's `n_runs` ended runs have each metric, `said_by` who prefers them.
    """
    there = [objective for objective in preferred if objective.metric in counts]
    common = (objective for objective in there if 2 * counts[objective.metric] >= n_runs)
    found = next(common, there[0] if there else None)
    if found is None:
        return Choice(None, f"{said_by} says {', '.join(map(str, preferred))}, which no ended run has")
    return Choice(found, f"{said_by} says so; {_share(found.metric, counts, n_runs)}")


def choose(counts: Mapping[str, int], n_runs: int) -> Choice:
    """Returns the objective of a task by the names of its metrics, without a guess.

    A validation metric goes before one of the test whatever it is; a loss before a score; a name without further words
    before one with such (`val_loss` before `best_val_loss`, `val/loss_epoch` before `val/loss_step`). Of the metrics of
    one split, the first that at least half of the runs have, else the first that any has. Where the metrics of a split
    do not tell which one is meant, or in which direction, nothing is chosen, not from another split either.
    """
    readings = [reading for metric in counts if (reading := read_metric(metric))]
    for split in _ORDER:
        members = [reading for reading in readings if _split(reading) == split]
        candidates = [r for r in members if r.is_known] or _only_group(members)
        if candidates:
            return _chosen(split, candidates, counts, n_runs)
        if members and split in ("validation", "test"):
            return Choice(None, _question(members))
    nothing = "no metric that could be one is recorded" if counts else NO_METRIC
    return Choice(None, _question(readings) if readings else nothing)


def _split(reading: Reading) -> Split:
    return "training" if reading.split == "" and reading.kind in _TRAINING_KINDS else reading.split


def _only_group(members: Iterable[Reading]) -> list[Reading]:
    """The metrics with words that nobody knows, where they are the same words in all: val_cifar_loss, val_cifar_acc."""
    directed = [reading for reading in members if reading.direction]
    return directed if len({reading.unknown for reading in directed}) == 1 else []


def _chosen(split: Split, candidates: Sequence[Reading], counts: Mapping[str, int], n_runs: int) -> Choice:
    ranked = sorted(candidates, key=lambda r: (r.rank, -counts[r.metric], r.metric))
    found = next((r for r in ranked if 2 * counts[r.metric] >= n_runs), ranked[0])
    assert found.direction is not None
    better = "lower" if found.direction == "min" else "higher"
    best = ", the best value so far" if found.best else ""
    only = f", the only {_what(split)} metric" if found.unknown else ""
    reason = f"{_article(_what(split))} {found.kind.replace('_', ' ')}{best}{only}, {better} is better"
    return Choice(
        Objective(found.metric, found.direction),
        f"{reason}; {_share(found.metric, counts, n_runs)}{_CAVEATS[split]}",
    )


def _what(split: Split) -> str:
    return split or "unspecified"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _share(metric: str, counts: Mapping[str, int], n_runs: int) -> str:
    return f"{counts[metric]:,} of {n_runs:,} ended runs have it"


def _question(readings: Sequence[Reading]) -> str:
    """What has to be decided: which of several metrics is meant, or in which direction."""
    ranked = sorted(readings, key=lambda r: (r.rank, r.metric))
    metrics = ", ".join(r.metric for r in ranked[:_LISTED]) + (", …" if len(ranked) > _LISTED else "")
    directed = [reading for reading in ranked if reading.direction]
    if len(directed) > 1:
        return f"which of these is meant: {metrics}?"
    return f"it is not known whether less or more is better of {metrics}"


def _of(splits: Iterable[str], kinds: Iterable[str], direction: Direction) -> list[Objective]:
    pairs = [*product(kinds, splits)]
    spellings = [f"{split}_{kind}" for kind, split in pairs] + [f"{kind}_{split}" for kind, split in pairs]
    return [Objective(spelling, direction) for spelling in spellings]


_LOSSES = (
    "loss",
    "nll",
    "perplexity",
    "ppl",
    "error",
    "err",
    "error_rate",
    "mse",
    "rmse",
    "mae",
    "wer",
    "cer",
)
_SCORES = (
    "acc", "accuracy", "top1", "top_1", "acc1", "f1", "auc", "auroc", "r2", "iou", "miou", "map", "dice", "bleu",
    "score",
)  # fmt: skip
_VALIDATION = ("val", "valid", "validation", "eval", "evaluation", "dev")
_TEST = ("test", "testing")
OBJECTIVES: tuple[Objective, ...] = (
    *_of(_VALIDATION, _LOSSES, "min"),
    *_of(_VALIDATION, _SCORES, "max"),
    *_of(_TEST, _LOSSES, "min"),
    *_of(_TEST, _SCORES, "max"),
    *(Objective(kind, "max") for kind in _SCORES),
    *(Objective(name, "min") for name in TRAIN_LOSSES),
)
