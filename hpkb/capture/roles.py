"""What the script's own names say of data: whether it is the training, the validation or the test set.

The names of local variables are read from the source lines that are being run, not from the frames: until Python
3.12, `frame.f_locals` changes what a script holds from an earlier `locals()`, and keeps its tensors alive.
"""

from __future__ import annotations

import functools
import linecache
import re
import sys
from typing import Any, Iterable, Iterator, Optional  # torch has imported it by now

_FRAMES = 50
_NEAR = 3  # frames of the script whose lines may speak of data that no DataLoader holds
_TRAINING, _VALIDATION, _TEST = ("train",), ("val", "dev", "eval", "holdout"), ("test",)
_HOLDS_DATA = r"\w*(?:load|data|dl|iter|batch|set|split)\w*"
_NAMED = re.compile(rf"\b({_HOLDS_DATA})(?:\[['\"](\w+)['\"]\])?", re.IGNORECASE)
_WHERE_USED = re.compile(r"\bin\b|\(")  # `for batch in LOADER`, `evaluate(LOADER)`; before it stand the results

_WORD = re.compile(r"(\.?)\b([A-Za-z_]\w*)\b(?=\s*(\(|=(?!=))?)|(['\"])(\w+)\4")
_SENTENCE = re.compile(r"(['\"])(?!\w+\1).*?\1")  # a text that is more than one word
_FORMATTED, _IN_BRACES = re.compile(r"\b[fF](['\"])(.*?)\1"), re.compile(r"\{(.*?)\}")
_ASSIGNED = re.compile(r"\s*([A-Za-z_]\w*)\s*\+?=(?!=)")
_EXACTLY = {
    "training": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev", "holdout", "eval"),
    "test": ("test", "testing"),
}
_OF_DATA = frozenset(
    "x y xs ys xb yb data dataset set split loader dl iter batch batches input inputs target targets label labels "
    "image images img imgs features feats text texts tokens ids mask idx index indices out output outputs pred preds "
    "logits prediction predictions samples examples get load next sample make".split()
)


def named_role(loader: Any) -> Optional[str]:
    """Returns "validation" or "test" where a name of the script says so, looking from the innermost call outwards."""
    role = role_in_names(loader)
    return None if role == "training" else role


def role_in_names(loader: Any) -> Optional[str]:
    """Returns the role of a loader by its innermost name, "training" among them; None where no name says it.

    A line that names loaders of several roles says nothing of this one, and the next outer one is asked.
    """
    seen: set[int] = set()
    frame = sys._getframe(1)
    for _ in range(_FRAMES):
        role = None
        if id(frame.f_globals) not in seen:
            seen.add(id(frame.f_globals))
            role = _only(_role_or_training(name) for name in _in_globals(loader, frame.f_globals))
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        role = role or _only(_role_or_training(name) for name in _in_line(line))
        if role or frame.f_back is None:
            return role
        frame = frame.f_back
    return None


def role_of(name: str) -> Optional[str]:
    """Returns the role that a name means: `val_loader`, `testloader`, `dev`; None for `loader`, `train_eval_loader`."""
    role = _role_or_training(name)
    return None if role == "training" else role


def role_of_hand_cut(beside: tuple[str, ...]) -> tuple[Optional[str], tuple[Any, int]]:
    """Returns the role that the calling lines give to data without a DataLoader, and the place of the innermost.

    `F.mse_loss(model(x_val), y_val)`, `evaluate(model, "test")` and `val_loss = criterion(...)` say it; a line that
    speaks of two roles ends the search, for nobody knows which is meant. Frames of files whose path begins with
    one of `beside` are not the script's.
    """
    frame: Any = sys._getframe(1)
    place: tuple[Any, int] = (None, 0)
    lines = 0
    while frame is not None and lines < _NEAR:
        if not frame.f_code.co_filename.startswith(beside):
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if not lines:
                place = (frame.f_code, frame.f_lineno)
            found = _roles_in(line, innermost=not lines)
            if found:
                return (next(iter(found)) if len(found) == 1 else None), place
            lines += 1
        frame = frame.f_back
    return None, place


def _role_or_training(name: str) -> Optional[str]:
    words = name.lower().split("_")
    if any(word.startswith(_TRAINING) for word in words):
        return "training"
    if any(word.startswith(_VALIDATION) for word in words):
        return "validation"
    return "test" if any(word.startswith(_TEST) for word in words) else None


def _only(roles: Iterable[Optional[str]]) -> Optional[str]:
    found = set(roles) - {None}
    return found.pop() if len(found) == 1 else None


def _in_line(line: str) -> Iterator[str]:
    used = _WHERE_USED.search(line)
    for name, key in _NAMED.findall(line, used.start()) if used else ():
        yield key or name


def _in_globals(loader: Any, names: dict[str, Any]) -> Iterator[str]:
    for name, value in list(names.items()):
        if value is loader:
            yield name
        elif type(value) is dict:
            yield from (str(key) for key, item in list(value.items()) if item is loader)


@functools.lru_cache(maxsize=256)
def _roles_in(line: str, innermost: bool) -> frozenset[str]:
    """Returns the roles that a line speaks of, leaving out its comment and what it says in sentences."""
    code = _FORMATTED.sub(lambda text: "(" + " ".join(_IN_BRACES.findall(text[2])) + ")", line)
    code = _SENTENCE.sub("''", code).partition("#")[0]
    return frozenset([*_roles_in_arguments(code), *(_role_of_result(code) if innermost else ())])


def _roles_in_arguments(line: str) -> Iterator[str]:
    start = line.find("(")
    for dot, name, after, _, quoted in _WORD.findall(line, max(start, 0)) if start >= 0 else ():
        words = _words(quoted or name)
        if len(words) == 1 and not quoted and (dot or after):  # `model.train()`, `training=True`, `args.test`
            continue
        role = next((role for role, exact in _EXACTLY.items() if any(word in exact for word in words)), None)
        if role and all(word in _OF_DATA or word in _EXACTLY[role] for word in words):
            yield role


def _role_of_result(line: str) -> Iterator[str]:
    """Yields the role in the name of a loss that the line assigns or adds to: `val_loss = ...`, `test_loss += ...`."""
    found = _ASSIGNED.match(line)
    words = _words(found[1]) if found else []
    if "loss" in words:
        yield from (role for role, exact in _EXACTLY.items() if any(word in exact for word in words))


def _words(name: str) -> list[str]:
    """Returns the words of a name in lower case: `x_val`, `XVal` and `xval` are an x and a val."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    words = []
    for word in filter(None, spaced.lower().split("_")):
        glued = word[0] in "xy" and any(word[1:] in exact for exact in _EXACTLY.values())
        words += [word[0], word[1:]] if glued else [word]
    return words
