"""Prints what one step of five metrics costs inside the training loop: hpkb beside a bare write of the same bytes.

    python bench/log_step.py [--steps 20000]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hpkb.capture.spool import SpoolWriter

METRICS = {"train_loss": 0.1, "learning_rate": 0.001, "grad_norm": 1.0, "val_loss": 0.3, "val_acc": 0.9}


def timed(log: Callable[[int], None], steps: int) -> tuple[float, float]:
    """Returns (median, 99th percentile) of the microseconds that a call of `log` takes."""
    times = []
    for step in range(steps):
        start = time.perf_counter_ns()
        log(step)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return statistics.median(times), sorted(times)[int(0.99 * steps)]


def main() -> None:
    """Runs each way in turn and prints its cost and its ratio to the bare write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(str(Path(folder) / "a.spool"), {})
        bare = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lines = os.open(Path(folder) / "lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        pack = struct.Struct("<IIcIqd" + "d" * len(METRICS)).pack
        values = list(METRICS.values())
        ways: dict[str, Callable[[int], object]] = {
            "struct.pack and write": lambda s: os.write(bare, pack(0, 0, b"P", 0, s, time.time(), *values)),
            "hpkb": lambda s: writer.points(s, time.time(), METRICS),
            "JSON line and write": lambda s: os.write(lines, json.dumps({"step": s, **METRICS}).encode()),
        }
        base = 0.0
        for name, way in ways.items():
            median, p99 = timed(way, steps)
            base = base or median
            print(f"{name:<24} median {median:6.2f} µs   p99 {p99:6.1f} µs   {median / base:5.2f} times the first")


if __name__ == "__main__":
    main()
