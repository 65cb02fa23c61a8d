"""The autograd graph behind a loss, copied into plain lists, so that nothing holds on to the graph itself.

Only nodes, their connections and their shapes are read, never the tensors that they have saved: reading those may run
code of the job, such as the recomputation of a checkpoint.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional  # torch has imported it by now

NODES = 20_000  # of a larger graph nothing is told; reading takes about 25 µs a node
# What happens to a weight before it is used: nodes of these kinds over parameters alone carry no data.
_PREPARING = frozenset(
    "T Transpose Permute View Reshape Expand Unsqueeze Squeeze Select Slice Split SplitWithSizes Chunk Clone ToCopy "
    "WeightNormInterface WeightNorm Norm LinalgVectorNorm Mul Div Add Sub Mv Dot Pow Sum Sqrt AsStrided Copy".split()
)
_OPAQUE = ("CompiledFunction", "CheckpointFunction", "DifferentiableGraph", "CppFunction")
_TRANSPARENT = ("_DDPSink", "RegisterPostBackwardFunction", "_ToTorchTensor", "_FromTorchTensor", "SyncBatchNorm")


class Leaf(NamedTuple):
    """A tensor that the graph begins with; `parameter` is the identity of an `nn.Parameter`, else None."""

    parameter: Optional[int]
    shape: tuple[int, ...]


class Graph(NamedTuple):
    """Nodes by number, each before its inputs. `inputs` has None where a tensor takes no gradient."""

    kinds: list[str]  # the class of a node without "Backward0": "Relu", "Add"
    inputs: list[list[Optional[int]]]
    shapes: list[Optional[tuple[int, ...]]]
    leaves: dict[int, Leaf]
    carries_data: list[bool]  # False for parameters and what is computed of them alone
    weights: list[frozenset[int]]  # of a layer the identities of its weights of two dimensions and more
    settings: dict[int, Any]  # plain numbers that some activations were called with
    opaque: bool  # whether a part of the computation cannot be seen


def read_graph(torch: Any, loss: Any) -> Optional[Graph]:
    """Returns the graph behind a loss; None where there is none or it is too large."""
    if loss.grad_fn is None:
        return None
    nodes, edges = _nodes(loss.grad_fn)
    if not nodes:
        return None
    order = _consumers_first(edges)
    number = {old: new for new, old in enumerate(order)}
    nodes = [nodes[old] for old in order]
    inputs = [[None if old is None else number[old] for old in edges[was]] for was in order]
    kinds = [_kind(node) for node in nodes]
    leaves = {i: _leaf(torch, node) for i, node in enumerate(nodes) if kinds[i] == "AccumulateGrad"}
    data, prepared = _data(kinds, inputs, leaves)
    weights = [_own(i, inputs[i], data, prepared) for i in range(len(kinds))]
    settings = {i: _setting(kinds[i], node) for i, node in enumerate(nodes) if kinds[i] in ("Elu", "Hardtanh", "Pow")}
    opaque = any(_is_opaque(torch, kinds[i], node) for i, node in enumerate(nodes))
    return Graph(kinds, inputs, [_shape(node) for node in nodes], leaves, data, weights, settings, opaque)


def _nodes(root: Any) -> tuple[list[Any], list[list[Optional[int]]]]:
    """Returns the nodes and, for each, the numbers of its inputs; nothing of a graph that is too large."""
    index, nodes = {root: 0}, [root]
    edges: list[list[Optional[int]]] = []
    for node in nodes:  # grows as it goes
        row: list[Optional[int]] = []
        for source, _ in node.next_functions:
            at = None
            if source is not None:
                at = index.get(source)
                if at is None:
                    at = index[source] = len(nodes)
                    nodes.append(source)
            row.append(at)
        edges.append(row)
        if len(nodes) > NODES:
            return [], []
    return nodes, edges


def _consumers_first(edges: list[list[Optional[int]]]) -> list[int]:
    """Returns the numbers of the nodes such that each comes before its inputs."""
    waiting = [0] * len(edges)
    for row in edges:
        for source in row:
            if source is not None:
                waiting[source] += 1
    order = [0]
    for at in order:  # grows as it goes
        for source in edges[at]:
            if source is not None:
                waiting[source] -= 1
                if not waiting[source]:
                    order.append(source)
    return order


def _kind(node: Any) -> str:
    return str(type(node).__name__).partition("Backward")[0]


def _leaf(torch: Any, node: Any) -> Leaf:
    tensor = node.variable
    return Leaf(id(tensor) if isinstance(tensor, torch.nn.Parameter) else None, tuple(tensor.shape))


def _shape(node: Any) -> Optional[tuple[int, ...]]:
    """Returns the shape of a node's first output; None before torch 2.1, which does not tell."""
    told = getattr(node, "_input_metadata", None)
    return tuple(told[0].shape) if told else None


def _setting(kind: str, node: Any) -> Any:
    if kind == "Elu":
        return (node._saved_alpha, node._saved_scale)
    if kind == "Hardtanh":
        return (node._saved_min_val, node._saved_max_val)
    return node._saved_exponent if type(node).__name__ == "PowBackward0" else None


def _is_opaque(torch: Any, kind: str, node: Any) -> bool:
    if kind in _OPAQUE:
        return True
    return isinstance(node, torch.autograd.function.BackwardCFunction) and kind not in _TRANSPARENT


def _data(kinds: list[str], inputs: list[list[Optional[int]]], leaves: dict[int, Leaf]) -> tuple[list[bool], Any]:
    """Returns which nodes carry data, and for each of the others the weights that it is computed of."""
    data = [True] * len(kinds)
    prepared: list[frozenset[int]] = [frozenset()] * len(kinds)
    for i in reversed(range(len(kinds))):
        leaf = leaves.get(i)
        if leaf is not None:
            data[i] = leaf.parameter is None
            if leaf.parameter is not None and len(leaf.shape) > 1:
                prepared[i] = frozenset((leaf.parameter,))
        elif kinds[i] in _PREPARING:
            sources = [source for source in inputs[i] if source is not None]
            data[i] = any(data[source] for source in sources)
            if not data[i]:
                prepared[i] = frozenset().union(*(prepared[source] for source in sources))
    return data, prepared


def _own(i: int, sources: list[Optional[int]], data: list[bool], prepared: list[frozenset[int]]) -> frozenset[int]:
    if not data[i]:
        return frozenset()
    return frozenset().union(*(prepared[source] for source in sources if source is not None and not data[source]))


def levels(graph: Graph) -> dict[int, int]:
    """Returns for each weight, by identity, how many layers data have gone through when it is first used."""
    most = [0] * len(graph.kinds)
    found: dict[int, int] = {}
    for i in reversed(range(len(most))):
        below = [most[source] for source in graph.inputs[i] if source is not None and graph.carries_data[source]]
        most[i] = max(below, default=0) + bool(graph.weights[i])
        for weight in graph.weights[i]:
            found[weight] = min(found.get(weight, most[i]), most[i])
    return found
