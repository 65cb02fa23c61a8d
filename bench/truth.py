"""Prints how often the miners are right: coverage of planted laws, and claims made out of pure noise.

    python bench/truth.py [--sweeps 100] [--noise 60] [--workers 2]

The seeds are not those of the tests. `covers` is the share of sweeps whose 95% interval holds the planted exponent,
among those that state one; `supported` the share in which the claim is made. Noise goes through the whole report, all
miners and the correction for all comparisons.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpkb.analysis import correct, mine_task
from hpkb.miners import names
from tests.truth.planted import covers, planted_sweep

FIRST_SEED = 200_000
DEMO = {
    "n_configurations": 48, "repeats": 3, "unbalanced": True, "diverging": True, "shape": "asymmetric",
    "optimizers": ("SGD", "AdamW"), "schedules": ("constant", "cosine", "step", "restarts"),
}  # fmt: skip
LAWS = [
    ("lr_weight_decay", "product constant, quadratic", {"ridge": -1.0, "seed_noise": 0.3}),
    ("lr_weight_decay", "half, cliff, the demo's design", {"ridge": -0.5, "batch_exponent": 0.5, **DEMO}),
    ("lr_weight_decay", "none, cliff", {"ridge": 0.0, "shape": "asymmetric", "seed_noise": 0.1}),
    ("lr_weight_decay", "product, heavy tails", {"ridge": -1.0, "heavy_tails": True, "design": "random"}),
    ("lr_batch_size", "linear, quadratic", {"batch_exponent": 1.0, "seed_noise": 0.3}),
    ("lr_batch_size", "square root, the demo's design", {"batch_exponent": 0.5, "ridge": -0.5, **DEMO}),
    ("lr_batch_size", "none, cliff", {"batch_exponent": 0.0, "shape": "asymmetric", "seed_noise": 0.1}),
    (
        "lr_batch_size",
        "square root, heavy tails",
        {"batch_exponent": 0.5, "heavy_tails": True, "design": "random"},
    ),
]
NOISE = [
    ("plain", {}),
    ("heavy tails, infeasible runs", {"heavy_tails": True, "diverging": True, "n_configurations": 40}),
    ("the demo's design", DEMO),
    ("adaptive design", {"design": "adaptive"}),
]


def one_law(miner: str, settings: dict[str, object], seed: int) -> tuple[bool, bool, bool]:
    """Returns (stated, covered, supported) of one planted sweep."""
    with threadpool_limits(1):
        sweep, truth = planted_sweep(np.random.default_rng(seed), **settings)
        finding = mine_task(sweep, [miner], 0)[0]
    planted = truth.ridge if miner == "lr_weight_decay" else truth.batch_exponent
    return finding.estimate is not None, covers(finding, planted), finding.verdict == "supported"


def one_noise(settings: dict[str, object], seed: int) -> tuple[int, int]:
    """Returns (claims, supported ones) of the whole report on one sweep without any effect."""
    with threadpool_limits(1):
        sweep, _ = planted_sweep(np.random.default_rng(seed), effect=False, **settings)
        findings = correct(mine_task(sweep, names(), 0))
    return len(findings), sum(f.verdict == "supported" for f in findings)


def main() -> None:
    """Runs everything and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--noise", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, spawn) as pool:
        print(
            f"{'miner':<17}{'planted law':<34}{'stated':>8}{'covers':>8}{'supported':>11}   of {args.sweeps} sweeps"
        )
        seeds = range(FIRST_SEED, FIRST_SEED + args.sweeps)
        for miner, name, settings in LAWS:
            n = len(seeds)
            rows = np.array(list(pool.map(one_law, [miner] * n, [settings] * n, seeds, chunksize=8)))
            stated = rows[:, 0].sum()
            covers = rows[:, 1].sum() / max(stated, 1)
            print(f"{miner:<17}{name:<34}{stated / n:8.2f}{covers:8.2f}{rows[:, 2].mean():11.2f}", flush=True)
        print(
            f"\n{'noise':<34}{'claims':>8}{'supported':>11}{'sweeps with any':>17}   of {args.noise} sweeps"
        )
        for name, settings in NOISE:
            seeds = range(FIRST_SEED, FIRST_SEED + args.noise)
            rows = np.array(list(pool.map(one_noise, [settings] * args.noise, seeds)))
            claims, supported = rows.sum(axis=0)
            any_share = (rows[:, 1] > 0).mean()
            print(f"{name:<34}{claims:8d}{supported / claims:11.4f}{any_share:17.3f}", flush=True)


if __name__ == "__main__":
    main()
