"""What a data set is made of, as a digest of its content that costs a bounded time and touches no random state.

Nothing is ever asked of `__getitem__`, which may be random, slow or stateful: tensors and arrays are hashed in bulk,
row by row in the order of the split, so that a subset and a copy of the same rows have the same digest.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from typing import Any, Iterator, NamedTuple, Optional, Sequence  # torch has imported it by now

ALL_BYTES = 128 << 20  #: up to here every byte of a split is hashed: 0.2 s, and 0.5 s where rows are picked out
SAMPLE_BYTES = 32 << 20  #: beyond it, so many bytes in blocks that are spread evenly
ALL_ITEMS = 20_000  #: the same bound for lists, whose items are hashed one by one
_BLOCK = 1 << 20


class Content(NamedTuple):
    """A split's number of examples and digest (16 hexadecimal digits).

    `digest_of` says what was hashed: *all* of it, a *sample* spread evenly over it, the *arrays* that a data set of
    the script's own class holds, or only its *shape*: class and length.
    """

    n: int
    digest: str
    digest_of: str


class _Hash:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()  # the fastest where the processor knows it
        self.complete = True
        self.known = True

    def text(self, *parts: object) -> None:
        self._hash.update(repr(parts).encode("utf-8", "surrogatepass"))

    def bytes(self, data: Any) -> None:
        self._hash.update(data)

    def result(self, n: int, of: str = "all") -> Content:
        of = of if self.known else "shape"
        return Content(n, self._hash.hexdigest()[:16], "sample" if of == "all" and not self.complete else of)


def of_split(torch: Any, dataset: Any, indices: Optional[Sequence[int]] = None) -> Content:
    """Returns the content of a data set, or of its examples at `indices`, in their order.

    Raises TypeError for a data set without length.
    """
    dataset, indices = _base(torch, dataset, indices)
    n = len(dataset) if indices is None else len(indices)
    found = _Hash()
    if isinstance(dataset, torch.utils.data.TensorDataset):
        _rows(torch, found, dataset.tensors, indices)
        return found.result(n)
    if isinstance(dataset, torch.utils.data.ConcatDataset) and indices is None:
        parts = [of_split(torch, part) for part in dataset.datasets]
        found.text(*parts)
        kinds = {part.digest_of for part in parts}
        return found.result(n, next(kind for kind in ("shape", "arrays", "sample", "all") if kind in kinds))
    if isinstance(dataset, (list, tuple)):
        _items(torch, found, dataset, indices)
        return found.result(n)
    return _of_attributes(torch, found, dataset, indices, n)


def _base(torch: Any, dataset: Any, indices: Any) -> tuple[Any, Any]:
    """Returns the data set under all subsets, and which of its examples they select."""
    while isinstance(dataset, torch.utils.data.Subset):
        own = dataset.indices
        indices = own if indices is None else [own[i] for i in indices]
        dataset = dataset.dataset
    return dataset, indices


def _of_attributes(torch: Any, found: _Hash, dataset: Any, indices: Any, n: int) -> Content:
    """Hashes a data set of an unknown class by the arrays and lists in it that have a row for each example."""
    length = len(dataset)
    found.text(type(dataset).__name__, length)
    if indices is not None:
        found.text("indices")
        _rows(torch, found, [_index(torch, indices)], None)
    held = {name: value for name, value in sorted(vars(dataset).items()) if _length(value) >= max(length, 1)}
    for name, value in held.items():
        found.text(name)
        if isinstance(value, (list, tuple)):
            _items(torch, found, value, None)
        else:
            _rows(torch, found, [value], None)
    return found.result(n, "arrays" if held else "shape")


def _length(value: Any) -> int:
    """The rows of a tensor, an array or a list; -1 for anything else."""
    if isinstance(value, (list, tuple)):
        return len(value)
    shape = getattr(value, "shape", None)
    is_array = hasattr(value, "data_ptr") or type(value).__module__.partition(".")[0] == "numpy"
    return int(shape[0]) if is_array and shape is not None and len(shape) else -1


def _rows(torch: Any, found: _Hash, arrays: Sequence[Any], indices: Any) -> None:
    """Hashes rows of tensors and arrays of the same length; all of them where they fit into ALL_BYTES."""
    index = None if indices is None else _index(torch, indices)
    sizes = [_row_bytes(array) for array in arrays]
    n = len(arrays[0]) if index is None else len(index)
    share = 1.0 if n * sum(sizes) <= ALL_BYTES else SAMPLE_BYTES / (n * sum(sizes))
    for array, size in zip(arrays, sizes):
        found.text(str(array.dtype).rpartition(".")[2], n, tuple(array.shape[1:]))
        if getattr(array, "is_meta", False) or getattr(array.dtype, "hasobject", False):
            found.known = False
            continue
        for start, stop in _blocks(n, size, share):
            _hash_array(found, array[start:stop] if index is None else _at(array, index[start:stop]))
    found.complete = found.complete and share == 1.0


def _at(array: Any, index: Any) -> Any:
    if hasattr(array, "data_ptr"):
        return array.detach().index_select(0, index.to(array.device))
    return array[index.tolist()]


def _row_bytes(array: Any) -> int:
    size = array.element_size() if hasattr(array, "element_size") else array.itemsize
    for length in array.shape[1:]:
        size *= int(length)
    return int(size)


def _blocks(n: int, row: int, share: float) -> Iterator[tuple[int, int]]:
    """Yields ranges of rows of about a megabyte each: all of them, or a share that is spread evenly."""
    rows = max(1, _BLOCK // max(row, 1))
    stride = rows if share == 1.0 else max(rows, int(rows / share))
    for start in range(0, n, stride):
        yield start, min(start + rows, n)


def _hash_array(found: _Hash, rows: Any) -> None:
    if not hasattr(rows, "data_ptr"):
        found.bytes(rows.tobytes())
        return
    rows = rows.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if rows.numel():
        found.bytes((ctypes.c_char * (rows.numel() * rows.element_size())).from_address(rows.data_ptr()))


def _index(torch: Any, indices: Any) -> Any:
    if isinstance(indices, torch.Tensor):
        return indices.detach().cpu().to(torch.int64)
    if isinstance(indices, range):
        return torch.arange(indices.start, indices.stop, indices.step)
    return torch.as_tensor(indices if hasattr(indices, "dtype") else list(indices), dtype=torch.int64)


def _items(torch: Any, found: _Hash, items: Sequence[Any], indices: Any) -> None:
    """Hashes a list's items one by one, or ALL_ITEMS of them spread evenly over a longer one."""
    chosen = range(len(items)) if indices is None else indices
    stride = -(-len(chosen) // ALL_ITEMS) or 1
    found.complete = found.complete and stride == 1
    found.text(len(chosen))
    budget = ALL_BYTES
    for i in range(0, len(chosen), stride):
        budget -= _value(found, items[int(chosen[i])])
        if budget < 0:
            found.complete = False
            return


def _value(found: _Hash, value: Any, depth: int = 0) -> int:
    """Hashes one value and returns about how many bytes it had."""
    if value is None or isinstance(value, (bool, int, float, complex, bytes)):
        found.text(value)
        return len(value) if isinstance(value, bytes) else 8
    if isinstance(value, str):  # of a path the last two parts: the folder of the data differs between machines
        found.text(os.sep.join(value.rsplit(os.sep, 2)[-2:]) if os.path.isabs(value) else value)
        return len(value)
    if isinstance(value, (list, tuple)) and depth < 4:
        found.text(len(value))
        return sum(_value(found, item, depth + 1) for item in value)
    if isinstance(value, dict) and depth < 4:
        return sum(_value(found, item, depth + 1) for pair in value.items() for item in pair)
    if hasattr(value, "data_ptr") or (hasattr(value, "tobytes") and hasattr(value, "dtype")):
        found.text(str(value.dtype).rpartition(".")[2], tuple(value.shape))
        _hash_array(found, value)
        return int(_row_bytes(value[None]))
    found.text(type(value).__name__)
    found.known = False
    return 8
