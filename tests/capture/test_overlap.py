"""What two splits share, by index and by content, and what keys of rows are worth."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hpkb.capture import overlap  # noqa: E402
from hpkb.capture.balance import balance_of  # noqa: E402
from hpkb.capture.digest import keys_of  # noqa: E402
from hpkb.capture.examples import Gone, base_of, examples_of  # noqa: E402
from hpkb.capture.overlap import Chosen, Overlap  # noqa: E402
from hpkb.capture.rowkeys import RowHasher, row_bytes  # noqa: E402

from .reading import read  # noqa: E402

X = torch.arange(600, dtype=torch.float32).reshape(100, 6)
WHOLE = torch.utils.data.TensorDataset(X, torch.arange(100))
SUBSET = torch.utils.data.Subset


def chosen(dataset: Any) -> Chosen:
    base, indices = base_of(torch, dataset)
    examples = examples_of(torch, base, base)
    found = Chosen(torch, base, examples.n, indices)
    found.compare_by(read(keys_of(torch, examples)), examples.signature)
    return found


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (range(60), range(60, 100), Overlap(0, 0)),
        (range(60), range(59, 100), Overlap(1, 1)),
        (range(60), [3, 3, 70], Overlap(2, 2)),
        (range(100), [5], Overlap(1, 1)),
        ([5], range(100), Overlap(1, 1)),
        ([], range(100), Overlap(0, 0)),
    ],
)
def test_of_one_data_set(one: Any, other: Any, shared: Overlap) -> None:
    assert chosen(SUBSET(WHOLE, one)).overlap(chosen(SUBSET(WHOLE, other))) == shared


def test_of_copies_only_the_content_is_compared() -> None:
    copy = torch.utils.data.TensorDataset(X[59:].clone(), torch.arange(59, 100))
    other_label = torch.utils.data.TensorDataset(X[59:].clone(), torch.arange(41))
    first = chosen(SUBSET(WHOLE, range(60)))
    assert first.overlap(chosen(copy)) == Overlap(None, 1)
    assert first.overlap(chosen(other_label)) == Overlap(None, 0)
    assert first.overlap(chosen(torch.utils.data.TensorDataset(X))) == Overlap(None, None)  # another kind of example


def test_labels_alone_are_no_examples() -> None:
    class Lazy(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.labels = [0, 1] * 50

        def __len__(self) -> int:
            return 100

    assert chosen(Lazy()).overlap(chosen(Lazy())) == Overlap(None, None)


def test_of_very_many_a_part_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MOST_KEYS", 40)
    shared = chosen(WHOLE).overlap(chosen(torch.utils.data.TensorDataset(X.clone(), torch.arange(100))))
    assert shared.by_content is not None
    assert 0 < shared.by_content <= 40
    assert shared.sampled
    assert str(shared).endswith("by content (of a sample)")


@pytest.mark.parametrize("columns", [1, 3, 7, 8, 15, 16, 17, 23, 784])
def test_one_bit_anywhere_makes_another_key(columns: int) -> None:
    rows = torch.zeros(8 * columns + 1, columns, dtype=torch.uint8)
    for bit in range(8 * columns):
        rows[bit, bit // 8] = 1 << bit % 8
    hasher = RowHasher(torch, columns, 0)
    keys = torch.cat([hasher.keys(rows[i : i + hasher.rows]) for i in range(0, len(rows), hasher.rows)])
    assert len(set(keys.tolist())) == len(rows)


def test_rows_of_signs_and_small_whole_numbers_keep_apart() -> None:
    signs = torch.tensor([[(i >> j) % 2 * 2.0 - 1 for j in range(14)] for i in range(2**14)])
    assert len(set(RowHasher(torch, row_bytes(signs), 1).keys(signs).tolist())) == 2**14


def test_data_that_change_while_they_are_read_have_no_keys() -> None:
    rows = X.clone()
    reading = keys_of(torch, examples_of(torch, torch.utils.data.TensorDataset(rows), rows))
    next(reading)
    rows += 1
    with pytest.raises(Gone):
        read(reading)


def test_a_table_that_knows_its_fingerprint() -> None:
    class Indices:
        def __init__(self, rows: list[int]) -> None:
            self._rows = rows

        def column(self, _: int) -> Indices:
            return self

        def to_pylist(self) -> list[int]:
            return self._rows

    class Table:
        def __init__(self, fingerprint: str, rows: list[int] | None) -> None:
            self._fingerprint, self._data = fingerprint, torch
            self._indices = None if rows is None else Indices(rows)

        def __len__(self) -> int:
            return 100

    base, indices = base_of(torch, Table("abc", [7, 8]))
    assert indices.tolist() == [7, 8]
    assert examples_of(torch, base, base).kind == "fingerprint"
    assert base_of(torch, Table("abc", None))[1] is None


@pytest.mark.parametrize(
    ("labels", "balance"),
    [
        ([0, 1, 1], '{"0": 1, "1": 2}'),
        ([-1, 1, 1], '{"-1": 1, "1": 2}'),
        ([0, 1, 5000], None),
        ([*range(60)], '{"classes": 60, "min": 1, "max": 1}'),
    ],
)
def test_balance(labels: list[int], balance: str | None) -> None:
    tensor = torch.tensor(labels)
    assert balance_of(torch, torch.utils.data.TensorDataset(tensor.float(), tensor), None) == balance
    assert balance_of(torch, [(0.5, label) for label in labels], None) == balance
    assert balance_of(torch, torch.utils.data.TensorDataset(tensor, tensor.float()), None) is None
