"""Depth, width and kinds of layers of a model, from its tree of modules and the shapes of its parameters."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Iterator, Mapping, Optional  # torch has imported it by now

from .modules import all_parameters, children, class_name, descendants, own_parameters, unwrapped

_CONTAINERS = frozenset(["Sequential", "ModuleList", "ModuleDict"])
_NO_LAYER = re.compile(r"Norm\w*$|Embed", re.IGNORECASE)  # layers with weights that neither depth nor width counts
_FEATURES = ("out_features", "out_channels", "hidden_size", "nf")  # `nf` is that of transformers' Conv1D
_KINDS = 24


def layer_kinds(models: list[Any]) -> str:
    """Returns how many there are of each class of module without modules inside: "Conv2d:4 Linear:2 ReLU:5"."""
    parts = [part for model in models for _, part in descendants(model) if not children(part)]
    counts = Counter(name for name in map(class_name, parts) if name not in _CONTAINERS)
    kept = sorted(kind for kind, _ in counts.most_common(_KINDS))
    return " ".join(f"{kind}:{counts[kind]}" for kind in kept)


def depth(model: Any, levels: Optional[Mapping[int, int]]) -> Optional[int]:
    """Returns the number of blocks of a stack of them, else of layers with weights; None where that is ambiguous.

    `levels` says how many layers data have gone through at each weight, so that blocks side by side are told from a
    stack; None where the computation could not be seen.
    """
    stacks = blocks(model)
    if not stacks:
        count = sum(layers for _, layers in weighted_layers(model))
        return count or None
    if len(stacks) > 1:
        return None
    (stack,) = stacks.values()
    return len(stack) if _one_after_another(stack, levels) else None


def width(model: Any) -> Optional[int]:
    """Returns the model dimension of a stack of blocks, else the most common size of all layers but the last."""
    stacks = blocks(model)
    if stacks:
        sizes = {_through(block) for stack in stacks.values() for block in stack}
        return sizes.pop() if len(sizes) == 1 else None
    sizes_of = [(features_out(layer), count) for layer, count in weighted_layers(model)][:-1]
    counts: Counter[int] = Counter()
    for size, count in sizes_of:
        if size is None:
            return None
        counts[size] += count
    ranked = counts.most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def weighted_layers(model: Any) -> list[tuple[Any, int]]:
    """Returns the layers with weights, and of how many layers each consists: a recurrent one has `num_layers`."""
    found = []
    for _, part in descendants(model):
        weights = [p for p in own_parameters(part).values() if p.dim() > 1]
        if not weights or _NO_LAYER.search(class_name(part)):
            continue
        if "RNNBase" in {base.__name__ for base in type(part).__mro__}:
            found.append((part, int(part.__dict__["num_layers"])))
        elif not children(part) or features_out(part) is not None or "in_proj_weight" in own_parameters(part):
            found.append((part, 1))
    return found


def features_out(layer: Any) -> Optional[int]:
    """Returns how many features a layer gives; None where it does not say."""
    for name in _FEATURES:
        value = layer.__dict__.get(name)
        if type(value) is int:
            return value
    weight = own_parameters(layer).get("weight")
    return int(weight.shape[0]) if weight is not None and weight.dim() > 1 else None


def blocks(model: Any) -> dict[str, list[Any]]:
    """Returns the model's blocks by class: modules of two layers and more of which there are several side by side."""
    inner = _inside(model)
    composite = [part for part in inner if len(weighted_layers(part)) > 1]
    counts = Counter(class_name(part) for part in composite)
    found: dict[str, list[Any]] = {}
    for part in composite:
        repeated = counts[class_name(part)] > 1
        within = {} if repeated and not _is_stage(part) else blocks(part)
        if repeated and not within:
            within = {class_name(part): [part]}
        for name, stack in within.items():
            found.setdefault(name, []).extend(stack)
    return {name: stack for name, stack in found.items() if len(stack) > 1}


def _inside(module: Any) -> list[Any]:
    """Returns the modules right inside of one, looking through plain containers and wrappers."""
    found: dict[int, Any] = {}
    todo = list(children(module).values())[::-1]
    while todo:
        part = unwrapped(todo.pop())
        if type(part).__name__ in _CONTAINERS and type(part).__module__.startswith("torch."):
            todo += list(children(part).values())[::-1]
        else:
            found.setdefault(id(part), part)
    return list(found.values())


def _is_stage(module: Any) -> bool:
    """Whether most of the layers in a module are in blocks of one class: such a module is a stage of several blocks."""
    inner = [(class_name(part), len(weighted_layers(part))) for part in _inside(module)]
    times = Counter(name for name, _ in inner)
    sizes: Counter[str] = Counter()
    for name, layers in inner:
        sizes[name] += layers if layers > 1 else 0
    repeated = [n for name, n in sizes.items() if times[name] > 1]
    return bool(repeated) and max(repeated) > 0.6 * sum(layers for _, layers in inner)


def _one_after_another(stack: list[Any], levels: Optional[Mapping[int, int]]) -> bool:
    """Whether data go through the blocks in turn. Unseen, those that keep the number of features are taken so."""
    first = [min(_levels_of(block, levels or {}), default=None) for block in stack]
    if None in first:  # compiled, or frozen
        return all(_through(block) is not None for block in stack)
    return len(first) == len(set(first))


def _levels_of(block: Any, levels: Mapping[int, int]) -> Iterator[int]:
    return (levels[weight] for weight in all_parameters(block) if weight in levels)


def _through(block: Any) -> Optional[int]:
    """Returns the features that enter and leave a block, None where those are not the same."""
    layers = [layer for layer, _ in weighted_layers(block)]
    enters = _features_in(layers[0])
    norms = {tuple(part.shape) for _, module in descendants(block) for part in _scales(module)}
    if norms and norms == {(enters,)}:
        return enters
    return enters if enters is not None and enters == features_out(layers[-1]) else None


def _scales(module: Any) -> list[Any]:
    if not re.search(r"(Layer|RMS|Rms)Norm\w*$", class_name(module)):
        return []
    return [p for name, p in own_parameters(module).items() if name == "weight"]


def _features_in(layer: Any) -> Optional[int]:
    for name in ("in_features", "in_channels", "embed_dim", "input_size", "nx"):
        value = layer.__dict__.get(name)
        if type(value) is int:
            return value
    return None
