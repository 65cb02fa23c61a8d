"""The functions of `torch.nn.functional` that a training's losses and dropouts go through, made to tell capture.

Loss modules look them up there at each call, so both are heard. The replacements have to be invisible to everything
that looks at a function rather than calling it:

- torch.compile and torch.export know these functions by identity and look them up by name when they are first used;
  they take a replacement into their graphs as one operation, as they do the original, without a break.
- torch.jit.script reads the source of the original (`__wrapped__`), but resolves its names in the replacement's
  globals, which therefore are those of `torch.nn.functional`.
- `warnings.warn(..., stacklevel=2)` in the original must name the job's line. It leaves out frames of files with
  "importlib" and "_bootstrap" in their names, and so the replacements' code says that it is of such a file.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from typing import Any, Callable, Optional  # torch has imported it by now

from .session import Session, current

LOSSES = (
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy", "ctc_loss",
    "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "poisson_nll_loss",
    "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
)  # fmt: skip
DROPOUTS = ("alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")
_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "importlib._bootstrap")

_NOBODY: Callable[[], Any] = type(None)  # returns None, without a frame

Heard = Callable[["Call"], None]


class Call:
    """One call: the function's name, its result and its arguments; made only where somebody listens."""

    __slots__ = ("_args", "_function", "_kwargs", "name", "result")

    def __init__(
        self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any], function: types.FunctionType
    ) -> None:
        self.name, self.result = name, result
        self._args, self._kwargs, self._function = args, kwargs, function

    def first(self) -> Any:
        """Returns the first argument, by whatever name it was given."""
        return self._args[0] if self._args else self._kwargs.get(self._function.__code__.co_varnames[0])

    def argument(self, name: str) -> Any:
        """Returns an argument as the function saw it: given by position, by name or by default; None without it."""
        if name in self._kwargs:
            return self._kwargs[name]
        code = self._function.__code__
        names = code.co_varnames[: code.co_argcount]
        if name not in names:
            return (self._function.__kwdefaults__ or {}).get(name)
        at = names.index(name)
        if at < len(self._args):
            return self._args[at]
        defaults = self._function.__defaults__ or ()
        from_end = at - len(names)
        return defaults[from_end] if -from_end <= len(defaults) else None


class Audience:
    """Who listens to the functions of one kind; usually nobody, or one.

    Calls with gradients, while the module that `learner` returns is in training mode, are told to nobody. Every call
    asks for that by itself: a function of ours that answers would be felt.
    """

    __slots__ = ("learner", "wanted")

    def __init__(self) -> None:
        self.wanted: Optional[tuple[Session, tuple[Heard, ...]]] = None
        self.learner: Callable[[], Any] = _NOBODY

    def add(self, live: Session, heard: Heard) -> None:
        """Has `heard` told of every call in that session; listeners of a session that has ended are forgotten."""
        known: tuple[Heard, ...] = ()
        if self.wanted is not None and self.wanted[0] is live:
            known = self.wanted[1]
        else:
            self.learner = _NOBODY
        self.wanted = (live, (*known, heard))

    def remove(self, heard: Heard) -> None:
        """Has `heard` told no more."""
        if self.wanted is not None:
            live, known = self.wanted
            left = tuple(one for one in known if one != heard)
            self.wanted = (live, left) if left else None

    def tell(self, function: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Tells a call; a listener that fails is never called again."""
        if self.wanted is None or self.wanted[0] is not current():
            return
        live, listeners = self.wanted
        call = Call(function.__name__, result, args, kwargs, function)
        for heard in listeners:
            try:
                heard(call)
            except Exception as error:
                self.remove(heard)
                live.failed(f"a call of {function.__name__}", error)


losses, dropouts = Audience(), Audience()


def watch_loss_functions(torch: Any) -> None:
    """Makes the functions tell `losses` and `dropouts`."""
    functional = torch.nn.functional
    replacements = []
    for names, audience in ((LOSSES, losses), (DROPOUTS, dropouts)):
        for name in names:
            original = getattr(functional, name, None)
            if isinstance(original, types.FunctionType):
                replacements.append(_telling(torch, original, audience))
                setattr(functional, name, replacements[-1])
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:  # capture began late: it may have looked the originals up already
        for replacement in replacements:
            dynamo.allow_in_graph(replacement)


def _telling(torch: Any, original: types.FunctionType, audience: Audience) -> Any:
    code, cells = _template(original, audience, torch.is_grad_enabled)
    replacement = types.FunctionType(code, torch.nn.functional.__dict__, original.__name__, None, cells)
    return functools.update_wrapper(replacement, original)


def _template(
    hpkb_original: Any, hpkb_audience: Audience, hpkb_graded: Callable[[], bool]
) -> tuple[types.CodeType, Any]:
    """Returns the code of a replacement, as of another file, and its cells.

    It uses no global names, for its globals are torch's; its own have a prefix, for torch.jit.script takes them for
    names that the original's source might mean.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = hpkb_original(*args, **kwargs)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            raise
        if hpkb_audience.wanted is not None:
            try:
                hpkb_learner = hpkb_audience.learner()
                if hpkb_learner is None or not hpkb_learner.training or not hpkb_graded():
                    hpkb_audience.tell(hpkb_original, result, args, kwargs)
            except Exception:  # in the middle of the job's own call
                pass
        return result

    return call.__code__.replace(co_filename=_FILE), call.__closure__
