"""Layers with weights, found in the autograd graph behind a loss, and found again in that of a later step.

Walking through a whole graph takes as long as some small layers do. So the first walk notes the way to each layer, and
later steps follow only the ways to those that are looked at. A way leads to the same layer if at its end there is the
same kind of node with the same weight; whether the weight is used elsewhere too is only seen by a whole walk.
"""

from __future__ import annotations

import collections
from typing import Any, NamedTuple, Optional  # torch has imported it by now

VIEWS = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0")
WEIGHT_INPUT = {"AddmmBackward0": 2, "MmBackward0": 1, "ConvolutionBackward0": 1, "EmbeddingBackward0": 0}
MATRIX_INPUT = {"AddmmBackward0": 1, "MmBackward0": 0}
_BETWEEN = ("TBackward0", "ToCopyBackward0")  # a weight and its use: transposed, in the precision of autocast

Hops = tuple[int, ...]  # from the loss on, the input of each node by which the way goes on


class Layer(NamedTuple):
    """A node of the graph that makes the gradient of a weight."""

    node: Any
    kind: str
    consumer: Any  # the node that its result goes to in the forward pass
    weight: Any


class Way(NamedTuple):
    """How a layer is found again, and by what it is known. Nothing of the job is held."""

    hops: Hops
    kind: str
    weight: int  # its `id`
    shape: tuple[int, ...]  # of the layer's result


class Graph(NamedTuple):
    """What a loss was computed by: layers with weights of their own, and the batch sizes that attention shows."""

    layers: list[Layer]
    ways: list[Way]  # to each of the layers
    attended: set[int]
    attention: Optional[Hops]  # the way to the first node of attention


def graph_of(loss: Any, weights: dict[int, int]) -> Graph:
    """Returns the layers behind a loss whose weights are among those, by `id`, and used by no other layer."""
    found: dict[int, Optional[Layer]] = {}
    attended: set[int] = set()
    attention = None
    came: dict[Any, tuple[Any, int]] = {loss.grad_fn: (None, 0)}  # the node before on the shortest way, and its input
    waiting = collections.deque([loss.grad_fn])
    while waiting:
        node = waiting.popleft()
        kind, inputs = type(node).__name__, node.next_functions
        place = WEIGHT_INPUT.get(kind)
        if place is not None:
            weight = _weight(inputs[place][0])
            if id(weight) in weights:
                found[id(weight)] = None if id(weight) in found else Layer(node, kind, came[node][0], weight)
        elif kind.startswith("ScaledDotProduct") or kind.endswith("SoftmaxBackward0"):
            size = _attended(node)
            if size is not None:
                attended.add(size)
                attention = attention or node
        for index, (other, _) in enumerate(inputs):
            if other is not None and other not in came:
                came[other] = node, index
                waiting.append(other)
    layers = [layer for layer in found.values() if layer is not None]
    ways = [Way(_hops(x.node, came), x.kind, id(x.weight), tuple(result_shape(x.node))) for x in layers]
    return Graph(layers, ways, attended, None if attention is None else _hops(attention, came))


def find(loss: Any, ways: list[tuple[int, Way]]) -> Optional[list[Layer]]:
    """Returns the layers at the ends of ways in the graph behind a loss, None where one of them is not there.

    Beside each way is how many of its hops are those of the way before it (`side_by_side`): they are taken once.
    """
    nodes, layers = [loss.grad_fn], []
    for shared, way in ways:
        del nodes[shared + 1 :]
        for hop in way.hops[shared:]:
            inputs = nodes[-1].next_functions
            if hop >= len(inputs) or inputs[hop][0] is None:
                return None
            nodes.append(inputs[hop][0])
        node = nodes[-1]
        if type(node).__name__ != way.kind:
            return None
        weight = _weight(node.next_functions[WEIGHT_INPUT[way.kind]][0])
        if id(weight) != way.weight:
            return None
        layers.append(Layer(node, way.kind, nodes[-2] if way.hops else None, weight))
    return layers


def side_by_side(ways: list[Way]) -> list[tuple[int, Way]]:
    """Returns ways in an order in which neighbours share many hops, and how many with the one before."""
    ordered = sorted(ways, key=lambda way: way.hops)
    before: list[Hops] = [(), *(way.hops for way in ordered)]
    return [(_alike(one, way.hops), way) for one, way in zip(before, ordered)]


def _alike(one: Hops, other: Hops) -> int:
    """Returns by how many hops two ways begin alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def attended_at(loss: Any, hops: Hops) -> Optional[int]:
    """Returns the batch size that the attention at the end of a way shows, None where there is none."""
    node = loss.grad_fn
    for hop in hops:
        inputs = node.next_functions
        if hop >= len(inputs) or inputs[hop][0] is None:
            return None
        node = inputs[hop][0]
    return _attended(node)


def batch_of(graph: Graph) -> Optional[int]:
    """Returns the number of examples as far as shapes tell it, None where they leave a doubt."""
    sizes = graph.attended or {
        layer.node._saved_input.shape[0] for layer in graph.layers if layer.kind == "ConvolutionBackward0"
    }
    if not sizes and all(layer.kind in MATRIX_INPUT and row_shape(layer) is None for layer in graph.layers):
        sizes = {result_shape(layer.node)[0] for layer in graph.layers}
    return next(iter(sizes)) if len(sizes) == 1 else None


def row_shape(layer: Layer) -> Any:
    """Returns the dimensions that were folded into the rows of a matrix product, None where none were."""
    rows = result_shape(layer.node)[0]
    before = layer.node.next_functions[MATRIX_INPUT[layer.kind]][0]
    shapes = []
    if type(layer.consumer).__name__ in VIEWS:
        shapes.append(result_shape(layer.consumer))
    if type(before).__name__ in VIEWS:
        shapes.append(before._saved_self_sym_sizes)
    return next((shape[:-1] for shape in shapes if len(shape) > 2 and _product(shape[:-1]) == rows), None)


def result_shape(node: Any) -> Any:
    """Returns the shape of what a node's operation resulted in."""
    return node._input_metadata[0].shape


def _product(sizes: Any) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _attended(node: Any) -> Optional[int]:
    shape = result_shape(node)
    return shape[0] if len(shape) == 4 else None  # batch, heads, queries, keys or features


def _hops(node: Any, came: dict[Any, tuple[Any, int]]) -> Hops:
    hops = []
    before, index = came[node]
    while before is not None:
        hops.append(index)
        before, index = came[before]
    return tuple(reversed(hops))


def _weight(node: Any) -> Any:
    """Returns the parameter that a node hands on, None where it is computed."""
    while type(node).__name__ in _BETWEEN:
        node = node.next_functions[0][0]
    return getattr(node, "variable", None)
