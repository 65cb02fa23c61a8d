"""How the weights were drawn before the first step: which function of `torch.nn.init` touched each of them last.

What torch's own modules do when they are made counts as "default". A weight whose values are not those that the
last such function left was set in a way that is not seen, and then nothing is told.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections import Counter
from typing import Any, Callable, Iterable, NamedTuple, Optional  # torch has imported it by now
from weakref import ref

from .modules import descendants, own_parameters
from .patch import call_after
from .session import Session
from .tracebacks import leave_out_this_frame

_FUNCTIONS = (
    "uniform_ normal_ trunc_normal_ constant_ ones_ zeros_ eye_ dirac_ xavier_uniform_ xavier_normal_ "
    "kaiming_uniform_ kaiming_normal_ orthogonal_ sparse_"
).split()
_BETWEEN = frozenset([__name__, "torch.nn.init", "transformers.initialization", "torch.utils._contextlib"])
_UNKNOWN = 0.02  # share of the weights up to which one may be of unknown origin
_CHECKED = 128  # the largest weights, whose values are compared
_REMEMBERED = 50_000  # weights, after which those that are gone are forgotten


class Touch(NamedTuple):
    """A weight, the word for what touched it last, and of its values then the first, the middle and the last."""

    weight: ref[Any]
    word: str
    values: Optional[bytes]
    dtype: Any


class Origin(NamedTuple):
    """The words for a model's weights; `changed` is 0 where the weights still had the values that the words are for.

    It is a tensor of one element on the weights' device.
    """

    words: str
    changed: Any


_touched: dict[int, Touch] = {}
_places: dict[int, int] = {}  # identity of the weight by the address of its data


def watch_initialization(torch: Any) -> None:
    """Hooks the functions of `torch.nn.init` wherever torch's modules keep them, copies and loaded checkpoints."""
    init = torch.nn.init
    own = [module for name, module in list(sys.modules.items()) if name.startswith("torch.nn.modules.")]
    for name in _FUNCTIONS:
        original = getattr(init, name, None)
        if original is None:
            continue
        hooked = _hooked(torch, original, name.rstrip("_"))
        for module in [init, *own]:
            if vars(module).get(name) is original:
                setattr(module, name, hooked)
    call_after(torch.nn.Parameter, "__deepcopy__", _copied)
    call_after(torch.nn.Module, "load_state_dict", _loaded)


def origin_of(torch: Any, parameters: Iterable[Any]) -> Optional[Origin]:
    """Returns how the weights of two dimensions and more were initialised; None where that is not known."""
    weights = [parameter for parameter in parameters if parameter.dim() > 1]
    touches = [(weight, _touch_of(weight)) for weight in weights]
    words: Counter[str] = Counter()
    for weight, touch in touches:
        words[touch.word if touch else ""] += weight.numel()
    total = sum(words.values())
    if not total or words.pop("", 0) > _UNKNOWN * total:
        return None
    told = "+".join(sorted(word for word, n in words.items() if n > _UNKNOWN * total))
    known = sorted(((w, t) for w, t in touches if t), key=lambda pair: -pair[0].numel())[:_CHECKED]
    return Origin(told, _changed(torch, known))


def _hooked(torch: Any, original: Callable[..., Any], word: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        try:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.dim() > 1:
                _touch(torch, tensor, word)
        except Exception:  # a tensor of some other kind: its weight stays unknown
            pass
        return result

    return call


def _touch(torch: Any, tensor: Any, word: str) -> None:
    """Takes note of a weight, or of the weight of which the tensor is all the data."""
    place = tensor.data_ptr() if tensor.is_cpu else 0
    weight = tensor
    if not isinstance(tensor, torch.nn.Parameter):
        known = _touched.get(_places.get(place, 0)) if place else None
        weight = known.weight() if known else None
        if weight is None or weight.data_ptr() != place or weight.numel() != tensor.numel():
            return
    if _by_torch_itself():
        word = "default"
    _remember(weight, Touch(ref(weight), word, _sample(torch, tensor), tensor.dtype), place)


def _remember(weight: Any, touch: Touch, place: int) -> None:
    if len(_touched) > _REMEMBERED:
        gone = [key for key, known in list(_touched.items()) if known.weight() is None]
        for key in gone:
            del _touched[key]
        _places.clear()
    _touched[id(weight)] = touch
    if place:
        _places[place] = id(weight)


def _by_torch_itself() -> bool:
    """Whether a module of torch initialises its own parameters, rather than the job doing so."""
    frame: Any = sys._getframe(3)
    while frame is not None and frame.f_globals.get("__name__") in _BETWEEN:
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "") if frame is not None else ""
    return isinstance(name, str) and name.startswith(("torch.nn.modules.", "torch.ao.nn."))


def _sample(torch: Any, tensor: Any) -> Optional[bytes]:
    """Returns three values as they lie in memory; None for a tensor that is not on the CPU or not in one piece."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or not tensor.is_cpu or not tensor.is_contiguous():
        return None
    place, size, n = tensor.data_ptr(), tensor.element_size(), tensor.numel()
    if not place or not n:
        return None
    return b"".join(ctypes.string_at(place + at * size, size) for at in (0, n // 2, n - 1))


def _touch_of(weight: Any) -> Optional[Touch]:
    touch = _touched.get(id(weight))
    return touch if touch is not None and touch.weight() is weight and touch.values is not None else None


def _changed(torch: Any, known: list[tuple[Any, Touch]]) -> Any:
    """Returns a tensor of one element: how many sampled values are not those of the weights' initialisation."""
    now, then = [], []
    with torch.no_grad():
        for weight, touch in known:
            flat = weight.detach().reshape(-1)
            n = flat.numel()
            now += [flat[:1], flat[n // 2 : n // 2 + 1], flat[n - 1 :]]
            then.append(torch.frombuffer(bytearray(touch.values or b""), dtype=touch.dtype).to(weight.dtype))
        seen, expected = torch.cat([value.float() for value in now]), torch.cat([value.float() for value in then])
        return (seen != expected.to(seen.device, non_blocking=True)).sum().float()


def _copied(_live: Session, copy: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    touch = _touched.get(id(args[0]))
    if touch is not None and touch.weight() is args[0] and copy is not args[0]:
        _remember(copy, touch._replace(weight=ref(copy)), copy.data_ptr() if copy.is_cpu else 0)


def _loaded(_live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Takes note of the weights that a checkpoint was loaded into."""
    import torch

    state = args[1] if len(args) > 1 else kwargs["state_dict"]
    for path, part in descendants(args[0]):
        for name, weight in own_parameters(part).items():
            if weight.dim() > 1 and (f"{path}.{name}" if path else name) in state:
                _remember(weight, Touch(ref(weight), "loaded", _sample(torch, weight), weight.dtype), 0)
