"""Prints how often the miners are right: coverage of planted laws, and claims made out of pure noise.

    python bench/truth.py [--sweeps 500] [--noise 1000] [--defects 100] [--miner NAME]… [--first 0] [--workers 2]

The seeds are not those of the tests; `--first` leaves out so many, for a run that goes on where another ended. `covers`
is the share of sweeps whose 95% interval holds the planted value, among those that state one; `supported` the share in
which the claim is made. Noise goes through the whole report, all miners
and the correction for all comparisons; a miner's own noise is told with its laws. See `tests/truth/laws`. Defects are
those that the checks of the Deep Learning Tuning Playbook look for: `found` is the share of sweeps with that defect in
which the check fails, `alarms` the number of clean sweeps in which it does; see `tests/truth/defects.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpkb.analysis import correct, mine_task
from hpkb.miners import names
from tests.truth import defects, laws
from tests.truth.laws.lr_batch_size import DEMO
from tests.truth.planted import covers, planted_sweep

FIRST_SEED = 200_000
NOISE = [
    ("plain", {}),
    ("heavy tails, infeasible runs", {"heavy_tails": True, "diverging": True, "n_configurations": 40}),
    ("the demo's design", DEMO),
    ("adaptive design", {"design": "adaptive"}),
]
WIDE = 44


def one_law(miner: str, number: int, seed: int) -> tuple[bool, bool, bool]:
    """Returns (stated, covered, supported) of one planted sweep."""
    law = laws.laws_of(miner)[number]
    with threadpool_limits(1):
        sweep, truth = law.draw(np.random.default_rng(seed))
        finding = law.found(mine_task(sweep, [miner], 0))
    if finding is None or finding.estimate is None:
        return False, False, False
    return True, covers(finding, truth), finding.verdict == "supported"


def one_own_noise(miner: str, number: int, seed: int) -> tuple[int, int]:
    """Returns (claims, supported ones) of one miner on one sweep of its own noise, corrected together."""
    with threadpool_limits(1):
        sweep = laws.noise_of(miner)[number].draw(np.random.default_rng(seed))
        findings = correct(mine_task(sweep, [miner], 0))
    return len(findings), sum(f.verdict == "supported" for f in findings)


def one_noise(number: int, seed: int) -> tuple[int, int]:
    """Returns (claims, supported ones) of the whole report on one sweep without any effect."""
    with threadpool_limits(1):
        sweep, _ = planted_sweep(np.random.default_rng(seed), effect=False, **NOISE[number][1])  # type: ignore[arg-type]
        findings = correct(mine_task(sweep, names(), 0))
    return len(findings), sum(f.verdict == "supported" for f in findings)


def one_defect(name: str, seed: int) -> dict[str, str]:
    """Returns the outcome of each check on a sweep with one planted defect; on a clean one for no name."""
    draw = defects.DEFECTS.get(name, defects.clean)
    with threadpool_limits(1):
        return defects.statuses(draw(np.random.default_rng(seed)))


def tell_laws(pool: Executor, miners: Sequence[str], n: int, first: int) -> None:
    """Prints a row a law."""
    print(f"{'miner':<17}{'planted law':<{WIDE}}{'stated':>8}{'covers':>8}{'supported':>11}   of {n} sweeps")
    seeds = range(FIRST_SEED + first, FIRST_SEED + first + n)
    for miner in miners:
        for number, law in enumerate(laws.laws_of(miner)):
            rows = np.array(list(pool.map(one_law, [miner] * n, [number] * n, seeds, chunksize=8)))
            stated = rows[:, 0].sum()
            covered = rows[:, 1].sum() / max(stated, 1)
            print(f"{miner:<17}{law.name:<{WIDE}}{stated / n:8.2f}{covered:8.3f}{rows[:, 2].mean():11.2f}", flush=True)


def tell_noise(pool: Executor, miners: Sequence[str], n: int, whole: bool, first: int) -> None:
    """Prints a row a kind of noise: each miner's own, then that of the whole report."""
    print(f"\n{'noise':<{17 + WIDE}}{'claims':>8}{'supported':>11}{'sweeps with any':>17}   of {n} sweeps")
    seeds = range(FIRST_SEED + first, FIRST_SEED + first + n)
    for miner in miners:
        for number, noise in enumerate(laws.noise_of(miner)):
            counts = list(pool.map(one_own_noise, [miner] * n, [number] * n, seeds, chunksize=8))
            _tell(f"{miner:<17}{noise.name}", np.array(counts))
    for number, (name, _) in enumerate(NOISE if whole else []):
        _tell(f"{'all of them':<17}{name}", np.array(list(pool.map(one_noise, [number] * n, seeds, chunksize=8))))


def tell_defects(pool: Executor, n: int) -> None:
    """Prints a row a check of the Playbook."""
    seeds = range(FIRST_SEED, FIRST_SEED + n)
    clean = list(pool.map(one_defect, [""] * n, seeds, chunksize=4))
    print(f"\n{'planted defect':<{17 + WIDE}}{'found':>8}{'alarms':>8}{'cleared':>9}   of {n} sweeps")
    for name in defects.names():
        planted = list(pool.map(one_defect, [name] * n, seeds, chunksize=4))
        found = np.mean([outcomes[name] == "failed" for outcomes in planted])
        alarms, cleared = (sum(outcomes[name] == status for outcomes in clean) for status in ("failed", "passed"))
        print(f"{name:<{17 + WIDE}}{found:8.2f}{alarms:8d}{cleared:9d}", flush=True)
    any_alarm = sum("failed" in outcomes.values() for outcomes in clean)
    print(f"{'any of them, on a clean sweep':<{17 + WIDE}}{'':8}{any_alarm:8d}", flush=True)


def _tell(label: str, counts: np.ndarray) -> None:
    claims, supported = counts.sum(axis=0)
    any_share = (counts[:, 1] > 0).mean()
    print(f"{label:<{17 + WIDE}}{claims:8d}{supported / max(claims, 1):11.4f}{any_share:17.3f}", flush=True)


def main() -> None:
    """Runs everything and prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=500, help="of each law")
    parser.add_argument("--noise", type=int, default=1000, help="sweeps of each kind of noise")
    parser.add_argument("--defects", type=int, default=100, help="sweeps of each planted defect, and clean ones")
    parser.add_argument("--miner", action="append", help="only these; the noise of the whole report is left out")
    parser.add_argument("--first", type=int, default=0, help="seeds of laws and noise to leave out")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    chosen = [name for name in laws.modules() if not args.miner or name in args.miner]
    with ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn")) as pool:
        if args.sweeps:
            tell_laws(pool, chosen, args.sweeps, args.first)
        if args.noise:
            tell_noise(pool, chosen, args.noise, not args.miner, args.first)
        if args.defects and not args.miner:
            tell_defects(pool, args.defects)


if __name__ == "__main__":
    main()
