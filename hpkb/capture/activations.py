"""The activation functions of a model in canonical words, from the autograd graph and from its modules.

An activation stands between two layers. What comes after the last layer is an output, what is multiplied with
something else is a gate, and neither is told.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Iterable, NamedTuple, Optional  # torch has imported it by now

from .autograd_graph import Graph
from .modules import children, class_name, descendants

_NODES = {
    "Relu": "relu", "Gelu": "gelu", "Silu": "silu", "Tanh": "tanh", "LeakyRelu": "leaky_relu", "Mish": "mish",
    "Sigmoid": "sigmoid", "PreluKernel": "prelu", "Prelu": "prelu", "Hardswish": "hard_swish", "Softplus": "softplus",
    "RreluWithNoise": "rrelu", "Hardsigmoid": "hard_sigmoid", "Elu": "elu", "Hardtanh": "hard_tanh",
    "Glu": "glu", "LogSigmoid": "log_sigmoid",
}  # fmt: skip
_MODULES = {
    "ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Tanh": "tanh", "LeakyReLU": "leaky_relu", "Mish": "mish",
    "Sigmoid": "sigmoid", "PReLU": "prelu", "Hardswish": "hard_swish", "Softplus": "softplus", "RReLU": "rrelu",
    "ELU": "elu", "SELU": "selu", "CELU": "celu", "ReLU6": "relu6", "Hardtanh": "hard_tanh", "GLU": "glu",
    "NewGELUActivation": "gelu", "NewGELU": "gelu", "FastGELUActivation": "gelu", "GELUActivation": "gelu",
    "PytorchGELUTanh": "gelu", "GELUTanh": "gelu", "QuickGELUActivation": "quick_gelu", "QuickGELU": "quick_gelu",
    "SiLUActivation": "silu", "Swish": "silu", "MemoryEfficientSwish": "silu",
}  # fmt: skip
_WEAK = ("tanh", "sigmoid", "softplus", "hard_sigmoid", "log_sigmoid")  # also used for outputs, gates and bounds
_GATED = re.compile(r"(LSTM|GRU)(Cell)?$")


class Activation(NamedTuple):
    """An activation and the identities of a weight before and after it, None where there is none."""

    word: str
    before: Optional[int]
    after: Optional[int]


def activations_in(graph: Graph) -> list[Activation]:
    """Returns what the graph applies to the data, in no order."""
    consumers = _consumers(graph)
    before, after = _nearest_before(graph), _nearest_after(graph, consumers)
    found = []
    for i, kind in enumerate(graph.kinds):
        word = _NODES.get(kind)
        if word is not None and graph.carries_data[i]:
            word = _precise(graph, i, word, consumers)
            if word is not None:
                found.append(Activation(word, before[i], after[i]))
    return found


def activation_word(found: Iterable[Activation], owned: Iterable[int], models: Iterable[Any]) -> Optional[str]:
    """Returns the activations between layers of the given weights, joined with "+"; None where there are none."""
    weights = set(owned)
    counts = Counter(word for word, before, after in found if before in weights and after in weights)
    gated = any(_GATED.match(class_name(part)) for model in models for _, part in descendants(model))
    return _joined(counts, gated)


def activation_of_modules(models: Iterable[Any]) -> Optional[str]:
    """Returns the activations that are modules, for a model whose computation cannot be seen."""
    words: Counter[str] = Counter()
    for model in models:
        for _, part in descendants(model):
            if not children(part):
                words[_MODULES.get(class_name(part), "")] += 1
    del words[""]
    return _joined(Counter({word: n for word, n in words.items() if word not in _WEAK}), False)


def _joined(counts: Counter[str], gated: bool) -> Optional[str]:
    """Leaves out what is rather an output or a pooling layer's than the model's activation."""
    strong = sum(n for word, n in counts.items() if word not in _WEAK)
    kept = {word for word, n in counts.items() if word not in _WEAK or (not gated and n > strong)}
    if "tanh" in kept:
        kept -= {"sigmoid"}
    return "+".join(sorted(kept)) or None


def _precise(graph: Graph, i: int, word: str, consumers: list[list[int]]) -> Optional[str]:
    """Returns the word for what is several kinds in one node, or one kind put together of several."""
    setting = graph.settings.get(i)
    if word == "elu" and setting is not None:
        alpha, scale = setting
        return "selu" if abs(scale - 1.0507) < 1e-3 else "elu" if alpha == 1 else None
    if word == "hard_tanh" and setting is not None:
        return "relu6" if setting == (0, 6) else "hard_tanh"
    if word == "tanh" and any(None in graph.inputs[user] and graph.kinds[user] == "Add" for user in consumers[i]):
        return "gelu" if _has_cube(graph, i) else None
    products = [user for user in consumers[i] if graph.kinds[user] == "Mul" and None not in graph.inputs[user]]
    if word == "sigmoid" and len(products) == len(consumers[i]) == 1:
        own, factors = graph.inputs[i], graph.inputs[products[0]]
        return "silu" if any(source in own for source in factors) else None
    return None if products and word in _WEAK else word


def _has_cube(graph: Graph, i: int) -> bool:
    """Whether the tanh is that of the approximate GELU, which takes x + 0.044715 x³."""
    level = [i]
    for _ in range(5):
        level = [source for node in level for source in graph.inputs[node] if source is not None][:16]
        if any(graph.kinds[node] == "Pow" and graph.settings.get(node) == 3 for node in level):
            return True
    return False


def _consumers(graph: Graph) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in graph.kinds]
    for i, sources in enumerate(graph.inputs):
        for source in sources:
            if source is not None:
                users[source].append(i)
    return users


def _nearest_before(graph: Graph) -> list[Optional[int]]:
    nearest: list[Optional[int]] = [None] * len(graph.kinds)
    for i in reversed(range(len(nearest))):
        if graph.weights[i]:
            nearest[i] = min(graph.weights[i])
        else:
            below = (nearest[source] for source in graph.inputs[i] if source is not None and graph.carries_data[source])
            nearest[i] = next((weight for weight in below if weight is not None), None)
    return nearest


def _nearest_after(graph: Graph, consumers: list[list[int]]) -> list[Optional[int]]:
    nearest: list[Optional[int]] = [None] * len(graph.kinds)
    for i, users in enumerate(consumers):
        above = (min(graph.weights[user]) if graph.weights[user] else nearest[user] for user in users)
        nearest[i] = next((weight for weight in above if weight is not None), None)
    return nearest
