"""The gradient noise scale: planted truths, its pieces against every example's own gradient, and real scripts."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpkb.capture.noise_scale import NoiseScale
from hpkb.capture.pacing import Pace

from .running import Run

torch = pytest.importorskip("torch")
nn = torch.nn

from hpkb.capture.layer_graph import batch_of, graph_of  # noqa: E402
from hpkb.capture.split_batch import Pieces, watch  # noqa: E402


def planted(steps: int, n: int, squared_norm: float, seed: int) -> NoiseScale:
    """Batches of n normal gradients around a fixed one, with tr(Σ) = 100 in 20 dimensions."""
    dimensions, trace = 20, 100.0
    rng = random.Random(seed)
    noise = NoiseScale()
    mean, deviation = math.sqrt(squared_norm / dimensions), math.sqrt(trace / dimensions)
    for step in range(steps):
        each = [[rng.gauss(mean, deviation) for _ in range(dimensions)] for _ in range(n)]
        square = sum(value * value for one in each for value in one) / n
        whole = sum((sum(column) / n) ** 2 for column in zip(*each, strict=True))
        noise.add(step, n, (n * whole - square) / (n - 1), square)
    return noise


@pytest.mark.parametrize("squared_norm", [100.0, 10.0, 3.0])
def test_a_planted_noise_scale_is_found(squared_norm: float) -> None:
    found = [planted(200, 8, squared_norm, seed).estimate() for seed in range(9)]
    scales = sorted(estimate.noise_scale if estimate else math.inf for estimate in found)
    assert scales[4] == pytest.approx(100 / squared_norm, rel=0.3)
    assert all(estimate is None or estimate.trace == pytest.approx(100, rel=0.15) for estimate in found)


def test_steps_of_large_gradients_do_not_rule_the_noise_scale() -> None:
    rng, noise, size = random.Random(0), NoiseScale(), 1.0
    for step in range(1, 401):
        size = 1.0 if step % 20 else 1000.0  # a peak of both numbers, with another ratio
        trace, squared_norm = 10.0 * size, 0.1 * size if step % 20 else 10.0 * size
        noise.add(step, 128, squared_norm + rng.gauss(0, trace / 300), squared_norm + trace)
    estimate = noise.estimate()
    assert estimate is not None
    truth = 1 / (0.95 * 0.1 / 10.1 + 0.05 * 0.5) - 1  # the ratio of the means is 1.02
    assert estimate.noise_scale == pytest.approx(truth, rel=0.25)
    assert estimate.trace == pytest.approx(10.0, rel=0.1)
    assert estimate.since == 280


def test_rare_hard_examples_count_in_small_batches() -> None:
    rng, noise = random.Random(1), NoiseScale()
    for step in range(1, 2001):  # one example in 50 has ten times the noise, and most batches of eight have none
        traces = [1000.0 if rng.random() < 0.02 else 10.0 for _ in range(8)]
        trace = sum(traces) / 8
        noise.add(step, 8, 2.0 + rng.gauss(0, trace / 40), 2.0 + trace)
    estimate = noise.estimate()
    assert estimate is not None
    assert estimate.noise_scale == pytest.approx(29.8 / 2, rel=0.35)


def test_a_noise_scale_is_told_where_its_share_is_known_to_half_of_itself() -> None:
    def told(error: float) -> bool:
        noise = NoiseScale()
        for step in range(1, 101):
            noise.add(step, 128, 1.0 + error * (1 if step % 2 else -1), 100.0)
        return noise.estimate() is not None

    samples = 61  # since 0.4 of the steps
    known = 0.5 / 1.645 * math.sqrt(samples)
    assert told(0.95 * known)
    assert not told(1.05 * known)


def test_without_a_gradient_there_is_mostly_no_noise_scale() -> None:
    found = [planted(100, 4, 0.0, seed).estimate() for seed in range(40)]
    assert sum(estimate is not None for estimate in found) <= 4  # one in forty is two standard errors above zero


def test_samples_that_are_no_numbers_poison_nothing() -> None:
    noise = planted(50, 8, 100.0, 0)
    before = noise.estimate()
    assert not any(noise.add(50, 8, *bad) for bad in ((math.nan, 1.0), (math.inf, 1.0), (1.0, math.inf), (0.0, 0.0)))
    assert noise.estimate() == before


def test_many_samples_are_merged_and_the_estimate_stays() -> None:
    few, many = planted(390, 4, 50.0, 1).estimate(), planted(1300, 4, 50.0, 1).estimate()
    assert few is not None
    assert many is not None
    assert many.noise_scale == pytest.approx(few.noise_scale, rel=0.3)


def test_batches_without_replacement_are_unbiased_for_the_whole_set() -> None:
    values = [3.0, -1.0, 2.0, 5.0, 0.0]  # one-dimensional gradients of a data set of five
    noise = NoiseScale()
    pairs = list(itertools.combinations(values, 2))
    for pair in pairs:
        noise.add(1, 2, pair[0] * pair[1], sum(value * value for value in pair) / 2, population=5)
    mean = sum(values) / 5
    samples = noise._samples
    assert sum(sample.product for sample in samples) / len(pairs) == pytest.approx(mean**2)
    trace = sum(sample.square - sample.product for sample in samples) / len(pairs)
    assert trace == pytest.approx(sum(value * value for value in values) / 5 - mean**2)


def paced(costs: Callable[[int], float], step: float, steps: int, share: float = 0.0) -> list[tuple[int, float]]:
    """The steps that are measured, the first one of them the second, and what was spent by then."""
    pace, taken, spent = Pace(), 2, 0.0
    measured = []
    while taken <= steps:
        cost = costs(len(measured))
        pace.took(cost, step, share)
        spent += cost
        measured.append((taken, spent))
        taken += pace.interval(taken)
    return measured


def test_the_pace_keeps_to_its_share() -> None:
    for step, first in itertools.product((0.4e-3, 1e-3, 10e-3, 1.0), (0.2e-3, 2e-3)):
        measured = paced(lambda index, first=first: first if index == 0 else 0.2e-3, step, 4000)
        # A measurement is only taken once the share of the steps so far pays for it, but for the very first.
        assert all(spent <= 0.005 * step * at * 1.001 for at, spent in measured[1:] if at >= 200)
        assert measured[-1][1] >= 0.8 * 0.005 * step * 4000 or measured[-1][0] > 3990
    steps = [at for at, _ in paced(lambda _index: 0.2e-3, 10e-3, 4000)]
    assert len([at for at in steps if at <= 20]) >= 5  # some of the share is spent in advance
    assert {b - a for a, b in itertools.pairwise(steps) if a > 400} == {4}


def test_the_pace_makes_up_for_an_expensive_measurement_and_for_what_a_device_does() -> None:
    steps = [at for at, _ in paced(lambda index: 20e-3 if index == 100 else 0.2e-3, 10e-3, 4000)]
    assert steps[101] - steps[100] >= 400
    assert max(b - a for a, b in itertools.pairwise(steps[102:])) <= 4
    on_device = [at for at, _ in paced(lambda _index: 10e-6, 10e-3, 4000, share=1 / 6)]
    assert {b - a for a, b in itertools.pairwise(on_device) if a > 1000} <= {33, 34}


class Text(nn.Module):  # type: ignore[misc]
    """A sequence model whose layers see (batch, time) rows, or (time, batch) rows inside of its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(11, 8, padding_idx=0)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.block(self.token(tokens))).mean(1)


def models() -> dict[str, tuple[Any, Any]]:
    torch.manual_seed(0)
    images = torch.randn(6, 2, 9, 9)
    return {
        "linear": (nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False)), torch.randn(6, 5)),
        "text": (Text(), torch.randint(0, 11, (6, 4))),
        "image": (nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)), images),
        "groups": (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(196, 3)), images),
        "sound": (nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(28, 3)), torch.randn(6, 2, 9)),
        "back": (nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Flatten(), nn.Linear(363, 3)), images),
        "wide": (nn.Sequential(nn.Linear(6, 900), nn.Unflatten(1, (3, 300)), nn.Linear(300, 1000)), torch.randn(6, 6)),
    }


def loss_of(model: Any, x: Any) -> Any:
    return model(x).square().flatten(1).mean(1).mean()


def told_of(model: Any, x: Any, n: int, turn: int = 0) -> dict[str, Pieces]:
    """The pieces that every watched layer tells of, by the name of its weight."""
    names = {id(p): name for name, p in model.named_parameters()}
    loss = loss_of(model, x)
    told: dict[str, Any] = {}
    graph = graph_of(loss, dict.fromkeys(names, 1))
    for layer in graph.layers:
        name = names[id(layer.weight)]
        watch(torch, layer, n, turn, lambda result, _seconds, name=name: told.__setitem__(name, result))
    loss.backward()
    assert all(isinstance(result, Pieces) for result in told.values()), told
    return told


@pytest.mark.parametrize("name", models())
def test_layers_tell_what_the_gradients_of_all_examples_say(name: str) -> None:
    model, x = models()[name]
    n, weights = len(x), dict(model.named_parameters())
    told = told_of(model, x, n)
    assert set(told) == {key for key, p in weights.items() if p.dim() > 1}
    rows = [torch.autograd.grad(loss_of(model, x[i : i + 1]), list(weights.values())) for i in range(n)]
    for position, key in enumerate(weights):
        if key not in told:
            continue
        each = torch.stack([row[position].flatten() for row in rows])
        pairs, halves = each @ each.T, each.view(2, n // 2, -1).mean(1)
        every = (pairs.sum() - pairs.trace()) / (n * (n - 1))
        if name != "wide":
            assert told[key].squared_norm == pytest.approx(each.mean(0).square().sum().item(), rel=1e-3)
            either = [every.item(), (halves[0] @ halves[1]).item()]
            product = told[key].squared_norm - told[key].trace / n
            assert any(product == pytest.approx(value, rel=1e-3, abs=1e-9) for value in either)


def test_the_parts_of_a_large_weight_make_up_the_whole() -> None:
    model, x = models()["wide"]
    weight = model[2].weight
    turns = [told_of(model, x, 6, turn)["2.weight"] for turn in range(2)]
    weight.grad = None
    loss_of(model, x).backward()
    widths = [2**18 // 300, 1000 - 2**18 // 300]
    whole = sum(t.squared_norm * width / 1000 for t, width in zip(turns, widths, strict=True))
    assert whole == pytest.approx(weight.grad.square().sum().item(), rel=1e-3)


def test_examples_that_cannot_be_told_apart_are_left_out() -> None:
    model, _ = models()["text"]
    assert told_of(model, torch.randint(0, 11, (4, 4)), 4) == {}  # as many examples as positions
    tied = Text()
    tied.head.weight = tied.token.weight
    assert not {"token.weight", "head.weight"} & set(told_of(tied, torch.randint(0, 11, (6, 4)), 6))
    packed, x = models()["linear"]

    class Checkpointed(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return torch.utils.checkpoint.checkpoint(packed, x, use_reentrant=False)

    assert told_of(Checkpointed(), x, 6) == {}


def test_the_batch_is_known_by_images_attention_or_plain_rows_only() -> None:
    for name, expected in {"linear": 6, "image": 6, "text": None, "sound": 6}.items():
        model, x = models()[name]
        found = batch_of(graph_of(loss_of(model, x), {id(p): 1 for p in model.parameters()}))
        assert found in (expected, 6 if name == "text" else expected)


SCRIPT = str(Path("gradient_noise.py"))


def test_a_script_has_its_noise_scale_and_norm_recorded_and_is_the_same(run: Run) -> None:
    ran, alone = run(SCRIPT, "loader"), run(SCRIPT, "loader", captured=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == (alone.stdout, alone.stderr, 0)
    norms = dict(enumerate(ran.printed("norm"), 1))
    sampled = ran.curve("grad_norm")
    assert len(sampled) > 10
    assert [value for _, value in sampled] == pytest.approx([norms[step] for step, _ in sampled], rel=1e-5)
    (true,) = ran.printed("true")
    scales = sorted(value for _, value in ran.curve("gradient_noise_scale"))
    assert scales[len(scales) // 2] == pytest.approx(true, rel=0.4)
    assert not ran.curve("gradient_noise_ratio")
    assert ran.end["dropped"] == 0


@pytest.mark.parametrize("way", ["accumulate+scaled", "autocast+other_optimizer"])
def test_accumulation_scaling_and_precision_change_nothing(run: Run, way: str) -> None:
    ran = run(SCRIPT, way)
    assert (ran.stderr, ran.returncode) == ("", 0)
    for name, curve in (("true", "gradient_noise_scale"), ("trace", "gradient_noise_scale.trace")):
        (true,) = ran.printed(name)
        values = sorted(value for _, value in ran.curve(curve))
        assert values[len(values) // 2] == pytest.approx(true, rel=0.4)


def test_batches_cut_by_hand_have_a_ratio(run: Run) -> None:
    ran = run(SCRIPT, "by_hand")
    (true,) = ran.printed("true")
    ratios = sorted(value for _, value in ran.curve("gradient_noise_ratio"))
    assert ratios[len(ratios) // 2] == pytest.approx(true / 32, rel=0.4)
    assert not ran.curve("gradient_noise_scale")


@pytest.mark.parametrize("way", ["two_losses", "recurrent", "nothing_finite", "raises"])
def test_where_it_cannot_be_known_there_is_none(run: Run, way: str) -> None:
    ran = run(SCRIPT, way)
    if way == "raises":
        alone = run(SCRIPT, way, captured=False)
        assert (ran.stdout, ran.stderr, ran.returncode) == (alone.stdout, alone.stderr, alone.returncode)
    else:
        assert (ran.stderr, ran.returncode) == ("", 0)
    assert not ran.curve("gradient_noise_scale") + ran.curve("gradient_noise_ratio")
    assert ran.end["dropped"] == 0
