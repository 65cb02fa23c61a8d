"""What one backward pass tells of the gradients of parts of its batch, layer by layer.

A layer's weight gradient is a sum over examples of products of what came in and what comes back, and both are at
hand while the layer's node of the autograd graph runs: the same sum over half of the examples costs at most half of
what the whole one did. Where each row is one example, the norm of each example's gradient is the product of two norms
(Goodfellow 2015, "Efficient per-example gradient computations"), which is cheaper still and tells more.

Only nodes of the graph are watched, so neither the model nor the optimizer is touched. A compiled or checkpointed
part has no such nodes, a weight that is used twice is left out, and so is a layer whose examples cannot be told from
its other dimensions. Of a large weight only some rows are looked at, other ones each time, and scaled up.
"""

from __future__ import annotations

import math
import time
from typing import Any, Callable, NamedTuple, Optional  # torch has imported it by now

_ELEMENTS = 1 << 18  # of a weight's gradient that are looked at: 1 MB
_LARGEST_KERNEL = 1 << 21  # elements of a convolution's weight, whose gradient must be made as a whole
_VIEWS = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0")
_BETWEEN = ("TBackward0", "ToCopyBackward0")  # a weight and its use: transposed, in the precision of autocast
_WEIGHT_INPUT = {"AddmmBackward0": 2, "MmBackward0": 1, "ConvolutionBackward0": 1, "EmbeddingBackward0": 0}
_MATRIX_INPUT = {"AddmmBackward0": 1, "MmBackward0": 0}
_SAVED = {
    "AddmmBackward0": "mat1",
    "MmBackward0": "self",
    "ConvolutionBackward0": "input",
    "EmbeddingBackward0": "indices",
}


class Pieces(NamedTuple):
    """What one layer tells of a batch whose gradient is a mean over examples: floats, or scalar tensors on a GPU."""

    product: Any  # the mean product of two different examples' gradients
    squared_norm: Any  # ‖g‖² of the batch


class Layer(NamedTuple):
    """A node of the graph that makes the gradient of a weight."""

    node: Any
    kind: str
    consumer: Any  # the node that its result goes to in the forward pass
    weight: Any


class Graph(NamedTuple):
    """What a loss was computed by: layers with weights of their own, and the batch sizes that attention shows."""

    layers: list[Layer]
    attended: set[int]


class Split(NamedTuple):
    """How rows belong to examples: they are (n, inner), or (inner, n) where `leads` is false."""

    n: int
    inner: int
    leads: bool

    def half(self, rows: Any) -> Any:
        """Returns the rows of the first half of the examples."""
        if self.leads:
            return rows[: self.n // 2 * self.inner]
        return rows.unflatten(0, (self.inner, self.n))[:, : self.n // 2].flatten(0, 1)

    def ordered(self, rows: Any) -> Any:
        """Returns the rows example by example."""
        return rows if self.leads else rows.unflatten(0, (self.inner, self.n)).transpose(0, 1).flatten(0, 1)


def graph_of(loss: Any, weights: dict[int, int]) -> Graph:
    """Returns the layers behind a loss whose weights are among those, by `id`, and used by no other layer."""
    found: dict[int, Optional[Layer]] = {}
    attended: set[int] = set()
    waiting, seen = [(loss.grad_fn, None)], set()
    while waiting:
        node, consumer = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        kind, inputs = type(node).__name__, node.next_functions
        place = _WEIGHT_INPUT.get(kind)
        if place is not None:
            weight = _weight(inputs[place][0])
            if id(weight) in weights:
                found[id(weight)] = None if id(weight) in found else Layer(node, kind, consumer, weight)
        elif kind.startswith("ScaledDotProduct") or kind.endswith("SoftmaxBackward0"):
            shape = _result_shape(node)
            if len(shape) == 4:  # batch, heads, queries, keys or features
                attended.add(shape[0])
        waiting.extend([(other, node) for other, _ in inputs if other is not None])
    return Graph([layer for layer in found.values() if layer is not None], attended)


def batch_of(graph: Graph) -> Optional[int]:
    """Returns the number of examples as far as shapes tell it, None where they leave a doubt."""
    sizes = graph.attended or {
        layer.node._saved_input.shape[0] for layer in graph.layers if layer.kind == "ConvolutionBackward0"
    }
    if not sizes and all(layer.kind in _MATRIX_INPUT and _row_shape(layer) is None for layer in graph.layers):
        sizes = {_result_shape(layer.node)[0] for layer in graph.layers}
    return next(iter(sizes)) if len(sizes) == 1 else None


def watch(torch: Any, layer: Layer, n: int, turn: int, tell: Callable[[Any, float], None]) -> Any:
    """Has `tell` called when the layer runs, with its `Pieces` or an error and the seconds that they took.

    Returns a handle, None where the layer cannot be watched.
    """
    saved = _saved(layer)
    measure = None if saved is None else _measure(torch, layer, saved, n, turn)
    if measure is None:
        return None
    held = [saved]
    place = _WEIGHT_INPUT[layer.kind]

    def ran(made: tuple[Any, ...], came: tuple[Any, ...]) -> None:
        began = time.perf_counter()
        try:
            with torch.no_grad():
                # The input is let go here, as the graph may live longer than what it saved.
                result = measure(held.pop(), came[0].detach(), made[place].detach())
        except Exception as error:
            tell(error, 0.0)
        else:
            tell(result, time.perf_counter() - began)

    return layer.node.register_hook(ran)


Measure = Callable[[Any, Any, Any], Pieces]


def _measure(torch: Any, layer: Layer, saved: Any, n: int, turn: int) -> Optional[Measure]:
    """Returns what makes `Pieces` of the layer's input, the gradient of its result and that of its weight."""
    if layer.kind in _MATRIX_INPUT:
        if saved.shape[0] == n:
            return lambda rows, back, gradient: _by_rows(torch, rows, back, gradient)
        return _of_matrix(_split(_row_shape(layer), n), turn)
    if layer.kind == "EmbeddingBackward0":
        return _of_embedding(layer.node, _split(saved.shape, n), turn)
    if saved.shape[0] != n or layer.weight.numel() > _LARGEST_KERNEL:
        return None
    return _of_convolution(torch, layer)


def _by_rows(torch: Any, rows: Any, back: Any, gradient: Any) -> Pieces:
    """Returns the pieces of a layer of which each row is an example, from the norms of all of their gradients."""
    norm, f32 = torch.linalg.vector_norm, torch.float32
    each = norm(rows, dim=1, dtype=f32) * norm(back, dim=1, dtype=f32)
    own, whole = _number(each.dot(each)), _number(norm(gradient, dtype=f32)) ** 2
    return Pieces((whole - own) * (len(rows) / (len(rows) - 1)), whole)


def _of_matrix(split: Optional[Split], turn: int) -> Optional[Measure]:
    if split is None:
        return None

    def measure(rows: Any, back: Any, gradient: Any) -> Pieces:
        groups = _groups(split.n, gradient.numel())
        if groups > 2:
            shape = (groups, len(rows) // groups, -1)
            return _of_groups(split.ordered(rows).reshape(shape).mT @ split.ordered(back).reshape(shape), gradient)
        chosen, share = _some(back.shape[1], rows.shape[1], turn)
        half = split.half(rows).t() @ split.half(back[:, chosen])
        return _of_halves(half, gradient[:, chosen], split.n, share)

    return measure


def _of_embedding(node: Any, split: Optional[Split], turn: int) -> Optional[Measure]:
    if split is None or node._saved_sparse or node._saved_scale_grad_by_freq:
        return None
    padding = node._saved_padding_idx  # beyond the last row where there is none

    def measure(indices: Any, back: Any, gradient: Any) -> Pieces:
        chosen, share = _some(gradient.shape[1], gradient.shape[0], turn)
        gradient = gradient[:, chosen]
        half = gradient.new_zeros(gradient.shape)
        half.index_add_(0, split.half(indices.flatten()), split.half(back.flatten(0, -2)[:, chosen]))
        if 0 <= padding < len(half):
            half[padding] = 0
        return _of_halves(half, gradient, split.n, share)

    return measure


def _of_convolution(torch: Any, layer: Layer) -> Measure:
    node, weight = layer.node, layer.weight.detach()
    stride, padding, dilation = node._saved_stride, node._saved_padding, node._saved_dilation
    transposed, groups = node._saved_transposed, node._saved_groups
    settings = (stride, padding, dilation, transposed, node._saved_output_padding, groups)
    is_plain = weight.dim() == 4 and groups == 1 and not transposed

    def measure(images: Any, back: Any, gradient: Any) -> Pieces:
        n = len(images)
        unfolded = n * weight[0].numel() * back[0, 0].numel()
        if is_plain and max(unfolded, n * weight.numel()) <= _ELEMENTS:
            patches = torch.nn.functional.unfold(images, weight.shape[2:], dilation, padding, stride)
            return _of_groups(back.flatten(2) @ patches.mT, gradient)
        with _no_tuning(torch):
            half = torch.ops.aten.convolution_backward(
                back[: n // 2], images[: n // 2], weight.to(images.dtype), None, *settings, [False, True, False]
            )[1]
        return _of_halves(half, gradient, n, 1.0)

    return measure


def _no_tuning(torch: Any) -> Any:
    """Keeps cuDNN from trying out algorithms for half a batch, which would make the job wait."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(cudnn.enabled, False, cudnn.benchmark_limit, cudnn.deterministic, cudnn.allow_tf32)


def _of_groups(parts: Any, gradient: Any) -> Pieces:
    """Returns the pieces from the sums over equal groups of examples, (groups, ...), and that over all."""
    whole, own = (_number(x.float().square().sum()) for x in (gradient, parts))
    return Pieces((whole - own) * (len(parts) / (len(parts) - 1)), whole)


def _of_halves(half: Any, gradient: Any, n: int, share: float) -> Pieces:
    """Returns the pieces from the sum over the first half of the examples and that over all."""
    half, gradient = half.float(), gradient.float()
    first = n // 2 / n
    product = _number((half * (gradient - half)).sum()) / (first * (1 - first) * share)
    return Pieces(product, _number(gradient.square().sum()) / share)


def _number(scalar: Any) -> Any:
    """Returns the value of a tensor on the CPU, where arithmetic with floats is cheaper."""
    return scalar.item() if scalar.is_cpu else scalar


def _groups(n: int, elements: int) -> int:
    """Returns into how many equal groups n examples are split, so that a gradient for each takes little memory."""
    return next((groups for groups in range(n, 2, -1) if n % groups == 0 and groups * elements <= _ELEMENTS), 2)


def _some(columns: int, rows: int, turn: int) -> tuple[slice, float]:
    """Returns the columns to look at this time, and their share."""
    width = max(1, _ELEMENTS // rows)
    if columns <= width:
        return slice(None), 1.0
    start = turn % math.ceil(columns / width) * width
    chosen = slice(start, min(start + width, columns))
    return chosen, (chosen.stop - start) / columns


def _split(shape: Any, n: int) -> Optional[Split]:
    """Returns how rows of that shape, the features left out, belong to n examples; None where two readings fit."""
    if shape is None or len(shape) < 2 or (shape[0] == n) == (shape[1] == n):
        return None
    return Split(n, math.prod(shape) // n, shape[0] == n)


def _row_shape(layer: Layer) -> Any:
    """Returns the dimensions that were folded into the rows of a matrix product, None where none were."""
    rows = _result_shape(layer.node)[0]
    before = layer.node.next_functions[_MATRIX_INPUT[layer.kind]][0]
    shapes = []
    if type(layer.consumer).__name__ in _VIEWS:
        shapes.append(_result_shape(layer.consumer))
    if type(before).__name__ in _VIEWS:
        shapes.append(before._saved_self_sym_sizes)
    return next((shape[:-1] for shape in shapes if len(shape) > 2 and math.prod(shape[:-1]) == rows), None)


def _result_shape(node: Any) -> Any:
    return node._input_metadata[0].shape


def _weight(node: Any) -> Any:
    """Returns the parameter that a node hands on, None where it is computed."""
    while type(node).__name__ in _BETWEEN:
        node = node.next_functions[0][0]
    return getattr(node, "variable", None)


def _saved(layer: Layer) -> Any:
    """Returns the layer's input; None where the job packed it away, as checkpoints do: asking would run the job."""
    raw = getattr(layer.node, "_raw_saved_" + _SAVED[layer.kind], None)
    if raw is None or getattr(raw, "unpack_hook", raw) is not None:
        return None
    saved = getattr(layer.node, "_saved_" + _SAVED[layer.kind])
    return None if saved is None else saved.detach()
