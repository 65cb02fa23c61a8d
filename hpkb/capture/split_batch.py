"""What one backward pass tells of the gradients of parts of its batch, layer by layer.

A layer's weight gradient is a sum over examples of products of what came in and what comes back, and both are at
hand while the layer's node of the autograd graph runs: the gradients of some examples, or of some groups of them, cost
as small a part of the whole one. How far apart they are is tr(Σ). Where each row is one example, the norm of each
example's gradient is the product of two norms (Goodfellow 2015, "Efficient per-example gradient computations"), which
is cheaper still and tells more.

Only nodes of the graph are watched, so neither the model nor the optimizer is touched. A compiled or checkpointed
part has no such nodes, a weight that is used twice is left out, and so is a layer whose examples cannot be told from
its other dimensions. Of a large weight only some columns are looked at, other ones each time, and scaled up.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any, Callable, NamedTuple, Optional  # torch has imported it by now

from .layer_graph import MATRIX_INPUT, WEIGHT_INPUT, Layer, row_shape

_ELEMENTS = 1 << 18  # of weights' gradients that are looked at: 1 MB
_WORK = 1 << 20  # multiplications by which a layer's examples are looked at, or more where that is
_FEWEST = 16  # examples
_LARGEST_KERNEL = 1 << 21  # elements of a convolution's weight, whose gradient must be made as a whole
_SAVED = {
    "AddmmBackward0": "mat1",
    "MmBackward0": "self",
    "ConvolutionBackward0": "input",
    "EmbeddingBackward0": "indices",
}


class Pieces(NamedTuple):
    """What one layer tells of a batch whose gradient is a mean over examples: floats, or scalar tensors on a GPU."""

    trace: Any  # unbiased for tr(Σ), the scatter of the examples' gradients
    squared_norm: Any  # ‖g‖² of the batch


class Split(NamedTuple):
    """How rows belong to examples: they are (n, inner), or (inner, n) where `leads` is false."""

    n: int
    inner: int
    leads: bool

    def groups(self, rows: Any, part: Part) -> Any:
        """Returns the rows of some examples, (groups, rows, ...)."""
        examples = slice(part.start, part.start + part.groups * part.size)
        if self.leads:
            chosen = rows.unflatten(0, (self.n, self.inner))[examples]
        else:
            chosen = rows.unflatten(0, (self.inner, self.n))[:, examples].transpose(0, 1)
        return chosen.reshape(part.groups, part.size * self.inner, *rows.shape[1:])


class Part(NamedTuple):
    """The examples that are looked at: equal groups of them, from one on."""

    start: int
    groups: int
    size: int


def watch(torch: Any, layer: Layer, n: int, turn: int, tell: Callable[[Any, float], None]) -> Any:
    """Has `tell` called when the layer runs, with its `Pieces` or an error and the seconds that they took.

    Returns a handle, None where the layer cannot be watched.
    """
    saved = _saved(layer)
    measure = None if saved is None else _measure(torch, layer, saved, n, turn)
    if measure is None:
        return None
    held = [saved]
    place = WEIGHT_INPUT[layer.kind]

    def ran(made: tuple[Any, ...], came: tuple[Any, ...]) -> None:
        began = time.perf_counter()
        try:
            # The input is let go here, as the graph may live longer than what it saved. All three are cut off from
            # the graph, so that nothing of this is recorded even where the job takes derivatives of gradients.
            result = measure(held.pop(), came[0].detach(), made[place].detach())
        except Exception as error:
            tell(error, 0.0)
        else:
            tell(result, time.perf_counter() - began)

    return layer.node.register_hook(ran)


def can_be_watched(torch: Any, layer: Layer, n: int) -> bool:
    """Whether a layer's examples can be told apart."""
    saved = _saved(layer)
    return saved is not None and _measure(torch, layer, saved, n, 0) is not None


Measure = Callable[[Any, Any, Any], Pieces]


def _measure(torch: Any, layer: Layer, saved: Any, n: int, turn: int) -> Optional[Measure]:
    """Returns what makes `Pieces` of the layer's input, the gradient of its result and that of its weight."""
    if layer.kind in MATRIX_INPUT:
        if saved.shape[0] == n:
            return lambda rows, back, gradient: _by_rows(torch, rows, back, gradient)
        return _of_matrix(torch, _split(row_shape(layer), n), turn)
    if layer.kind == "EmbeddingBackward0":
        return _of_embedding(torch, layer.node, _split(saved.shape, n), turn)
    if saved.shape[0] != n or layer.weight.numel() > _LARGEST_KERNEL:
        return None
    return _of_convolution(torch, layer, turn)


def _by_rows(torch: Any, rows: Any, back: Any, gradient: Any) -> Pieces:
    """Returns the pieces of a layer of which each row is an example, from the norms of all of their gradients."""
    norm, f32, n = torch.linalg.vector_norm, torch.float32, len(rows)
    each = norm(rows, dim=1, dtype=f32) * norm(back, dim=1, dtype=f32)
    whole = _number(norm(gradient, dtype=f32)) ** 2
    return Pieces(_scatter(_number(each.dot(each)), whole, n, n, n), whole)


def _of_matrix(torch: Any, split: Optional[Split], turn: int) -> Optional[Measure]:
    if split is None:
        return None

    def measure(rows: Any, back: Any, gradient: Any) -> Pieces:
        columns, share = _some(back.shape[1], rows.shape[1], turn)
        gradient = gradient[:, columns]
        part = _part(split.n, split.inner * gradient.numel(), gradient.numel(), turn)
        groups = split.groups(rows, part).mT @ split.groups(back[:, columns], part)
        return _of_groups(torch, groups, gradient, split.n, part, share)

    return measure


def _of_embedding(torch: Any, node: Any, split: Optional[Split], turn: int) -> Optional[Measure]:
    if split is None or node._saved_sparse or node._saved_scale_grad_by_freq:
        return None
    padding = node._saved_padding_idx  # beyond the last row where there is none

    def measure(indices: Any, back: Any, gradient: Any) -> Pieces:
        columns, share = _some(gradient.shape[1], gradient.shape[0], turn)
        gradient = gradient[:, columns]
        part = _part(split.n, split.inner * gradient.shape[1], gradient.numel(), turn)
        groups = gradient.new_zeros((part.groups, *gradient.shape))
        chosen = split.groups(indices.flatten(), part)
        places = chosen + torch.arange(part.groups, device=chosen.device)[:, None] * len(gradient)
        from_each = split.groups(back.flatten(0, -2)[:, columns], part)
        groups.flatten(0, 1).index_add_(0, places.flatten(), from_each.flatten(0, 1))
        if 0 <= padding < len(gradient):
            groups[:, padding] = 0
        return _of_groups(torch, groups, gradient, split.n, part, share)

    return measure


def _of_convolution(torch: Any, layer: Layer, turn: int) -> Measure:
    node, weight = layer.node, layer.weight.detach()
    stride, padding, dilation = node._saved_stride, node._saved_padding, node._saved_dilation
    transposed, groups = node._saved_transposed, node._saved_groups
    settings = (stride, padding, dilation, transposed, node._saved_output_padding, groups)
    is_plain = weight.dim() == 4 and groups == 1 and not transposed

    def gradient_of(images: Any, back: Any) -> Any:
        mask = [False, True, False]
        return torch.ops.aten.convolution_backward(back, images, weight.to(images.dtype), None, *settings, mask)[1]

    def measure(images: Any, back: Any, gradient: Any) -> Pieces:
        n, patch, positions = len(images), weight[0].numel(), back[0, 0].numel()
        part = _part(n, positions * weight.numel(), weight.numel(), turn)
        examples = slice(part.start, part.start + part.groups * part.size)
        images, back = images[examples], back[examples]
        if is_plain and part.size == 1 and len(images) * patch * positions <= _ELEMENTS:
            patches = torch.nn.functional.unfold(images, weight.shape[2:], dilation, padding, stride)
            return _of_groups(torch, back.flatten(2) @ patches.mT, gradient, n, part, 1.0)
        half = part.groups * part.size // 2
        with _no_tuning(torch) if images.is_cuda else contextlib.nullcontext():
            halves = [gradient_of(images[i : i + half], back[i : i + half]) for i in (0, half)]
        return _of_groups(torch, torch.stack(halves), gradient, n, Part(part.start, 2, half), 1.0)

    return measure


def _no_tuning(torch: Any) -> Any:
    """Keeps cuDNN from trying out algorithms for a part of a batch, which would make the job wait."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(cudnn.enabled, False, cudnn.benchmark_limit, cudnn.deterministic, cudnn.allow_tf32)


def _of_groups(torch: Any, groups: Any, gradient: Any, n: int, part: Part, share: float) -> Pieces:
    """Returns the pieces from the sums over equal groups of examples, (groups, ...), and that over all n."""
    norm, f32 = torch.linalg.vector_norm, torch.float32
    whole = _number(norm(gradient, dtype=f32)) ** 2
    looked_at = part.groups * part.size
    together = whole if looked_at == n else _number(norm(groups.sum(0), dtype=f32)) ** 2
    own = _number(norm(groups, dtype=f32)) ** 2
    return Pieces(_scatter(own, together, part.groups, looked_at, n) / share, whole / share)


def _scatter(own: Any, together: Any, groups: int, examples: int, n: int) -> Any:
    """Returns tr(Σ) from how far the sums over equal groups of examples are from their mean.

    Of these sums it takes their squared norms, added up, and the squared norm of all of them together. They are parts
    of a mean over n examples.
    """
    return (own - together / groups) * (n * n * groups / (examples * (groups - 1)))


def _number(scalar: Any) -> Any:
    """Returns the value of a tensor on the CPU, where arithmetic with floats is cheaper."""
    return scalar.item() if scalar.is_cpu else scalar


def _part(n: int, work: int, elements: int, turn: int) -> Part:
    """Returns which of n examples are looked at this time, and in which groups.

    `work` is how many multiplications one takes, `elements` how many numbers a group's gradient has.
    """
    examples = min(n, max(_FEWEST, _WORK // work))
    groups = min(examples, max(2, _ELEMENTS // elements))
    size = examples // groups
    return Part(turn % (n // (groups * size)) * groups * size, groups, size)


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


def _saved(layer: Layer) -> Any:
    """Returns the layer's input; None where the job packed it away, as checkpoints do: asking would run the job."""
    raw = getattr(layer.node, "_raw_saved_" + _SAVED[layer.kind], None)
    if raw is None or getattr(raw, "unpack_hook", raw) is not None:
        return None
    saved = getattr(layer.node, "_saved_" + _SAVED[layer.kind])
    return None if saved is None else saved.detach()
