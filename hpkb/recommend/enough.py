"""How much has to be known for a default: of one task, and how many tasks for a default that another one can test."""

from __future__ import annotations

import numpy as np

from hpkb.sweep import Sweep

FEWEST_TASKS = 3
FEWEST_CONFIGURATIONS = 16


def lacks(sweep: Sweep) -> str:
    """Returns what a task's runs lack for a default, as a sentence; an empty text where they are enough."""
    if sweep.n_configurations < FEWEST_CONFIGURATIONS:
        n = sweep.n_configurations
        tried = f"{n} configuration{' was' if n == 1 else 's were'} tried"
        return f"{tried}; a default needs at least {FEWEST_CONFIGURATIONS}."
    return "" if np.isfinite(sweep.y).any() else "Every run was infeasible."


def is_enough(sweep: Sweep) -> bool:
    """Whether a task's runs are enough for a default."""
    return not lacks(sweep)
