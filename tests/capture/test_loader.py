"""What a DataLoader says of how it goes through its data."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hpkb.capture.loader import _chosen, _settings  # noqa: E402

data = torch.utils.data
SET = data.TensorDataset(torch.arange(25))


class Own(data.Sampler[int]):
    """A sampler of the script's own class."""

    indices = (3, 4)

    def __iter__(self) -> Any:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError


def told(loader: Any) -> dict[str, Any]:
    names = ("sampler", "shuffle", "drop_last", "last_batch_size")
    settings = _settings(torch, loader)
    return {name: settings[f"loader.{name}"] for name in names if f"loader.{name}" in settings}


@pytest.mark.parametrize(
    ("loader", "settings"),
    [
        (data.DataLoader(SET, 10), ("SequentialSampler", False, False, 5)),
        (data.DataLoader(SET, 5, shuffle=True), ("RandomSampler", True, False, 5)),
        (data.DataLoader(SET, 10, drop_last=True), ("SequentialSampler", False, True, 10)),
        (
            data.DataLoader(SET, 10, sampler=data.WeightedRandomSampler([1.0] * 25, 12)),
            ("WeightedRandomSampler", True, False, 2),
        ),
        (data.DataLoader(SET, 10, sampler=data.SubsetRandomSampler(range(7))), ("SubsetRandomSampler", True, False, 7)),
        (
            data.DataLoader(SET, 10, sampler=data.DistributedSampler(SET, 2, 0)),
            ("DistributedSampler", True, False, 3),
        ),
        (
            data.DataLoader(SET, batch_sampler=data.BatchSampler(data.SequentialSampler(SET), 10, True)),
            ("SequentialSampler", False, True, 10),
        ),
    ],
)  # fmt: skip
def test_samplers_of_torch(loader: Any, settings: tuple[Any, ...]) -> None:
    assert tuple(told(loader).values()) == settings


def test_a_sampler_of_the_scripts_own_is_never_asked() -> None:
    loader = data.DataLoader(SET, 10, sampler=Own())
    assert told(loader) == {"sampler": "Own", "drop_last": False}
    assert _chosen(torch, loader) == (3, 4)


def test_a_distributed_sampler_is_seen_as_the_whole() -> None:
    assert _chosen(torch, data.DataLoader(SET, 10, sampler=data.DistributedSampler(SET, 2, 0))) is None


def test_a_stream() -> None:
    class Stream(data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            raise AssertionError

    assert told(data.DataLoader(Stream(), 10)) == {"drop_last": False}
