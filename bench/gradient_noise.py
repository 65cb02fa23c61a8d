"""Prints the captured gradient noise scale as a ratio to the exact one, from every example's own gradient.

Small real trainings, each a captured child: handwritten digits by an MLP and a CNN, English text by a transformer, at
three batch sizes, with SGD and AdamW. Every 47 steps the child computes tr(Σ)/‖G‖² over its whole training set, all
parameters included, at the parameters of that step; it is compared with the latest point recorded by then. A cell is
the median of these ratios over the run, or over several seeds, with its quartiles; beside it how many of the
comparisons had a point to compare with, and what share of the steps' time the samples took. The steps of these
networks are so short that few samples fit into 0.5% of them; `--every 10` samples more often than that allows, to show
the estimator apart from its pace, and the cost column then says by how much.

    python bench/gradient_noise.py [--steps 1000] [--seeds 3] [--every 0] [--models mlp,cnn,transformer]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
MODELS, OPTIMIZERS, BATCH_SIZES = ("mlp", "cnn", "transformer"), ("sgd", "adamw"), (8, 32, 128)
EVERY = 47  # steps between two exact values; not in time with the epochs, whose short last batch makes G large
RATES = {"mlp": (0.05, 2e-3), "cnn": (0.02, 2e-3), "transformer": (0.05, 3e-3)}  # of SGD with momentum and of AdamW
CONTEXT, WINDOWS = 24, 2400


def build(name):
    """Returns the model and its training set, (n, ...) inputs and targets."""
    import torch
    from torch import nn

    sys.path.insert(0, str(ROOT / "examples"))
    import data

    if name == "transformer":
        characters = data.english_text()
        vocabulary = sorted(set(characters))
        tokens = torch.tensor([vocabulary.index(character) for character in characters])
        windows = tokens.unfold(0, CONTEXT + 1, 16)[:WINDOWS]
        return transformer(len(vocabulary)), windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
    x, y = map(torch.from_numpy, data.digits())
    if name == "mlp":
        layers = nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        return nn.Sequential(*layers), x, y
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)), x.view(-1, 1, 8, 8), y


def transformer(vocabulary, width=32, depth=2):
    """Returns a small transformer of characters."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            batch, context, _ = x.shape
            heads = self.attend(self.before(x)).view(batch, context, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(*heads.unbind(), is_causal=True)
            x = x + self.project(seen.transpose(1, 2).reshape(batch, context, width))
            return x + self.feed(self.between(x))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)
            self.position = nn.Parameter(0.1 * torch.randn(CONTEXT, width))
            self.blocks = nn.Sequential(*(Block() for _ in range(depth)))

        def forward(self, tokens):
            return self.head(self.blocks(self.token(tokens) + self.position))

    return Transformer()


def loss_of(outputs, targets):
    """Returns the mean cross-entropy of classes, or of the characters of texts."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs.flatten(0, -2), targets.flatten())


def exact(model, x, y):
    """Returns tr(Σ)/‖G‖² over all examples, from the gradient of each."""
    import torch
    from torch.func import functional_call, grad, vmap

    def loss(parameters, one, target):
        return loss_of(functional_call(model, parameters, (one[None],)), target[None])

    of_each = vmap(grad(loss), in_dims=(None, 0, 0))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    squares, total = 0.0, 0.0
    for xs, ys in zip(x.split(128), y.split(128), strict=True):
        each = of_each(parameters, xs, ys).values()
        squares += sum(torch.linalg.vector_norm(g).item() ** 2 for g in each)
        total += torch.cat([g.sum(0).flatten() for g in each]).double()
    squared_norm = (total / len(x)).square().sum().item()
    return (squares / len(x) - squared_norm) / squared_norm


def train(name, optimizer, batch_size, steps, every, seed):
    """Trains in this process and prints the exact values and what the samples took."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from hpkb.capture import pacing

    costs, pace = [], pacing.Pace.took
    pacing.Pace.took = lambda self, cost, *rest: (costs.append(cost), pace(self, cost, *rest))
    if every:
        pacing.Pace.interval = lambda self, step: every
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, x, y = build(name)
    rates = RATES[name]
    if optimizer == "sgd":
        stepper = torch.optim.SGD(model.parameters(), lr=rates[0], momentum=0.9)
    else:
        stepper = torch.optim.AdamW(model.parameters(), lr=rates[1])
    loader = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    truth, elapsed = {}, 0.0
    for step in range(1, steps + 1):
        if step % EVERY == 0:
            truth[step] = exact(model, x, y)
        began = time.perf_counter()
        inputs, targets = next(batches)
        stepper.zero_grad()
        loss_of(model(inputs), targets).backward()
        stepper.step()
        elapsed += time.perf_counter() - began
    print(json.dumps({"truth": truth, "cost": sum(costs), "elapsed": elapsed, "samples": len(costs)}))


def captured(cell, steps, every, seed):
    """Returns what a captured child tells of itself, and the noise scales recorded of it, by step."""
    from hpkb.capture.spool import Points, SpoolReader

    with tempfile.TemporaryDirectory() as folder:
        inject = str(ROOT / "hpkb" / "capture" / "inject")
        env = {**os.environ, "HPKB_RUN_DIR": folder, "PYTHONPATH": inject, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--cell", *map(str, (*cell, steps, every, seed))]
        told = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
        (spool,) = Path(folder).glob("*.spool")
        points = [record for _, record in SpoolReader(str(spool)).read() if isinstance(record, Points)]
    name = "gradient_noise_scale"
    return told, {point.step: point.values[name] for point in points if name in point.values}


def ratios(truth, recorded):
    """Returns the ratio at each exact value, NaN where nothing was recorded in the fifth of the steps before it."""
    found = []
    for step, value in ((int(step), value) for step, value in truth.items()):
        known = [at for at in recorded if 0.8 * step <= at <= step]
        found.append(recorded[max(known)] / value if known else float("nan"))
    return found


def report(cell, steps, every, seeds):
    """Prints one cell's line and returns its median."""
    runs = [captured(cell, steps, every, seed) for seed in range(seeds)]
    found = np.array([ratio for told, recorded in runs for ratio in ratios(told["truth"], recorded)])
    known = found[np.isfinite(found)]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else [float("nan")] * 3
    share = sum(told["cost"] for told, _ in runs) / sum(told["elapsed"] for told, _ in runs)
    milliseconds = 1e3 * sum(told["elapsed"] for told, _ in runs) / (steps * seeds)
    samples = sum(told["samples"] for told, _ in runs) / seeds
    print(
        f"{cell[0]:<12} {cell[1]:<6} {cell[2]:>4}   {median:5.2f}  {low:5.2f} to {high:5.2f}   {len(known):>3} of "
        f"{len(found):<3}   {samples:6.0f}   {milliseconds:7.2f}   {100 * share:5.2f}%",
        flush=True,
    )
    return median


def main() -> None:
    """Runs every cell and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=0, help="sample every so many steps rather than as time allows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cell", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        name, optimizer, *numbers = args.cell
        train(name, optimizer, *map(int, numbers))
        return
    print("model        optim. batch  median   quartiles         points    samples   ms/step   cost")
    cells = list(itertools.product(args.models.split(","), OPTIMIZERS, BATCH_SIZES))
    medians = [report(cell, args.steps, args.every, args.seeds) for cell in cells]
    print(f"{sum(0.67 <= median <= 1.5 for median in medians)} of {len(cells)} medians within 0.67 to 1.5")


if __name__ == "__main__":
    main()
