"""Prints what many jobs that train at the same time do to one MLflow server, and the server to them.

    python bench/many_jobs.py [--jobs 200] [--machines 1] [--steps 100] [--pause 0.1] [--rounds 2] [--workers 2]

A real `mlflow server` stands in front of a real PostgreSQL, and before it a proxy that counts. The jobs wait until all
are there, then each logs three metrics at every step and rests for `pause` seconds, as one that trains on a GPU would.
`--machines` spreads them over as many spools, each with a shipper of its own, all on this machine. Each round runs the
same jobs first in a plain Python, where `hpkb.log` does nothing, then under `hpkb log`, all points in MLflow's metrics.

Shown is whether the database has every acknowledged step once; the time of the jobs' own loops beside the plain ones;
and the requests at the server: in all, by the run, and the most within any second. All of it, server and database too,
runs on the processors of this machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.crowd import Crowd, Load, Loop  # noqa: E402
from tests.faults.place import Place  # noqa: E402
from tests.faults.proxy import Proxy  # noqa: E402
from tests.faults.servers import Server  # noqa: E402
from tests.faults.truth import Account, Truth, account  # noqa: E402
from tests.postgres import Database, free_port  # noqa: E402

PATIENCE = 900.0  # seconds that the jobs of one round may take to start, and then to train


@dataclass(frozen=True)
class Round:
    """What came of the jobs of one round; `early` are those whose `hpkb log` ended before its run was in the store."""

    loops: list[Loop]
    load: Load
    told: Account
    took: float
    early: int


def plain_round(folder: Path, asked: argparse.Namespace) -> list[Loop]:
    """The loops of the jobs in a plain Python."""
    with ExitStack() as stack:
        places = machines(stack, folder, "http://127.0.0.1:9", 1)
        crowd = Crowd(folder / "jobs", places, asked.jobs, captured=False)
        crowd.gather(asked.steps, asked.pause, PATIENCE)
        return crowd.train(PATIENCE)


def captured_round(folder: Path, asked: argparse.Namespace, proxy: Proxy, uri: str) -> Round:
    """The jobs under `hpkb log`, and what came of them."""
    with ExitStack() as stack:
        places = machines(stack, folder, proxy.address, asked.machines)
        crowd = Crowd(folder / "jobs", places, asked.jobs)
        before = len(proxy.arrivals)
        crowd.gather(asked.steps, asked.pause, PATIENCE)
        loops = crowd.train(PATIENCE)
        told = account(Truth(uri).runs(), {witness.file.stem: witness for witness in crowd.witnesses})
        return Round(loops, Load.of(proxy.arrivals[before:]), told, crowd.took, sum(map(bool, crowd.said)))


def machines(stack: ExitStack, folder: Path, uri: str, count: int) -> list[Place]:
    """So many spools; whatever works on one of them is ended with the stack."""
    places = [Place(folder / f"machine-{i}", uri) for i in range(count)]
    for place in places:
        stack.callback(place.kill_everything)
    return places


def shown(name: str, loops: Sequence[Loop], beside: Sequence[Loop]) -> str:
    """One line of the jobs' loops, with the ratio of the medians to those beside them."""
    seconds, plain = sorted(loop.seconds for loop in loops), statistics.median(loop.seconds for loop in beside)
    processor = statistics.median(1e3 * loop.processor for loop in loops)
    longest = statistics.median(1e3 * loop.longest for loop in loops)
    median = statistics.median(seconds)
    return (f"{name:<12}{median:9.2f}{seconds[-1]:10.2f}{median / plain:9.3f}{processor:14.1f}{longest:25.1f}"
            f"{max(1e3 * loop.longest for loop in loops):8.1f}")  # fmt: skip


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def measure(asked: argparse.Namespace, folder: Path, database: Database) -> int:
    """Runs the rounds and prints them; the exit status, 1 where anything is amiss in the database."""
    amiss = 0
    for i in range(asked.rounds):
        uri = database.create(f"round-{i}")
        place = folder / f"server-{i}"
        place.mkdir()
        server = Server(uri, place, free_port(), asked.workers)
        plain = plain_round(folder / f"plain-{i}", asked)
        try:
            server.start()
            with Proxy(free_port(), server.port) as proxy:
                captured = captured_round(folder / f"captured-{i}", asked, proxy, uri)
        finally:
            server.kill()
        report(i, plain, captured)
        amiss += not captured.told.clean
    return int(amiss > 0)


def report(i: int, plain: Sequence[Loop], captured: Round) -> None:
    """Prints one round."""
    loops, load = captured.loops, captured.load
    print(f"\nround {i + 1}: {captured.told}")
    print("loop         median s longest s    ratio  processor ms  longest log() ms: median, of all")
    print(shown("plain", plain, plain))
    print(shown("hpkb log", loops, plain))
    print(f"all in the store {captured.took - max(loop.seconds for loop in loops):.1f} s after the longest loop; "
          f"{captured.early} `hpkb log` did not wait for that")  # fmt: skip
    print(f"{load.requests} requests in {load.seconds:.1f} s, {load.requests / len(loops):.1f} a run, "
          f"at most {load.most} in one second", flush=True)  # fmt: skip
    for kind, count in load.by_kind.most_common(8):
        print(f"    {count:6d}  {kind}")


def main() -> int:
    """Measures in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Database(free_port()) as database:
        return measure(options(), Path(folder), database)


if __name__ == "__main__":
    sys.exit(main())
