"""What the name of a metric says: of which split it is, which metric of training it is to be held against, and whether
less of it is better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hpkb.sources.objectives import OBJECTIVES, Direction, plain

_TRAINING = ("train", "training", "tr")
_VALIDATION = ("val", "valid", "validation", "eval", "evaluation", "dev")
_TEST = ("test", "testing")
_SPLITS = frozenset((*_TRAINING, *_VALIDATION, *_TEST))
_AGGREGATES = frozenset({"epoch", "step"})  # Lightning's val_loss_epoch
_RANKS = {objective.metric: rank for rank, objective in reversed([*enumerate(OBJECTIVES)])}


def direction_of(metric: str) -> Direction | None:
    """Returns the direction in which a metric gets better, or None where its name does not say."""
    rank = _rank(metric)
    return None if rank is None else OBJECTIVES[rank].direction


def pairs(metrics: Iterable[str]) -> Iterator[tuple[str, str, int, Direction]]:
    """Yields training metric, validation metric, rank (the best known first) and direction of what can be compared.

    val_loss stands beside train_loss, or else beside a loss of no split, as Keras writes the training loss.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for metric in sorted(metrics):
        kinds.setdefault((_split(metric), _kind(metric)), []).append(metric)
    for (split, kind), validations in kinds.items():
        rank = _rank(validations[0])
        if split != "validation" or rank is None:
            continue
        trainings = kinds.get(("training", kind), []) + kinds.get(("", kind), [])
        for order, training in enumerate(trainings):
            for validation in validations:
                yield training, validation, rank * 100 + order, OBJECTIVES[rank].direction


def _rank(metric: str) -> int | None:
    return _RANKS.get(f"val_{_kind(metric)}")


def _split(metric: str) -> str:
    words = plain(metric).split("_")
    found = [word for word in (words[0], *reversed(words)) if word in _SPLITS]
    if not found:
        return ""
    return "training" if found[0] in _TRAINING else "validation" if found[0] in _VALIDATION else "test"


def _kind(metric: str) -> str:
    """The metric's name without split: val_loss_epoch is a loss."""
    return "_".join(word for word in plain(metric).split("_") if word not in _SPLITS | _AGGREGATES)
