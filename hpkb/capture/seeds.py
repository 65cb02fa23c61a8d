"""The seeds that the job gave to torch, numpy and random.

A script may seed twice, for a split and for the training. The run's `seed` is the one that the command line names
too where there is one, otherwise the last before the first optimizer step, torch's before numpy's before random's.
"""

from __future__ import annotations

from .patch import call_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session

_ORDER = ("torch", "numpy", "random")


def watch_seed(module: Any, function: str, source: str) -> None:
    """Hooks a module's seeding function."""

    def note(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = args[0] if args else next(iter(kwargs.values()), None)
        try:
            seed = int(given)  # type: ignore[arg-type]
        except (TypeError, ValueError):  # no seed, or a text or an array: nothing that tells runs apart by a number
            return
        if live.step == 0:
            if not live.seeds:
                live.closing.append(lambda: record_seeds(live))
            live.seeds.append((source, seed))

    call_after(module, function, note)


def record_seeds(live: Session) -> None:
    """Records the seeds seen so far; later ones are no longer the run's."""
    if not live.seeds:
        return
    last = dict(live.seeds)
    chosen = next(last[source] for source in _ORDER if source in last)
    seen = {seed for _, seed in live.seeds}
    for name in ("seed", "random_seed", "manual_seed", "rng_seed"):
        if live.parameter(f"cli.{name}") in seen:
            chosen = int(live.parameter(f"cli.{name}"))
            break
    values: dict[str, int] = {"seed": chosen, **{f"seed.{source}": seed for source, seed in last.items()}}
    live.params(values, "seed", opens=False)
