"""Digests of splits: of the content, in bulk, bounded, without a call of `__getitem__`."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hpkb.capture import digest  # noqa: E402

from .reading import content as of  # noqa: E402

X = torch.arange(600, dtype=torch.float32).reshape(100, 6)
Y = torch.arange(100)
WHOLE = torch.utils.data.TensorDataset(X, Y)
SUBSET = torch.utils.data.Subset


@pytest.mark.parametrize("rows", [range(10, 60), list(range(10, 60)), torch.arange(10, 60)])
def test_a_subset_is_its_rows(rows: Any) -> None:
    copied = torch.utils.data.TensorDataset(X[10:60].clone(), Y[10:60].clone())
    inner = SUBSET(SUBSET(WHOLE, list(range(5, 100))), list(range(5, 55)))
    assert of(SUBSET(WHOLE, rows)) == of(copied) == of(WHOLE, rows) == of(inner)


def test_every_byte_counts() -> None:
    later = X.clone()
    later[99, 5] += 1
    others = [
        torch.utils.data.TensorDataset(later, Y),
        torch.utils.data.TensorDataset(X.double(), Y),
        torch.utils.data.TensorDataset(X.reshape(100, 3, 2), Y),
        torch.utils.data.TensorDataset(X.flip(0), Y),
        torch.utils.data.TensorDataset(X),
        SUBSET(WHOLE, range(99)),
    ]
    assert len({of(dataset).digest for dataset in [WHOLE, *others]}) == 7


def test_strides_gradients_and_number_formats_do_not_matter() -> None:
    column_major = X.t().contiguous().t().requires_grad_()
    assert of(torch.utils.data.TensorDataset(column_major, Y)) == of(WHOLE)
    of(torch.utils.data.TensorDataset(X.bfloat16(), X.to(torch.complex64).conj(), Y > 3))


def test_large_data_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "ALL_BYTES", 1000)
    monkeypatch.setattr(digest, "SAMPLE_BYTES", 400)
    monkeypatch.setattr(digest, "BLOCK", 400)
    sampled = of(WHOLE)
    assert sampled.digest_of == "sample"
    assert sampled == of(torch.utils.data.TensorDataset(X.clone(), Y.clone()))
    one_changed = [torch.utils.data.TensorDataset(X + (row == Y)[:, None], Y) for row in range(100)]
    changed = [of(dataset) != sampled for dataset in one_changed]
    assert 5 < sum(changed) < 50
    assert any(changed[:20])
    assert any(changed[80:])


def test_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [(X[i], int(Y[i]), f"name{i}") for i in range(100)]
    assert of(items).digest_of == "all"
    assert of(items) == of(list(items)) != of(items[::-1])
    assert of(SUBSET(items, [3, 4])) == of(items[3:5])
    assert of([object()] * 3).digest_of == "shape"
    assert of([*map(str, range(3000))]).digest_of == "all"
    monkeypatch.setattr(digest, "ALL_ITEMS", 2000)
    assert of([*map(str, range(3000))]).digest_of == "sample"


def test_paths_of_another_machine() -> None:
    assert of(["/one/data/cat/1.png"] * 3) == of(["/two/home/data/cat/1.png"] * 3)


def test_numpy_arrays_in_a_class_of_the_scripts_own() -> None:
    numpy = pytest.importorskip("numpy")

    class Own(torch.utils.data.Dataset[Any]):
        def __init__(self, rows: Any) -> None:
            self.rows, self.name = rows, "x"

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> Any:
            raise AssertionError

    one, two = Own(numpy.arange(30).reshape(10, 3)), Own(numpy.arange(1, 31).reshape(10, 3))
    assert of(one).digest_of == "arrays"
    assert of(one) == of(Own(one.rows.copy())) != of(two)
    assert of(SUBSET(one, [1, 2])) != of(SUBSET(one, [2, 3]))
    assert of(Own(numpy.array([object()] * 4))).digest_of == "shape"
    assert of(Own(range(5))).digest_of == "shape"


def test_random_numbers_are_not_touched() -> None:
    before = torch.get_rng_state()
    of(SUBSET(WHOLE, range(50)))
    assert torch.equal(before, torch.get_rng_state())
