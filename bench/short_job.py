"""Prints how long `hpkb log -- true` takes, from its start to its return, with a shipper at hand and without waiting.

    python bench/short_job.py [--times 15]

Beside it the floor: a Python that does nothing, and `hpkb --version`, which imports the command line alone. The first
`hpkb log` finds neither a shipper nor a store: it waits for MLflow's import and for the tables. All ways take turns, so
that what else the machine does hits each of them.
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

HPKB = [sys.executable, "-m", "hpkb"]
WAYS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "hpkb --version": [*HPKB, "--version"],
    "hpkb log --no-wait -- true": [*HPKB, "log", "--no-wait", "--", "true"],
    "hpkb log -- true": [*HPKB, "log", "--", "true"],
}


def seconds(command: list[str], folder: str) -> float:
    """Runs the command in the folder, with a spool and a store of its own; returns its wall time."""
    own = {
        "HPKB_SPOOL": f"{folder}/spool", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "HPKB_LINGER": "600",
        "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }  # fmt: skip
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ | own, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Runs the ways in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        first = seconds(WAYS["hpkb log -- true"], folder)
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(times):
            for way, command in WAYS.items():
                took[way].append(1e3 * seconds(command, folder))
    # The folder is gone, and with it the shipper: it serves as long as there is a spool.
    print(f"{'ms':<28}{'median':>8}{'quartiles':>14}{'longest':>9}")
    for way, values in took.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        print(f"{way:<28}{median:8.0f}{f'{low:.0f} to {high:.0f}':>14}{max(values):9.0f}")
    print(f"{'the first, without a shipper':<28}{1e3 * first:8.0f}")


if __name__ == "__main__":
    main()
