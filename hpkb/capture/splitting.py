"""How the script made its splits: torch's `random_split`, and what scikit-learn has for it.

The tag `hpkb.split.made` tells them in the order in which they were made, with the arguments as given:
`train_test_split test_size=0.2 random_state=0 stratify=true sizes=455+114; KFold n_splits=5 shuffle=true fold=0,1`.
The folds are those during which the optimizer stepped, counted from 0.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Iterator, Optional  # torch has imported it by now

from .patch import call_after
from .session import Session, current

_MOST = 8  # ways of splitting told of one process
_LONG = 60  # characters of an argument
_SETTINGS = (
    "n_splits", "n_repeats", "test_size", "train_size", "max_train_size", "gap", "p", "shuffle", "random_state",
)  # fmt: skip


class Made:
    """The splits that one session has seen being made."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._texts: list[str] = []
        self._folds: dict[str, list[int]] = {}
        self._open: dict[str, tuple[int, int]] = {}  # the fold in hand, and the step at which it began
        live.closing.append(self.close)

    def add(self, text: str) -> None:
        """Takes note of a split."""
        if text not in self._texts and len(self._texts) < _MOST:
            self._texts.append(text)
            self._tell()

    def fold(self, text: str, number: Optional[int]) -> None:
        """Takes note that a fold has been handed out, None after the last; until then the one before was in use."""
        before = self._open.pop(text, None)
        if before is not None and self._live.step > before[1] and before[0] not in self._folds.get(text, ()):
            self._folds.setdefault(text, []).append(before[0])
            self._tell()
        if number is not None:
            self._open[text] = (number, self._live.step)

    def close(self) -> None:
        """Takes note that the folds in hand have been used to the end."""
        for text in list(self._open):
            self.fold(text, None)

    def _tell(self) -> None:
        folds = {text: " fold=" + ",".join(map(str, numbers)) for text, numbers in self._folds.items()}
        self._live.tags({"hpkb.split.made": "; ".join(text + folds.get(text, "") for text in self._texts)})


def watch_random_split(torch: Any) -> None:
    """Hooks `torch.utils.data.random_split`, in both places where it is found."""
    from torch.utils.data import dataset

    call_after(dataset, "random_split", _random_split)
    torch.utils.data.random_split = dataset.random_split


def watch_sklearn(selection: Any) -> None:
    """Hooks `sklearn.model_selection`: `train_test_split` and the `split` of every splitter."""
    from sklearn.model_selection import _split

    call_after(_split, "train_test_split", _train_test_split)
    selection.train_test_split = _split.train_test_split
    for kind in list(vars(_split).values()):
        if isinstance(kind, type) and "split" in vars(kind) and kind.__module__ == _split.__name__:
            _watch_split(kind)


def _random_split(live: Session, parts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    lengths = args[1] if len(args) > 1 else kwargs.get("lengths")
    generator = args[2] if len(args) > 2 else kwargs.get("generator")
    own = None if generator is None or generator is _default_generator() else generator.initial_seed()
    given = {"lengths": "+".join(_text(length) for length in lengths or ()), "generator_seed": own}
    _made(live).add(f"random_split {_arguments(given)} sizes={'+'.join(str(len(part)) for part in parts)}")


def _default_generator() -> Any:
    import torch

    return torch.default_generator


def _train_test_split(live: Session, result: Any, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = dict(kwargs)
    if given.pop("stratify", None) is not None:
        given["stratify"] = True
    sizes = [_size(part) for part in result[:2]]
    _made(live).add(" ".join(filter(None, ["train_test_split", _arguments(given), f"sizes={'+'.join(sizes)}"])))


def _watch_split(kind: Any) -> None:
    original = vars(kind)["split"]

    @functools.wraps(original)
    def split(self: Any, *args: Any, **kwargs: Any) -> Any:
        folds = original(self, *args, **kwargs)
        live = current()
        if live is None or not hasattr(folds, "__next__") or _asked_by_sklearn():
            return folds
        return _watched(live, _described(self), folds)

    kind.split = split


def _asked_by_sklearn() -> bool:
    """Whether a splitter is used inside of scikit-learn: by another, by `train_test_split` or by a search."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("sklearn.")


def _watched(live: Session, text: str, folds: Iterator[Any]) -> Iterator[Any]:
    """Yields the folds and takes note of each; an exception passes as it is."""
    made = _made(live)
    try:
        made.add(text)
    except Exception as error:
        live.failed("a split", error)
    for number, fold in enumerate(folds):
        _note(made, live, text, number)
        yield fold
    _note(made, live, text, None)


def _note(made: Made, live: Session, text: str, number: Optional[int]) -> None:
    try:
        made.fold(text, number)
    except Exception as error:
        live.failed("a fold", error)


def _described(splitter: Any) -> str:
    """Returns a splitter's class and settings."""
    held = getattr(splitter, "__dict__", {})
    return f"{type(splitter).__name__} {_arguments({name: held.get(name) for name in _SETTINGS})}".strip()


def _made(live: Session) -> Made:
    return live.part(Made)


def _arguments(given: dict[str, Any]) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in given.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)[:_LONG] if isinstance(value, (int, float)) else _named(value)


def _named(value: Any) -> str:
    return value[:_LONG] if isinstance(value, str) else type(value).__name__


def _size(part: Any) -> str:
    shape = getattr(part, "shape", None)
    return str(int(shape[0]) if shape is not None else len(part))
