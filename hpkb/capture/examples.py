"""What a data set holds for each of its examples: rows of tensors and arrays, entries of lists.

Nothing is ever asked of `__getitem__`, which may be random, slow or stateful. What is on the CPU is held until it has
been read, for HOLD seconds at most; after that only weakly. When the script drops the data by then, or changes them
while they are being read, `Gone` is raised and the split stays without their digest.
"""

from __future__ import annotations

import array as arrays
import time
import weakref
from typing import Any, Callable, NamedTuple, Optional  # torch has imported it by now

from .rowkeys import row_bytes

KINDS = ("shape", "fingerprint", "arrays", "sample", "all")  #: of what a digest may be, the weakest first
HOLD = 5.0  #: seconds in which data that the script drops may live on, if they are still being read
_ITEM = 64  # bytes taken for an entry of a list


class Gone(Exception):
    """The data were dropped or changed while they were read."""


class Column:
    """One value of every example, or something that belongs to all of them together.

    A list cannot be held weakly: after HOLD seconds it is held while `user` lives, the loader or data set it is from.
    """

    def __init__(self, torch: Any, name: str, data: Any, user: Any = None) -> None:
        self.name = name
        self.listed = isinstance(data, (list, tuple))
        self.numbers = self.listed and _all_numbers(data)
        self.length = len(data)
        self.row_bytes = 8 if self.numbers else _ITEM if self.listed else row_bytes(data)
        self.signature = "list" if self.listed else f"{dtype_of(data)}{tuple(data.shape[1:])}"
        self.wide = not self.numbers if self.listed else any(int(length) > 1 for length in data.shape[1:])
        self.readable = self.listed or _readable(data)
        self.mapped = any(kind.__name__ == "memmap" for kind in type(data).__mro__)
        self.identity = _identity(data, _version(data))
        self._torch = torch
        self._version = _version(data)
        self._holder = weakref.ref(user if self.listed else data)
        self._held = None if getattr(data, "is_cuda", False) else data
        self._until = time.monotonic() + HOLD

    @property
    def of_items(self) -> bool:
        """Whether its entries have to be looked at one by one."""
        return self.listed and not self.numbers

    def data(self) -> Any:
        """Returns the array or list; raises Gone where it is no more what it was."""
        data = self._held if self._held is not None else None if self.listed else self._holder()
        if data is None or len(data) != self.length or _version(data) != self._version:
            raise Gone(self.name)
        return data

    def rows(self, start: int, stop: int) -> Any:
        """Returns a range of an array, of whole numbers in a list as one."""
        part = self.data()[start:stop]
        return _numbers(self._torch, part) if self.numbers else part

    def let_go(self, at_once: bool = False) -> None:
        """Holds the data no more, unless they are a list that is still in use, or their time is not over."""
        if at_once or (time.monotonic() > self._until and not (self.listed and self._holder() is not None)):
            self._held = None

    def still_there(self) -> Callable[[], bool]:
        """Returns a function that says whether `identity` still means the same memory."""
        data, holder = self.data(), self._holder
        if not hasattr(data, "untyped_storage"):
            return lambda: holder() is not None
        from torch.multiprocessing.reductions import StorageWeakRef

        memory = StorageWeakRef(data.untyped_storage())
        return lambda: not memory.expired()


class Examples(NamedTuple):
    """The examples of a data set: their number, the columns that they consist of, and what belongs to all of them.

    `comparable` says whether equal columns mean equal examples; `parts` are the data sets that this one joins, each
    with the examples chosen of it.
    """

    n: int
    kind: str  # one of KINDS
    name: str
    columns: tuple[Column, ...] = ()
    whole: tuple[Column, ...] = ()
    comparable: bool = False
    parts: tuple[tuple[Any, Any], ...] = ()
    fingerprint: Optional[str] = None

    @property
    def signature(self) -> str:
        """Examples can be compared where this is the same; it is empty where they can be compared with none."""
        if self.parts:
            inner = {part.signature for part, _ in self.parts}
            return inner.pop() if len(inner) == 1 else ""
        return repr([column.signature for column in self.columns]) if self.comparable else ""

    @property
    def every_column(self) -> list[Column]:
        """The columns of all parts."""
        inner = [column for part, _ in self.parts for column in part.every_column]
        return [*self.columns, *self.whole, *inner]

    @property
    def identity(self) -> Any:
        """What stays the same as long as the memory of its columns is there and unchanged."""
        return (self.n, self.name, self.fingerprint, tuple(column.identity for column in self.every_column))


def base_of(torch: Any, dataset: Any, indices: Any = None) -> tuple[Any, Any]:
    """Returns the data set under all subsets, and which of its examples they select: a tensor, None for all."""
    chosen = None if indices is None else index_tensor(torch, indices)
    while True:
        if isinstance(dataset, torch.utils.data.Subset):
            own, dataset = index_tensor(torch, dataset.indices), dataset.dataset
        else:
            own = _indices_of_table(torch, dataset)
        if own is not None:
            chosen = own if chosen is None else own[chosen]
        if not isinstance(dataset, torch.utils.data.Subset):
            break
    if chosen is not None and len(chosen) == len(dataset) and bool((chosen == _all(torch, len(chosen))).all()):
        chosen = None
    return dataset, chosen


def index_tensor(torch: Any, indices: Any) -> Any:
    """Returns indices as 64-bit integers in memory of our own; raises TypeError or ValueError for what are none."""
    if isinstance(indices, torch.Tensor):
        if not indices.is_cpu:
            raise ValueError("the indices are on a device")
        return indices.detach().to(torch.int64, copy=True).reshape(-1)
    if isinstance(indices, range):
        return torch.arange(indices.start, indices.stop, indices.step, dtype=torch.int64, device="cpu")
    return _numbers(torch, indices.tolist() if hasattr(indices, "tolist") else indices)


def examples_of(torch: Any, dataset: Any, user: Any) -> Examples:
    """Returns what a data set holds; `user` is the object by which the script keeps it, a DataLoader for one.

    Raises TypeError for one without length.
    """
    n, name, data = len(dataset), type(dataset).__name__, torch.utils.data
    if isinstance(dataset, data.TensorDataset):
        return _of_columns(n, "all", "TensorDataset", [Column(torch, "", tensor) for tensor in dataset.tensors])
    if isinstance(dataset, data.ConcatDataset):
        bases = [base_of(torch, part) for part in dataset.datasets]
        parts = tuple((examples_of(torch, base, user), chosen) for base, chosen in bases)
        kind = min((part.kind for part, _ in parts), key=KINDS.index, default="all")
        return Examples(n, kind, name, comparable=all(part.comparable for part, _ in parts), parts=parts)
    if isinstance(dataset, (list, tuple)):
        return _of_columns(n, "all", "list", [Column(torch, "", dataset, user)])
    fingerprint = getattr(dataset, "_fingerprint", None)
    if isinstance(fingerprint, str) and hasattr(dataset, "_data"):  # a table of Hugging Face's
        return Examples(n, "fingerprint", name, fingerprint=fingerprint)
    return _of_attributes(torch, dataset, n, name)


def dtype_of(data: Any) -> str:
    """Returns the number format, the same for a tensor and an array."""
    return str(data.dtype).rpartition(".")[2]


def _of_attributes(torch: Any, dataset: Any, n: int, name: str) -> Examples:
    """Returns the arrays and lists of a data set of any other class that have a row for each example, or more.

    Labels alone do not make an example, nor does what only has more rows than there are examples: with such columns
    equal rows say nothing.
    """
    columns: list[Column] = []
    whole: list[Column] = []
    seen: set[int] = set()
    for attribute, value in sorted(getattr(dataset, "__dict__", {}).items()):
        length = _length(value)
        if length < max(n, 1) or id(value) in seen:
            continue
        seen.add(id(value))
        column = Column(torch, attribute, value, dataset)
        (columns if length == n else whole).append(column)
    kind = "arrays" if columns or whole else "shape"
    return _of_columns(n, kind, name, columns, whole, any(column.wide for column in columns) and not whole)


def _of_columns(
    n: int, kind: str, name: str, columns: list[Column], whole: Optional[list[Column]] = None, comparable: bool = True
) -> Examples:
    """Returns examples of these columns; of a column whose memory says nothing only the shape counts."""
    every = [*columns, *(whole or [])]
    if not all(column.readable for column in every):
        kind, comparable = "shape", False
    return Examples(n, kind, name, tuple(columns), tuple(whole or []), comparable)


def _indices_of_table(torch: Any, dataset: Any) -> Any:
    """Returns which rows of its table a data set of Hugging Face's selects, None where all or another class."""
    table = getattr(dataset, "_indices", None)
    if table is None or not hasattr(dataset, "_fingerprint"):
        return None
    return _numbers(torch, table.column(0).to_pylist())


def _all_numbers(values: Any) -> bool:
    """Whether a list has nothing in it but whole numbers of 64 bits."""
    if set(map(type, values)) != {int}:
        return False
    return bool(max(map(abs, values)) < 2**63)


def _numbers(torch: Any, values: Any) -> Any:
    numbers = arrays.array("q", values)
    return torch.frombuffer(numbers, dtype=torch.int64) if numbers else torch.zeros(0, dtype=torch.int64, device="cpu")


def _all(torch: Any, n: int) -> Any:
    return torch.arange(n, dtype=torch.int64, device="cpu")


def _length(value: Any) -> int:
    """The rows of a tensor, an array or a list; -1 for anything else."""
    if isinstance(value, (list, tuple)):
        return len(value)
    shape = getattr(value, "shape", None)
    is_array = hasattr(value, "data_ptr") or any(kind.__module__ == "numpy" for kind in type(value).__mro__)
    return int(shape[0]) if is_array and shape is not None and len(shape) else -1


def _readable(data: Any) -> bool:
    """Whether the bytes of an array are its values."""
    if not hasattr(data, "data_ptr"):
        return not data.dtype.hasobject
    return str(data.layout) == "torch.strided" and not data.is_meta and type(data).__module__.startswith("torch")


def _version(data: Any) -> Optional[int]:
    """Returns torch's count of changes in place; numpy has none."""
    try:
        return int(data._version)
    except (AttributeError, RuntimeError):  # a tensor of inference mode does not count
        return None


def _identity(data: Any, version: Optional[int]) -> Any:
    if not hasattr(data, "data_ptr") or not _readable(data):
        return (id(data), len(data))
    return (data.data_ptr(), version, tuple(data.shape), tuple(data.stride()), str(data.dtype), str(data.device))
