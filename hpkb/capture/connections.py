"""Residual connections, found in the autograd graph.

A residual connection is a sum of two branches that begin at the same place, one of which goes through layers that
the other goes around. The branch around them leaves the data as they are, but for what changes their layout, or is a
projection of one layer beside two or more (the shortcut between the stages of a ResNet). Sums of losses, of
parallel layers, of embeddings and of gates are none.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple, Optional  # torch has imported it by now

from .autograd_graph import Graph

_VISITS = 20_000  # nodes looked at in all; of a graph that takes more only what was found by then is told
_PASSING = frozenset(  # what a branch around the layers may consist of
    "View UnsafeView Reshape ReshapeAlias AsStrided Transpose T Permute Expand Squeeze Unsqueeze Slice ConstantPadNd "
    "Cat AvgPool2D AvgPool3D MaxPool2DWithIndices MaxPool3DWithIndices NativeBatchNorm CudnnBatchNorm NativeLayerNorm "
    "NativeGroupNorm FusedRmsNorm NativeDropout ToCopy Clone Copy Mul Div Relu Gelu Silu LeakyRelu Elu Add Alias "
    "UpsampleNearest2D UpsampleBilinear2D Movedim Roll MeanDim1 SyncBatchNorm MiopenBatchNorm AdaptiveAvgPool2D".split()
)
_PARTS = ("Unbind", "Select", "UnsafeSplit", "UnsafeChunk")  # another step or gate of a sequence is another place
_HALVES = ("Split", "SplitWithSizes", "Chunk")  # it may be another place


class Residual(NamedTuple):
    """The weights that residual connections go around, and whether all sums were understood."""

    around: frozenset[int]
    certain: bool


class _Branches(NamedTuple):
    """Where two branches begin, what is in only one of them, and the layers on the longest way through each."""

    places: set[int]
    alone: tuple[list[int], list[int]]
    layers: tuple[int, int]
    weights: tuple[set[int], set[int]]


def residual_connections(graph: Graph) -> Residual:
    """Returns what residual connections go around; the first ones, from the inputs on, suffice."""
    around: set[int] = set()
    certain, visits = not graph.opaque, _VISITS
    for i in reversed(range(len(graph.kinds))):
        shape = graph.shapes[i]
        if graph.kinds[i] not in ("Add", "Sub") or not graph.carries_data[i]:
            continue
        if shape is None:
            certain = False
            continue
        if len(shape) < 2:
            continue
        sides = graph.inputs[i]
        if len(sides) == 2 and sides[0] is not None and sides[1] is not None:
            if graph.kinds[sides[0]] in _PARTS or graph.kinds[sides[1]] in _PARTS:
                continue
            branches, visits = _branches(graph, sides[0], sides[1], visits)
            if visits <= 0:
                return Residual(frozenset(around), False)
            found = _judge(graph, i, branches) if branches else False
            if found:
                assert branches is not None
                around |= branches.weights[0] | branches.weights[1]
            certain = certain and found is not None
        elif not around and _adds_the_input(graph, i):
            certain = False
    return Residual(frozenset(around), certain)


def _judge(graph: Graph, i: int, branches: _Branches) -> Optional[bool]:
    """Whether the sum `i` of two branches is a residual connection; None where that is open."""
    short, long = sorted((0, 1), key=lambda side: branches.layers[side])
    few, many = branches.layers[short], branches.layers[long]
    if few < 0 or many == few or many < few + 1 or few > 1 or (few == 1 and not branches.weights[short]):
        return False
    around = branches.alone[short]
    if any(graph.kinds[node] in _PARTS for node in around):
        return False
    if any(graph.kinds[place] in _HALVES + _PARTS for place in branches.places):
        return None
    if few == 0:
        passing = all(_passes(graph, node) for node in around)
        return True if passing and graph.kinds[i] == "Add" else None
    passing = all(_passes(graph, node) or graph.weights[node] for node in around)
    shape = graph.shapes[i]
    return True if passing and graph.kinds[i] == "Add" and shape is not None and len(shape) > 2 else None


def _passes(graph: Graph, node: int) -> bool:
    kind = graph.kinds[node]
    if kind not in _PASSING:
        return not graph.carries_data[node]
    data = [source for source in graph.inputs[node] if source is not None and graph.carries_data[source]]
    return kind != "Mul" or len(data) < 2  # a product of two is a gate


def _branches(graph: Graph, a: int, b: int, visits: int) -> tuple[Optional[_Branches], int]:
    """Returns the branches from where the two last were one, None where they never were, and the visits left.

    Nodes are taken with consumers first, so that all of a node's marks are known when its turn comes.
    """
    if a == b:
        return None, visits
    marks, heap, alone = {a: 1, b: 2}, sorted((a, b)), ([], [])  # type: ignore[var-annotated]
    single = 2
    while heap and single and visits > 0:
        visits -= 1
        node = heapq.heappop(heap)
        mark = marks[node]
        if mark != 3:
            single -= 1
            alone[mark - 1].append(node)
        for source in graph.inputs[node]:
            if source is None or (source in graph.leaves and not graph.carries_data[source]):
                continue
            known = marks.get(source)
            if known is None:
                marks[source] = mark
                heapq.heappush(heap, source)
                single += mark != 3
            elif known | mark != known:
                marks[source] = 3
                single -= 1
    places = _begins(graph, a, alone[0], marks) & _begins(graph, b, alone[1], marks)
    layers = (_layers(graph, a, alone[0], places), _layers(graph, b, alone[1], places))
    weights = [set().union(*(graph.weights[node] for node in nodes)) for nodes in alone]
    return _Branches(places, alone, layers, (weights[0] - weights[1], weights[1] - weights[0])), visits


def _begins(graph: Graph, end: int, alone: list[int], marks: dict[int, int]) -> set[int]:
    """Returns the nodes of both branches at which one of them begins."""
    feeding = [source for node in alone for source in graph.inputs[node]]
    return {node for node in (end, *feeding) if node is not None and marks.get(node) == 3 and graph.carries_data[node]}


def _layers(graph: Graph, end: int, alone: list[int], places: set[int]) -> int:
    """Returns the most layers on a way from where both branches begin to the end of one; -1 where there is no way."""
    most: dict[int, int] = {}
    for node in reversed(alone):
        ways = [-1]
        for source in graph.inputs[node]:
            if source is not None and graph.carries_data[source]:
                ways.append(0 if source in places else most.get(source, -1))
        way = max(ways)
        most[node] = way + (1 if way >= 0 and graph.weights[node] else 0)
    return 0 if end in places else most.get(end, -1)


def _adds_the_input(graph: Graph, i: int) -> bool:
    """Whether a sum may be one with the model's own input, which takes no gradient and so cannot be seen.

    Such a sum has as many features as the first layer takes.
    """
    shape = graph.shapes[i]
    seen: set[int] = set()
    todo = [source for source in graph.inputs[i] if source is not None]
    while todo and shape is not None and len(seen) < _VISITS:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if graph.weights[node] and None in graph.inputs[node]:
            taken = [graph.leaves[leaf].shape for leaf in _weight_leaves(graph, node)]
            if any(len(weight) > 1 and weight[1] in (shape[1], shape[-1]) for weight in taken):
                return True
        todo += [source for source in graph.inputs[node] if source is not None and graph.carries_data[source]]
    return False


def _weight_leaves(graph: Graph, node: int) -> list[int]:
    found, todo = [], [source for source in graph.inputs[node] if source is not None and not graph.carries_data[source]]
    while todo:
        source = todo.pop()
        if source in graph.leaves:
            found.append(source)
        todo += [below for below in graph.inputs[source] if below is not None]
    return found
