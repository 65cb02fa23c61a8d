"""Residual connections and activations told from the autograd graph, against networks of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from hpkb.capture.activations import activation_word, activations_in  # noqa: E402
from hpkb.capture.autograd_graph import levels, read_graph  # noqa: E402
from hpkb.capture.connections import residual_connections  # noqa: E402

Network = Callable[[dict[str, Any]], Any]


class Layers(dict[str, Any]):
    """Layers by name, each made when it is first asked for: "a16_8" is linear, "c3_8" a convolution."""

    def __missing__(self, name: str) -> Any:
        kind, (inputs, outputs) = name[0], (int(n) for n in name.partition(".")[0][1:].split("_"))
        made = {"e": nn.Embedding, "c": lambda i, o: nn.Conv2d(i, o, 3, padding=1)}.get(kind, nn.Linear)
        self[name] = made(inputs, outputs)
        return self[name]


def vector() -> Any:
    return torch.randn(4, 16)


def plain(m: Any) -> Any:
    return m["a16_8"](torch.relu(m["a16_16"](vector())))


def residual(m: Any) -> Any:
    x = torch.relu(m["a16_16.1"](vector()))
    return m["a16_8"](x + m["a16_16.2"](torch.relu(x)))


def in_place(m: Any) -> Any:
    x = m["c3_8"](torch.randn(2, 3, 8, 8))
    y = m["c8_8.2"](F.relu(m["c8_8.1"](x)))
    y += x
    return y


def subsampled_shortcut(m: Any) -> Any:
    """The shortcut of CIFAR's ResNet: every other pixel, padded with channels of zeros."""
    x = m["c3_8"](torch.randn(2, 3, 8, 8))
    y = F.max_pool2d(m["c16_16"](F.relu(m["c8_16"](x))), 2)
    return F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))


def layer_scale_and_dropped_path(m: Any) -> Any:
    x = m["a16_16.1"](vector())
    m["a1_1"].weight  # noqa: B018
    branch = m["a16_16.2"](F.gelu(x)) * m["a1_1"].weight[0]
    return x + branch * torch.ones(4, 1) / 0.9


def universal(m: Any) -> Any:
    x = m["a16_16.1"](vector())
    for _ in range(3):
        x = x + torch.tanh(m["a16_16.2"](x))
    return x


def inner_checkpoint(m: Any) -> Any:
    x = m["a16_16.1"](vector())
    return checkpoint(lambda x: x + m["a16_16.2"](F.relu(x)), x, use_reentrant=False)


def hidden_checkpoint(m: Any) -> Any:
    x = m["a16_16.1"](vector())
    return checkpoint(lambda x: x + m["a16_16.2"](F.relu(x)), x, use_reentrant=True)


def positions(m: Any) -> Any:
    x = m["e50_16"](torch.zeros(4, 5, dtype=torch.long)) + m["e5_16"](torch.arange(5))
    return m["a16_8"](F.gelu(m["a16_16"](x)))


def masked_scores(m: Any) -> Any:
    x = m["e50_16"](torch.zeros(4, 5, dtype=torch.long))
    q, k, v = m["a16_16.1"](x), m["a16_16.2"](x), m["a16_16.3"](x)
    return torch.softmax(q @ k.transpose(1, 2) + torch.zeros(5, 5), -1) @ v


def two_losses(m: Any) -> Any:
    x = torch.relu(m["a16_16"](vector()))
    return m["a16_8.1"](x).square().mean() + m["a8_8"](torch.relu(m["a16_8.2"](x))).square().mean() + x.mean()


def penalty(m: Any) -> Any:
    return plain(m).mean() + 1e-4 * sum(layer.weight.square().sum() for layer in m.values())


def parallel(m: Any) -> Any:
    x = torch.relu(m["a16_16"](vector()))
    return m["a16_8.1"](x) + m["a16_8.2"](x)


def ensemble(m: Any) -> Any:
    x = m["a16_16"](vector())
    return sum(m[f"a16_8.{i}"](torch.relu(m[f"a16_16.{i}"](x))) for i in range(3)) / 3


def reparametrised(m: Any) -> Any:
    h = torch.relu(m["a16_16"](vector()))
    return m["a8_16"](m["a16_8.1"](h) + torch.randn(4, 8) * torch.exp(m["a16_8.2"](h)))


def modulated(m: Any) -> Any:
    scale, shift = m["a16_16.1"](vector()).chunk(2, 1)
    return m["a8_8"](F.relu(m["a16_8"](vector()) * (1 + scale) + shift))


def siamese(m: Any) -> Any:
    one, two = (m["a16_8"](torch.relu(m["a16_16"](vector()))) for _ in range(2))
    return one + two


def concatenated(m: Any) -> Any:
    x = m["a16_16.1"](vector())
    return m["a32_8"](torch.cat([x, torch.relu(m["a16_16.2"](x))], 1))


def spectral(m: Any) -> Any:
    weight = m["a16_16"].weight
    normed = weight / weight.norm()
    return F.relu(F.linear(vector(), normed)) + F.relu(F.linear(vector(), normed))


def recurrent(m: Any) -> Any:
    x, h = m["e50_16"](torch.zeros(4, 5, dtype=torch.long)), torch.zeros(4, 16)
    for t in range(5):
        h = torch.tanh(m["a16_16.1"](x[:, t]) + m["a16_16.2"](h))
    return m["a16_8"](h)


def recurrent_lstm(m: Any) -> Any:
    x, h, c = m["e50_16"](torch.zeros(4, 5, dtype=torch.long)), torch.zeros(4, 16), torch.zeros(4, 16)
    for t in range(5):
        i, f, g, o = (m["a16_64.1"](x[:, t]) + m["a16_64.2"](h)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return m["a16_8"](h)


def recurrent_gru(m: Any) -> Any:
    x, h = m["e50_16"](torch.zeros(4, 5, dtype=torch.long)), torch.zeros(4, 16)
    for t in range(5):
        both = torch.cat([x[:, t], h], 1)
        z, r = torch.sigmoid(m["a32_16.1"](both)), torch.sigmoid(m["a32_16.2"](both))
        h = (1 - z) * torch.tanh(m["a32_16.3"](torch.cat([x[:, t], r * h], 1))) + z * h
    return m["a16_8"](h)


def highway(m: Any) -> Any:
    x = m["a16_16.1"](vector())
    gate = torch.sigmoid(m["a16_16.2"](x))
    return gate * torch.relu(m["a16_16.3"](x)) + (1 - gate) * x


def factorisation_machine(m: Any) -> Any:
    x = m["e50_16"](torch.zeros(4, 5, dtype=torch.long))
    pairs = (x.sum(1) ** 2 - (x**2).sum(1)).sum(1, keepdim=True) / 2
    return pairs + m["a16_1"](torch.relu(m["a80_16"](x.flatten(1))))


def wide_and_deep(m: Any) -> Any:
    x = m["e50_16"](torch.zeros(4, dtype=torch.long))
    return m["a16_1.1"](x) + m["a16_1.2"](torch.relu(m["a16_16"](x)))


def denoised(m: Any) -> Any:
    """The network's input takes no gradient: that it is added cannot be told from any other constant."""
    x = vector()
    return x + m["a16_16.2"](torch.relu(m["a16_16.1"](x)))


TRUE = [residual, in_place, subsampled_shortcut, layer_scale_and_dropped_path, universal, inner_checkpoint]
FALSE = [plain, positions, masked_scores, two_losses, penalty, parallel, ensemble, reparametrised, modulated]
FALSE += [siamese, concatenated, spectral, recurrent]
OPEN = [hidden_checkpoint, recurrent_gru, highway, factorisation_machine, wide_and_deep, denoised]
NEVER_TRUE = [recurrent_lstm]  # told or open


def told(network: Network) -> bool | None:
    loss = network(Layers())
    found = residual_connections(read_graph(torch, loss if loss.dim() == 0 else loss.mean()))
    return True if found.around else False if found.certain else None


@pytest.mark.parametrize("network", TRUE, ids=lambda network: network.__name__)
def test_residual_connections_are_found(network: Network) -> None:
    assert told(network) is True


@pytest.mark.parametrize("network", FALSE, ids=lambda network: network.__name__)
def test_other_sums_are_none(network: Network) -> None:
    assert told(network) is False


@pytest.mark.parametrize("network", OPEN, ids=lambda network: network.__name__)
def test_what_cannot_be_known_is_open(network: Network) -> None:
    assert told(network) is None


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers_have_none(cell: Any) -> None:
    embedding, layer = nn.Embedding(50, 16), cell(16, 16, 2, batch_first=True)
    loss = layer(embedding(torch.zeros(4, 6, dtype=torch.long)))[0].mean()
    found = residual_connections(read_graph(torch, loss))
    assert not found.around
    assert told(recurrent_lstm) is not True


ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "relu": (F.relu, "relu"), "gelu": (F.gelu, "gelu"), "silu": (F.silu, "silu"), "tanh": (torch.tanh, "tanh"),
    "tanh gelu": (lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * torch.pow(x, 3)))), "gelu"),
    "swish": (lambda x: x * torch.sigmoid(x), "silu"), "elu": (F.elu, "elu"), "selu": (F.selu, "selu"),
    "relu6": (F.relu6, "relu6"), "leaky": (F.leaky_relu, "leaky_relu"), "mish": (F.mish, "mish"),
    "gate": (lambda x: x.roll(1) * torch.sigmoid(x), None), "none": (lambda x: x * 2, None),
    "prelu": (lambda x: F.prelu(x, nn.Parameter(torch.ones(1))), "prelu"), "sigmoid": (torch.sigmoid, "sigmoid"),
    "hard swish": (F.hardswish, "hard_swish"), "squared": (lambda x: F.relu(x).square(), "relu"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_between_layers_are_told(name: str) -> None:
    function, word = ACTIVATIONS[name]
    model = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
    graph = read_graph(torch, torch.tanh(model[1](function(model[0](torch.randn(4, 8))))).mean())
    assert activation_word(activations_in(graph), list(levels(graph)), [model]) == word


def test_nothing_holds_on_to_the_graph() -> None:
    import gc
    import weakref

    layers = Layers()
    loss = residual(layers).mean()
    gone = weakref.ref(loss.grad_fn.next_functions[0][0].metadata.setdefault("mark", nn.Identity()))
    graph = read_graph(torch, loss)
    assert residual_connections(graph).around
    del loss
    gc.collect()
    assert gone() is None
    assert graph.kinds
