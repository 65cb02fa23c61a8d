"""Prints what one step of five metrics costs: in the training loop, and in all until it is in the store.

    python bench/log_step.py [--steps 10000] [--quick]

In the loop: hpkb's `log` beside a bare `struct.pack` and unbuffered write of the same bytes, and beside what others
charge (those that are installed: trackio, W&B offline, TensorBoard, Aim, MLflow). In all: the processor time of the
loop and of whatever ships or stores, of hpkb's shipper as well, over the steps; for MLflow's SQLite store the cheapest
way is `log_batch` of 1,000 metrics.

Every way runs in a process of its own, in a folder that is empty; one that is slow takes fewer steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

METRICS = {"train_loss": 0.1, "learning_rate": 0.001, "grad_norm": 1.0, "val_loss": 0.3, "val_acc": 0.9}

Log = Callable[[int], Any]
Way = Callable[[], tuple[Log, Callable[[], object]]]  # returns what logs a step, and what ends it all


def bare() -> tuple[Log, Callable[[], object]]:
    """The same bytes as hpkb's record, packed and written without a buffer, nothing else."""
    file = os.open("bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pack = struct.Struct("<IIcIqd" + "d" * len(METRICS)).pack
    values = list(METRICS.values())
    return lambda step: os.write(file, pack(0, 0, b"P", 0, step, time.time(), *values)), lambda: None


def hpkb_log() -> tuple[Log, Callable[[], object]]:
    """`hpkb.log` in a job of `hpkb log`."""
    import hpkb

    log = hpkb.log
    return lambda step: log(METRICS, step), lambda: None


def json_line() -> tuple[Log, Callable[[], object]]:
    """A line of JSON, written without a buffer."""
    file = os.open("lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return lambda step: os.write(file, json.dumps({"step": step, **METRICS}).encode() + b"\n"), lambda: None


def trackio() -> tuple[Log, Callable[[], object]]:
    """trackio, into its SQLite file."""
    import trackio

    trackio.init(project="bench")
    return lambda step: trackio.log(METRICS, step=step), trackio.finish


def wandb_offline() -> tuple[Log, Callable[[], object]]:
    """W&B, offline."""
    import wandb

    run = wandb.init(project="bench", mode="offline")
    return lambda step: run.log(METRICS, step=step), run.finish


def tensorboard() -> tuple[Log, Callable[[], object]]:
    """torch's writer of TensorBoard's files."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter("tensorboard")

    def log(step: int) -> None:
        for name, value in METRICS.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def aim() -> tuple[Log, Callable[[], object]]:
    """Aim, into its own store."""
    import aim

    run = aim.Run(system_tracking_interval=None, log_system_params=False)

    def log(step: int) -> None:
        for name, value in METRICS.items():
            run.track(value, name=name, step=step)

    return log, run.close


def mlflow_sync() -> tuple[Log, Callable[[], object]]:
    """MLflow's `log_metrics` into an SQLite store."""
    import mlflow

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.start_run()
    return lambda step: mlflow.log_metrics(METRICS, step=step), mlflow.end_run


def mlflow_async() -> tuple[Log, Callable[[], object]]:
    """MLflow's `log_metrics(synchronous=False)` into an SQLite store."""
    import mlflow

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.start_run()
    return lambda step: mlflow.log_metrics(METRICS, step=step, synchronous=False), mlflow.end_run


def mlflow_batch() -> tuple[Log, Callable[[], object]]:
    """MLflow's `log_batch` of 1,000 metrics into an SQLite store."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient("sqlite:///mlflow.db")
    run, waiting = client.create_run("0").info.run_id, []

    def log(step: int) -> None:
        now = int(time.time() * 1000)
        waiting.extend(Metric(name, value, now, step) for name, value in METRICS.items())
        if len(waiting) >= 1000:
            send()

    def send() -> None:
        client.log_batch(run, metrics=waiting)
        waiting.clear()

    return log, send


class Kind(NamedTuple):
    """A way to log: its title, what it needs installed, the share of the steps that it takes, and the function."""

    title: str
    needs: str
    share: float
    way: Way


WAYS = {
    "bare": Kind("struct.pack and write", "struct", 1, bare),
    "hpkb": Kind("hpkb, curves thinned", "hpkb", 1, hpkb_log),
    "hpkb-full": Kind("hpkb --full-metrics", "hpkb", 1, hpkb_log),
    "json": Kind("JSON line and write", "json", 1, json_line),
    "trackio": Kind("trackio", "trackio", 1, trackio),
    "wandb": Kind("W&B offline", "wandb", 1, wandb_offline),
    "tensorboard": Kind("TensorBoard (torch)", "tensorboard", 1, tensorboard),
    "aim": Kind("Aim", "aim", 0.5, aim),
    "batch": Kind("MLflow log_batch of 1,000", "mlflow", 1, mlflow_batch),
    "async": Kind("MLflow async, SQLite", "mlflow", 0.1, mlflow_async),
    "sync": Kind("MLflow sync, SQLite", "mlflow", 0.05, mlflow_sync),
}


def measure(name: str, steps: int) -> None:
    """Logs the steps in this process, and writes (median, p99, processor time a step) in µs to `measured`."""
    log, finish = WAYS[name].way()
    log(0)  # opens what is opened late
    before, times = processor_time(), []
    for step in range(1, steps + 1):
        start = time.perf_counter_ns()
        log(step)
        times.append((time.perf_counter_ns() - start) / 1e3)
    finish()
    spent = (processor_time() - before) / steps * 1e6
    told = [statistics.median(times), sorted(times)[int(0.99 * steps)], spent]
    Path("measured").write_text(json.dumps(told))


def processor_time() -> float:
    """The seconds of processor time of this process, its threads and the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run(name: str, steps: int) -> list[float]:
    """Runs a way in an empty folder; returns what it measured, for hpkb with the shipper's time a step."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_SILENT": "true", "HPKB_LINGER": "600"}
        places = {"HPKB_SPOOL": f"{folder}/spool", "WANDB_DIR": folder, "TRACKIO_DIR": folder, "HOME": folder}
        path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]))
        env = os.environ | quiet | places | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        command = [sys.executable, __file__, "--way", name, "--steps"]
        if not name.startswith("hpkb"):
            subprocess.run([*command, str(steps)], cwd=folder, env=env, check=True, capture_output=True)
            return list(json.loads(Path(folder, "measured").read_text()))
        return run_hpkb(name, command, steps, folder, env)


def run_hpkb(name: str, command: list[str], steps: int, folder: str, env: dict[str, str]) -> list[float]:
    """Two jobs of one shipper: the first makes it import MLflow, the second is measured, in both processes."""
    options = ["--full-metrics"] if name == "hpkb-full" else []
    log = [sys.executable, "-m", "hpkb", "log", "--tracking-uri", f"sqlite:///{folder}/mlflow.db", *options, "--"]
    subprocess.run([*log, *command, "10"], cwd=folder, env=env, check=True, capture_output=True)
    shippers = [pid for pid in _pids() if _belongs(pid, f"HPKB_SPOOL={folder}/spool")]
    before = sum(_spent(pid) for pid in shippers)
    subprocess.run([*log, *command, str(steps)], cwd=folder, env=env, check=True, capture_output=True)
    shipped = (sum(_spent(pid) for pid in shippers) - before) / steps * 1e6
    for pid in shippers:
        os.kill(pid, 15)
    median, p99, spent = json.loads(Path(folder, "measured").read_text())
    return [median, p99, spent + shipped]


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _belongs(pid: int, entry: str) -> bool:
    try:
        return entry.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Runs each way in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="only the bare write, hpkb, JSON and log_batch")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        return measure(args.way, args.steps)
    print(f"{'µs a step of five metrics':<28}{'median':>9}{'to bare':>9}{'to hpkb':>10}{'p99':>10}"
          f"{'in all':>10}{'to batch':>10}")  # fmt: skip
    chosen = ("bare", "hpkb", "hpkb-full", "json", "batch") if args.quick else WAYS
    kinds = {name: WAYS[name] for name in chosen if importlib.util.find_spec(WAYS[name].needs)}
    found = {}
    for name, kind in kinds.items():
        try:
            found[name] = run(name, int(args.steps * kind.share))
        except subprocess.CalledProcessError as error:  # in this environment; the others can still be compared
            print(f"{kind.title} does not run here: {error.stderr.decode().strip().splitlines()[-1]}", file=sys.stderr)
    for name, (median, p99, spent) in found.items():
        to_bare, to_hpkb = median / found["bare"][0], median / found["hpkb"][0]
        to_batch = f"{spent / found['batch'][2]:10.3f}" if "batch" in found else ""
        print(f"{kinds[name].title:<28}{median:9.2f}{to_bare:9.2f}{to_hpkb:10.2f}{p99:10.1f}{spent:10.1f}{to_batch}")


if __name__ == "__main__":
    main()
