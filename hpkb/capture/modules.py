"""The modules that an optimizer trains: which of the job's models hold its parameters.

Modules are noted as they are made until torch.compile is loaded (the first optimizer loads it): from then on a
function of ours inside `Module.__init__` might be compiled along. What was made otherwise, copied or unpickled, is
found by one look over all objects of the process.
"""

from __future__ import annotations

import functools
from typing import Any, Iterable, Iterator, Sequence  # torch has imported it by now
from weakref import ref

from .patch import Replaced
from .session import current
from .tracebacks import leave_out_this_frame

_WRAPPERS = {  # classes that only run another module, and under which name they hold it
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
    "AveragedModel": "module",
    "DeepSpeedEngine": "module",
    "_FabricModule": "_original_module",
}
_WRAPPING_PACKAGES = ("torch", "deepspeed", "accelerate", "lightning", "pytorch_lightning", "lightning_fabric")
_NOTED = 200_000  # modules noted at most; a job that goes on making them is not followed
_UNNAMED = ("Sequential", "ModuleList", "ModuleDict")  # say less of a model than the module around them
_ROOTS = 3  # models of one optimizer that are named together

_noted: list[ref[Any]] = []
_replaced = Replaced()


def watch_modules(torch: Any) -> None:
    """Takes note of every module made from now until torch.compile is loaded."""
    owner = torch.nn.Module
    original = owner.__init__
    note = _noted.append

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(_noted) < _NOTED:
            note(ref(self))
        try:
            original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise

    _replaced.put(owner, "__init__", __init__)


def unwatch_modules() -> None:
    """Puts torch's own `Module.__init__` back."""
    _replaced.restore()


def models_of(torch: Any, parameters: Sequence[Any], others: Iterable[Any] = ()) -> list[Any]:
    """Returns the models that hold an optimizer's parameters, unwrapped; none where that is ambiguous.

    `others` are the parameters of other optimizers: of a module that holds models of both, the part is returned.
    """
    wanted = {id(parameter) for parameter in parameters}
    foreign = {id(parameter) for parameter in others} - wanted
    found = _holders(wanted, [module for module in (noted() for noted in _noted) if module is not None])
    if not found and current() is not None:
        found = _holders(wanted, _all_modules(torch))
    return [_narrowed(unwrapped(top), wanted, foreign) for top in found]


def forget_modules() -> None:
    """Drops what was noted, once every model has been found."""
    _noted.clear()


def unwrapped(module: Any) -> Any:
    """Returns the module without what data parallelism, compilation and the like have put around it."""
    while True:
        inner = children(module).get(_wraps(type(module)))
        if inner is None:
            return module
        module = inner


def class_name(module: Any) -> str:
    """Returns the class's name as the job wrote it; `fully_shard` makes a class of its own from it."""
    kind = type(module)
    if kind.__name__.startswith("FSDP") and len(kind.__mro__) > 2 and "FSDPModule" in _names(kind):
        return next(base.__name__ for base in kind.__mro__[1:] if base.__name__ != "FSDPModule")
    if kind.__name__.startswith("Parametrized") and kind.__module__.startswith("torch.nn.utils.parametriz"):
        return kind.__mro__[1].__name__
    return kind.__name__


def children(module: Any) -> dict[str, Any]:
    """Returns the named modules right inside of a module, without calling any code of the job."""
    held = module.__dict__.get("_modules")
    if not held:
        return {}
    return {name: child for name, child in held.items() if child is not None}


def own_parameters(module: Any) -> dict[str, Any]:
    """Returns the parameters that a module holds itself."""
    held = module.__dict__.get("_parameters")
    if not held:
        return {}
    return {name: parameter for name, parameter in held.items() if parameter is not None}


def descendants(module: Any) -> Iterator[tuple[str, Any]]:
    """Yields a module and every one inside of it once, parents first and in the order of registration, with paths."""
    seen: set[int] = set()
    todo = [("", module)]
    while todo:
        path, module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        held = module.__dict__.get("_modules")
        if held:  # most have none, and models of ten thousand modules are gone through several times
            prefix = path + "." if path else ""
            todo += [(prefix + name, child) for name, child in reversed(list(held.items())) if child is not None]


def all_parameters(module: Any) -> dict[int, Any]:
    """Returns every parameter of a module once, by identity, in the order of registration."""
    return {id(p): p for _, part in descendants(module) for p in own_parameters(part).values()}


def _holders(wanted: set[int], modules: Iterable[Any]) -> list[Any]:
    """Returns the outermost modules that together hold the wanted parameters, each of them once."""
    known, inner = _family(modules)
    held = {id(top): wanted & all_parameters(top).keys() for top in known if id(top) not in inner}
    tops = [top for top in known if held.get(id(top))]
    within = set().union(*held.values()) if held else set()
    whole = [top for top in tops if held[id(top)] == within]
    if whole:
        sizes = [len(all_parameters(top)) for top in whole]
        smallest = [top for top, size in zip(whole, sizes) if size == min(sizes)]
        return smallest if len({id(unwrapped(top)) for top in smallest}) == 1 else []
    disjoint = sum(len(held[id(top)]) for top in tops) == len(within)
    return tops if disjoint and len(tops) <= _ROOTS else []


def _family(modules: Iterable[Any]) -> tuple[list[Any], set[int]]:
    """Returns the modules with all that they hold, and the identities of those that are held by others."""
    known: dict[int, Any] = {}
    inner: set[int] = set()
    todo = list(modules)[::-1]
    while todo:
        module = todo.pop()
        if id(module) in known:
            continue
        known[id(module)] = module
        held = list(children(module).values())
        inner.update(map(id, held))
        todo += held
    return list(known.values()), inner


def _all_modules(torch: Any) -> list[Any]:
    """Returns every module of the process. Only types are looked at, so that no object's own code runs."""
    import gc

    kinds: set[type] = set()
    todo = [torch.nn.Module]
    while todo:
        kind = todo.pop()
        if kind not in kinds:
            kinds.add(kind)
            todo += type.__subclasses__(kind)
    return [thing for thing in gc.get_objects() if type(thing) in kinds]


def _narrowed(top: Any, wanted: set[int], foreign: set[int]) -> Any:
    """Returns the part of a Lightning module, or of a module that holds several optimizers' models, that is trained."""
    while True:
        held = wanted & all_parameters(top).keys()
        shared = "LightningModule" in _names(type(top)) or not foreign.isdisjoint(all_parameters(top))
        whole = [child for child in children(top).values() if held <= all_parameters(child).keys()]
        if not shared or len(whole) != 1 or type(unwrapped(whole[0])).__name__ in _UNNAMED:
            return top
        top = unwrapped(whole[0])


def _wraps(kind: type) -> str:
    for base in kind.__mro__:
        if base.__name__ in _WRAPPERS and base.__module__.partition(".")[0] in _WRAPPING_PACKAGES:
            return _WRAPPERS[base.__name__]
    return ""


def _names(kind: type) -> set[str]:
    return {base.__name__ for base in kind.__mro__}
