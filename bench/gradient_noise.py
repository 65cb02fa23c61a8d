"""Prints the captured gradient noise scale as a ratio to the exact one, from every example's own gradient.

Small real trainings, each a captured child: handwritten digits by an MLP and a CNN, English text by a transformer, at
three batch sizes, with SGD and AdamW. A point that capture records stands for a window of steps. It is compared with
the exact value of the same quantity over that window, all parameters included: the harmonic mean of tr(Σ)/‖G‖² over
the whole training set, at the parameters of some six steps of the window. A cell is the median of these ratios over
the points of several seeds, with its quartiles; beside it the median ratio to tr(Σ)/‖G‖² at the point's very step, how
many points were compared and recorded, and how many of the trainings had any. Of a training with many points, as many
are compared as `--points` says, evenly spread. A cell without points had no evidence: its share of ‖G‖² is not known
to half of itself at any time.

Times, those that the pace goes by too, are the processor's for this thread, which other programs on the machine change
less. The steps of these networks are so short that few samples fit into 0.5% of them. `--every 5` samples as often as
0.5% allows in steps of some 10 ms, to show the estimator apart from its pace; the last column says from what length of
a step on so many samples cost no more than 0.5%.

    python bench/gradient_noise.py [--steps 1000] [--every 0] [--seeds 2] [--first-seed 0]
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).parent.parent
MODELS, OPTIMIZERS, BATCH_SIZES = ("mlp", "cnn", "transformer"), ("sgd", "adamw"), (8, 32, 128)
IN_WINDOW, IN_TRAINING = 6, 25  # steps whose exact values make up that of a window, at most, and the grid they are of
SHARE = 0.005  # of the steps' time that samples may take
RATES = {"mlp": (0.05, 2e-3), "cnn": (0.02, 2e-3), "transformer": (0.05, 3e-3)}  # of SGD with momentum and of AdamW
CONTEXT, TEXTS = 24, 800


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
        windows = tokens.unfold(0, CONTEXT + 1, 48)[:TEXTS]
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


def exact(model, parameters, x, y):
    """Returns tr(Σ) and ‖G‖² over all examples at some parameters, from the gradient of each."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def loss(parameters, one, target):
        return loss_of(functional_call(model, parameters, (one[None],)), target[None])

    of_each = vmap(grad(loss), in_dims=(None, 0, 0))
    squares, total = 0.0, 0.0
    for xs, ys in zip(x.split(128), y.split(128), strict=True):
        with sdpa_kernel(SDPBackend.MATH):  # the one that vmap knows
            each = of_each(parameters, xs, ys).values()
        squares += sum(torch.linalg.vector_norm(g).item() ** 2 for g in each)
        total += torch.cat([g.sum(0).flatten() for g in each]).double()
    squared_norm = (total / len(x)).square().sum().item()
    return squares / len(x) - squared_norm, squared_norm


class Witness:
    """Keeps the parameters of the steps whose exact noise scale may be asked for, and what the samples cost."""

    def __init__(self, model, steps, every):
        from hpkb.capture import gradients, noise_scale, pacing, split_batch

        self.model, self.apart = model, max(1, steps // IN_TRAINING)
        self.kept, self.told, self.costs, self.since = {}, {}, [], 0
        took, tell, estimate = pacing.Pace.took, gradients.Gradients._tell, noise_scale.NoiseScale.estimate
        pacing.Pace.took = lambda pace, cost, *rest: (self.costs.append(cost), took(pace, cost, *rest))
        gradients.Gradients._tell = lambda feature, sample: (tell(feature, sample), self.saw(feature, sample.step))
        noise_scale.NoiseScale.estimate = lambda noise: self.estimated(estimate(noise))
        gradients.time = split_batch.time = SimpleNamespace(perf_counter=time.thread_time)
        if every:
            pacing.Pace.interval = lambda pace, step: every

    def estimated(self, estimate):
        """Takes note of the window of an estimate, and returns the estimate."""
        self.since = estimate.since if estimate else 0
        return estimate

    def saw(self, feature, step):
        """Takes note of a point and of its window, if there was one."""
        if feature._told_at == step:
            self.told[step] = self.since

    def before(self, step):
        """Keeps the parameters before a step, and lets go of those of the last one where nothing needs them."""
        if step > 1 and step - 1 not in self.told and (step - 1) % self.apart:
            del self.kept[step - 1]
        self.kept[step] = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def truth(self, x, y, points):
        """Returns the exact noise scale of the window and of the very step of so many of the points."""

        @functools.cache
        def share(step):
            trace, squared_norm = exact(self.model, self.kept[step], x, y)
            return squared_norm / (trace + squared_norm)

        stride, found = max(1, -(-len(self.told) // points)), {}
        for step, since in list(self.told.items())[::-1][::stride]:
            inside = [s for s in self.kept if since <= s <= step and s % self.apart == 0] or [step]
            chosen = inside[:: -(-len(inside) // IN_WINDOW)]
            found[step] = 1 / np.mean([share(s) for s in chosen]) - 1, 1 / share(step) - 1
        return found


def train(name, optimizer, batch_size, steps, every, seed, points):
    """Trains in this process and prints the exact values and what the samples took."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, x, y = build(name)
    witness = Witness(model, steps, every)
    rates = RATES[name]
    if optimizer == "sgd":
        stepper = torch.optim.SGD(model.parameters(), lr=rates[0], momentum=0.9)
    else:
        stepper = torch.optim.AdamW(model.parameters(), lr=rates[1])
    loader = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    elapsed = 0.0
    for step in range(1, steps + 1):
        witness.before(step)
        began = time.thread_time()
        inputs, targets = next(batches)
        stepper.zero_grad()
        loss_of(model(inputs), targets).backward()
        stepper.step()
        elapsed += time.thread_time() - began
    truth, costs = witness.truth(x, y, points), witness.costs
    print(json.dumps({"truth": truth, "cost": sum(costs), "elapsed": elapsed, "samples": len(costs)}))


def captured(cell, args, seed):
    """Returns what a captured child tells of itself, and the noise scales recorded of it, by step."""
    from hpkb.capture.spool import Points
    from hpkb.capture.spool_reader import SpoolReader

    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join(map(str, (ROOT / "hpkb" / "capture" / "inject", ROOT)))  # this very tree
        env = {**os.environ, "HPKB_RUN_DIR": folder, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        numbers = args.steps, args.every, seed, args.points
        command = [sys.executable, __file__, "--cell", *map(str, (*cell, *numbers))]
        told = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
        (spool,) = Path(folder).glob("*.spool")
        points = [record for _, record in SpoolReader(str(spool)).read() if isinstance(record, Points)]
    name = "gradient_noise_scale"
    return told, {point.step: point.values[name] for point in points if name in point.values}


def report(cell, args):
    """Prints one cell's line and returns its median."""
    runs = [captured(cell, args, args.first_seed + index) for index in range(args.seeds)]
    ratios = [recorded[int(at)] / np.array(truth) for told, recorded in runs for at, truth in told["truth"].items()]
    known = np.array(ratios).reshape(-1, 2)
    low, median, high = np.quantile(known[:, 0], [0.25, 0.5, 0.75]) if len(known) else [float("nan")] * 3
    at_step = np.median(known[:, 1]) if len(known) else float("nan")
    cost, elapsed, samples = (sum(told[name] for told, _ in runs) for name in ("cost", "elapsed", "samples"))
    recorded, telling = sum(len(recorded) for _, recorded in runs), sum(bool(recorded) for _, recorded in runs)
    allowed = 1e3 * cost / SHARE / (args.steps * args.seeds)
    print(
        f"{cell[0]:<12} {cell[1]:<6} {cell[2]:>4}   {median:5.2f}  {low:5.2f} to {high:5.2f}   {at_step:5.2f}   "
        f"{len(known):>3} of {recorded:<4} {telling:>2} of {args.seeds:<2}   {samples / args.seeds:6.0f}   "
        f"{1e3 * elapsed / args.steps / args.seeds:7.2f}   {100 * cost / elapsed:5.2f}%   {allowed:5.1f} ms",
        flush=True,
    )
    return median


def main() -> None:
    """Runs every cell and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=0, help="sample every so many steps rather than as time allows")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=6, help="of each training that are compared, at most")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--batch-sizes", default=",".join(map(str, BATCH_SIZES)))
    parser.add_argument("--cell", nargs=7, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        name, optimizer, *numbers = args.cell
        train(name, optimizer, *map(int, numbers))
        return
    columns = "median   quartiles     at step  points      runs       samples   ms/step    cost   0.5% from"
    print(f"model        optim. batch  {columns}")
    chosen = args.models, args.optimizers, args.batch_sizes
    cells = list(itertools.product(*(names.split(",") for names in chosen)))
    medians = [report(cell, args) for cell in cells]
    told, within = sum(median == median for median in medians), sum(0.67 <= median <= 1.5 for median in medians)
    print(f"{within} of {told} medians within 0.67 to 1.5; {len(cells) - told} of {len(cells)} cells without evidence")


if __name__ == "__main__":
    main()
