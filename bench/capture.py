"""Prints what capture costs a training script: the same script with and without `hpkb log`, alternating, and paired.

    python bench/capture.py [--pairs 7] [--seconds 2] [--blocks 1000]

Steps take about 1 ms and about 10 ms on one core, from one batch to the next. `step` is the median wall time of a run's
steps, `cpu` what its training thread works for a step on average, with what is sampled now and then; on a machine with
other work the second is the one to trust. `blocks` is the same processor time in one process, in which capture's hooks
are taken out and put in again every 5 steps: what disturbs one block mostly disturbs the next one as well. There a
pair is the mean over a twentieth of all pairs of blocks, without the tenth at either end. Start-up is what passes from
the child's start to the end of its first step (`own cpu`: what of it is capture's own work, found in one process), the
end what passes after the script's last line, memory the peak; there the child is started as `hpkb log` starts it,
without the supervising process. Every number is the median of the pairs' differences, the range that of their middle
half.

glibc learns from what a program frees how much memory to give back to the system at once. Capture reads the data once,
which is enough to teach it, and with that alone the long step becomes a sixth faster. Both runs of a pair therefore
have the thresholds set, so that they stay where they are. Capture has its bytecode, as pip leaves it.
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hpkb.ship.launch import PACKAGE, environment

SETUP = """
import argparse, json, time
import torch
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
parser.add_argument("--width", type=int)
args = parser.parse_args()
torch.manual_seed(0)
layers = [torch.nn.Linear(256, args.width), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(args.width, 10)]
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
loader = DataLoader(TensorDataset(torch.randn(6400, 256), torch.randint(0, 10, (6400,))), 64, shuffle=True)
criterion = torch.nn.CrossEntropyLoss()
times, cpu = [], []

def now():
    return time.thread_time(), time.process_time(), time.time()
"""

LOOP = """
while len(times) < args.steps:
    for inputs, labels in loader:
        loss = criterion(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        times.append(time.perf_counter())
        AFTER
        if len(times) == args.steps:
            break
"""

TELL = """
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
told = {"memory": peak / 1024, "began": cpu[0][2], "start_cpu": cpu[0][1] * 1e3}
if len(cpu) == 3:
    steps = sorted(after - before for before, after in zip(times[50:], times[51:]))
    told.update(step=steps[len(steps) // 2] * 1e6, cpu=(cpu[2][0] - cpu[1][0]) / (args.steps - 50) * 1e6)
print("told", json.dumps({**told, "ended": time.time(), "end_cpu": time.process_time() * 1e3}), flush=True)
"""

SCRIPT = SETUP + LOOP.replace("AFTER", "if len(times) in (1, 50, args.steps): cpu.append(now())") + TELL

SWITCH = """
from torch.optim.optimizer import _global_optimizer_post_hooks as hooks
from torch.utils.data import dataloader

places = [torch.nn.functional, torch.autograd, torch.nn.utils, torch.nn.utils.clip_grad]
places += [dataloader._BaseDataLoaderIter, dataloader._SingleProcessDataLoaderIter, DataLoader]
ours = [(place, name, found, found.__wrapped__) for place in places for name, found in vars(place).items()
        if "hpkb/capture" in getattr(getattr(found, "__code__", None), "co_filename", "")]
known = dict(hooks)

def switch(on):
    for place, name, found, original in ours:
        setattr(place, name, found if on else original)
    hooks.clear()
    hooks.update(known if on else {})

def after(step):
    if step >= 100 and step % 5 == 0:
        cpu.append(time.thread_time())
        switch(len(cpu) % 2)
"""

BLOCKS = SETUP + SWITCH + LOOP.replace("AFTER", "after(len(times))") + 'print("told", json.dumps(cpu))'

OWN = """
import json, os, runpy, sys, time

def first_step():
    began = time.process_time()
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit:
        return time.process_time() - began

with open(sys.argv.pop(1)) as file:
    code = compile(file.read(), file.name, "exec")
for _ in range(2):  # the first imports what else of torch a first step needs
    plain = first_step()
os.environ.update(json.loads(os.environ.pop("CAPTURED")))
began = time.process_time()
runpy.run_path(os.path.join(os.environ["PYTHONPATH"].split(os.pathsep)[0], "sitecustomize.py"))
print("told", json.dumps((time.process_time() - began + first_step() - plain) * 1e3), flush=True)
os._exit(0)
"""

STILL = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 27), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}

Run = Callable[[bool], dict[str, float]]


def run(command: list[str], env: dict[str, str]) -> dict[str, float]:
    """Runs a command and returns what its script told, and the milliseconds before its first step and after its end."""
    before, used = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    after, total = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("told")).partition(" ")[2])
    cpu = (total.ru_utime + total.ru_stime - used.ru_utime - used.ru_stime) * 1e3
    waited = {"start": (told["began"] - before) * 1e3, "end": (after - told["ended"]) * 1e3}
    return {**told, **waited, "end_cpu": cpu - told["end_cpu"]}


def training(folder: Path, width: int, steps: int) -> Run:
    """Returns a function that trains with or without `hpkb log`."""
    command = [sys.executable, str(folder / "train.py"), "--steps", str(steps), "--width", str(width)]
    store = ["--tracking-uri", f"sqlite:///{folder / 'store.db'}", "--no-wait"]
    log = [sys.executable, "-m", "hpkb", "log", *store, "--"]
    env = {**os.environ, **STILL, "HPKB_HOME": str(folder)}
    return lambda captured: run([*log, *command] if captured else command, env)


def child(folder: Path, width: int, steps: int) -> Run:
    """Returns a function that runs the child alone, with or without capture."""
    command = [sys.executable, str(folder / "train.py"), "--steps", str(steps), "--width", str(width)]
    base = {**os.environ, **STILL}

    def once(captured: bool) -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder) as spools:
            return run(command, environment(Path(spools), base) if captured else base)

    return once


def blocks(folder: Path, title: str, width: int, n: int) -> None:
    """Prints a row for steps with and without the hooks of capture, in n pairs of blocks of one process."""
    (folder / "blocks.py").write_text(BLOCKS)
    command = [sys.executable, str(folder / "blocks.py"), "--steps", str(100 + 5 * 2 * n), "--width", str(width)]
    with tempfile.TemporaryDirectory(dir=folder) as spools:
        env = environment(Path(spools), {**os.environ, **STILL})
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    cpu = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("told")).partition(" ")[2])
    took = [(after - before) / 5 * 1e6 for before, after in itertools.pairwise(cpu)]
    captured, plain = took[::2], took[1::2]
    added = [a - b for a, b in zip(captured, plain, strict=False)]
    row(f"{title}, blocks", statistics.median(plain), [trimmed_mean(added[i::20]) for i in range(20)], "µs")


def own_start(folder: Path, n: int) -> None:
    """Prints a row for what the start of capture and its first step take of the processor, without torch's import.

    The imports and the first steps of two processes differ by more than that: here they are of one process.
    """
    script = folder / "first.py"
    script.write_text(SETUP + LOOP.replace("AFTER", "raise SystemExit"))
    command = [sys.executable, "-c", OWN, str(script), "--steps", "500", "--width", "256"]
    took = []
    for _ in range(n):
        with tempfile.TemporaryDirectory(dir=folder) as spools:
            base = {**os.environ, **STILL}
            env = {**base, "CAPTURED": json.dumps(environment(Path(spools), base))}
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        took.append(float(done.stdout.rpartition("told ")[2]))
    row("start, own cpu", 0.0, took, "ms")


def trimmed_mean(values: list[float]) -> float:
    """Returns the mean without the smallest and the largest tenth."""
    cut = len(values) // 10
    return statistics.mean(sorted(values)[cut : len(values) - cut])


def compare(once: Run, pairs: int, fields: dict[str, str], title: str) -> None:
    """Prints a row for each field: without capture, and what capture adds."""
    measured = []
    for i in range(pairs):
        both = {captured: once(captured) for captured in ((False, True) if i % 2 else (True, False))}
        measured.append((both[False], both[True]))
    for field, unit in fields.items():
        plain = statistics.median(without[field] for without, _ in measured)
        row(f"{title}, {field}", plain, [captured[field] - without[field] for without, captured in measured], unit)


def row(name: str, plain: float, added: list[float], unit: str) -> None:
    """Prints what something is without capture, and what is added: the median and the middle half."""
    low, middle, high = statistics.quantiles(added, n=4)
    share = f"{middle / plain:+7.1%}" if unit == "µs" else ""
    print(f"{name:<22}{plain:12.1f}{middle:+12.1f}   [{low:+8.1f}, {high:+8.1f}] {unit} {share}", flush=True)


def import_time() -> float:
    """Returns the median milliseconds that `import hpkb` takes in a fresh Python."""
    code = "import time; start = time.perf_counter(); import hpkb; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(9)]
    return statistics.median(float(run.stdout) for run in runs) * 1e3


def main() -> None:
    """Runs the pairs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--blocks", type=int, default=1000)
    args = parser.parse_args()
    print(f"{'':<22}{'without':>12}{'added':>12}   [middle half of {args.pairs} pairs], load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compileall.compile_dir(PACKAGE / "capture", quiet=1)
        blocks(folder, "1 ms", 256, args.blocks)
        blocks(folder, "10 ms", 4096, args.blocks // 2)
        own_start(folder, args.pairs)
        (folder / "train.py").write_text(SCRIPT)
        for title, width, step in (("1 ms", 256, 1e-3), ("10 ms", 4096, 1e-2)):
            steps = 50 + int(args.seconds / step)
            compare(training(folder, width, steps), args.pairs, {"step": "µs", "cpu": "µs"}, title)
        whole = {"start": "ms", "start_cpu": "ms", "end": "ms", "end_cpu": "ms", "memory": "MB"}
        compare(child(folder, 256, 500), args.pairs, whole, "500 steps")
    print(f"import hpkb {import_time():.1f} ms")


if __name__ == "__main__":
    main()
