"""Prints what capture costs a training script: the same script with and without it, alternating, and paired.

    python bench/capture.py [--pairs 7] [--steps 1500]

The script's step is about 1 ms on one core: what is added to it is the same at any step time. Start-up is the wall time
of a script that imports torch and ends.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpkb.ship.launch import environment

SCRIPT = """
import argparse, sys, time
import torch
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
steps = parser.parse_args().steps
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
loader = DataLoader(TensorDataset(torch.randn(6400, 256), torch.randint(0, 10, (6400,))), 64, shuffle=True)
times = []
while len(times) < steps:
    for inputs, labels in loader:
        start = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        times.append(time.perf_counter() - start)
print("median", sorted(times)[len(times) // 2] if times else 0.0, file=sys.stderr)
"""


def run(script: Path, steps: int, captured: bool, folder: Path) -> tuple[float, float]:
    """Returns (wall seconds, median seconds a step) of one run of the script."""
    base = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder.mkdir(parents=True)
    env = environment(folder, base) if captured else base
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, script, "--steps", str(steps)], env=env, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, float(done.stderr.split()[-1])


def import_time() -> float:
    """Returns the median milliseconds that `import hpkb` takes in a fresh Python."""
    code = "import time; start = time.perf_counter(); import hpkb; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(9)]
    return statistics.median(float(run.stdout) for run in runs) * 1e3


def main() -> None:
    """Runs the pairs and prints the medians of the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "train.py"
        script.write_text(SCRIPT)
        for what, steps, index, unit in (("a step", args.steps, 1, 1e6), ("start-up", 0, 0, 1e3)):
            pairs = []
            for i in range(args.pairs):
                order = (False, True) if i % 2 else (True, False)
                times = {c: run(script, steps, c, Path(name) / f"{steps}-{i}-{c}")[index] for c in order}
                pairs.append((times[False] * unit, times[True] * unit))
            plain = statistics.median(p for p, _ in pairs)
            added = statistics.median(c - p for p, c in pairs)
            name_of_unit = "µs" if unit == 1e6 else "ms"
            print(f"{what:<9} without {plain:8.1f} {name_of_unit}   added by capture {added:7.1f} {name_of_unit}"
                  f"   ({added / plain:+.1%}; {args.pairs} pairs)")  # fmt: skip


    print(f"import hpkb {import_time():.1f} ms")


if __name__ == "__main__":
    main()
