"""Which layers one sample of the gradients looks at: found again in later graphs, and summed over rounds."""

from __future__ import annotations

from typing import Any

import pytest

from .test_gradient_noise import loss_of, models, told_of

torch = pytest.importorskip("torch")
nn = torch.nn

from hpkb.capture.layer_graph import attended_at, find, graph_of, side_by_side  # noqa: E402
from hpkb.capture.rotation import Rotation, Turn  # noqa: E402
from hpkb.capture.split_batch import Pieces, watch  # noqa: E402


def test_layers_are_found_again_in_another_graph_and_nothing_else_is_taken_for_them() -> None:
    model, x = models()["text"]
    sizes = {id(p): p.numel() for p in model.parameters()}
    first, later = loss_of(model, x), loss_of(model, x)
    graph = graph_of(first, sizes)
    again = find(later, side_by_side(graph.ways))
    assert again is not None
    expected = {id(layer.weight): layer.kind for layer in graph_of(later, sizes).layers}
    assert {id(layer.weight): layer.kind for layer in again} == expected
    assert graph.attention is None or attended_at(later, graph.attention) == 6
    other, images = models()["image"]
    assert find(loss_of(other, images), side_by_side(graph.ways)) is None
    assert find(model(x).sum(), side_by_side(graph.ways)) is None  # the same weights, other ways


def deep() -> tuple[Any, Any]:
    """A model of 24 layers and a batch of 6."""
    torch.manual_seed(1)
    return nn.Sequential(*(layer for _ in range(24) for layer in (nn.Linear(5, 5), nn.Tanh()))), torch.randn(6, 5)


def of_turn(turn: Turn, loss: Any) -> list[Pieces]:
    told: list[Any] = []
    for layer in turn.layers:
        watch(torch, layer, turn.n, turn.round, lambda result, _seconds: told.append(result))
    loss.backward(retain_graph=True)
    return told


def test_a_round_of_samples_adds_up_to_all_layers() -> None:
    model, x = deep()
    rotation = Rotation(torch, {id(p): p.numel() for p in model.parameters()})
    sums, seen, shares, turns = None, [], 0.0, 0
    while sums is None:
        loss = loss_of(model, x)
        turn = rotation.turn(loss, 6)
        assert turn is not None
        told = of_turn(turn, loss)
        rotation.succeeded()
        norm, trace = sum(t.squared_norm for t in told), sum(t.trace for t in told)
        sums = rotation.add(norm - trace / 6, norm - trace / 6 + trace)
        seen += [id(layer.weight) for layer in turn.layers]
        shares, turns = shares + turn.share, turns + 1
    assert turns == 6
    assert sorted(seen) == sorted(id(p) for p in model.parameters() if p.dim() > 1)
    assert shares == pytest.approx(1)
    every = told_of(model, x, 6).values()
    assert sums[0] == pytest.approx(sum(t.squared_norm - t.trace / 6 for t in every), rel=1e-4)
    assert sums[1] == pytest.approx(sum(t.squared_norm + t.trace * 5 / 6 for t in every), rel=1e-4)


def test_another_batch_than_the_loaders_is_left_out_and_one_cut_by_hand_is_measured_anew() -> None:
    model, x = deep()
    sizes = {id(p): p.numel() for p in model.parameters()}
    by_loader, by_hand = Rotation(torch, sizes), Rotation(torch, sizes)
    assert by_loader.turn(loss_of(model, x), 6) is not None
    assert by_loader.turn(loss_of(model, x[:4]), 4) is not None
    for n in (6, 4, 6):
        turn = by_hand.turn(loss_of(model, x[:n]), None)
        assert turn is not None
        assert turn.n == n
    assert Rotation(torch, {**sizes, 0: 10**6}).turn(loss_of(model, x), 6) is None  # too little of the model


@pytest.mark.parametrize("leads", [True, False])
def test_some_examples_of_a_large_batch_tell_of_all_on_average(leads: bool) -> None:
    """In a sequence model with much to multiply, (batch, time) or (time, batch)."""
    torch.manual_seed(0)
    n, time, width = 64, 16, 64
    model = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
    x = torch.randn((n, time, width) if leads else (time, n, width))
    told: list[Pieces] = []
    for turn in range(4):
        loss = model(x).square().mean()
        for layer in graph_of(loss, {id(p): 1 for p in model.parameters()}).layers[:1]:
            watch(torch, layer, n, turn, lambda result, _seconds: told.append(result))
        loss.backward()
    own = x if leads else x.transpose(0, 1)
    each = torch.stack([torch.autograd.grad(model(one).square().mean(), model[2].weight)[0].flatten() for one in own])
    assert told[0].squared_norm == pytest.approx(each.mean(0).square().sum().item(), rel=1e-3)
    trace = each.var(0).sum().item()
    assert all(t.trace == pytest.approx(trace, rel=0.25) for t in told)
    assert sum(t.trace for t in told) / 4 == pytest.approx(trace, rel=0.05)
    assert len({t.trace for t in told}) == 4  # other examples each time
