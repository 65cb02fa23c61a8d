"""The seeds that the job gave to torch, numpy, random and its DataLoader's generator, and whether it gave any.

A script may seed twice, for a split and for the training. The run's `seed` is the one that the command line names
too where there is one, otherwise the last before the first optimizer step, torch's before numpy's before random's.
A library that seeds on the way (a compiler's benchmark, a sampler) is left out; one that seeds for the job
(`seed_everything`, `set_seed`) calls the functions that are hooked here.
"""

from __future__ import annotations

import sys

from .callers import called_by_job
from .patch import call_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session

_ORDER = ("torch", "numpy", "random")
_SEEDERS = ("lightning", "pytorch_lightning", "lightning_fabric", "transformers", "accelerate", "ignite", "fastai",
            "monai", "mmengine", "mmcv", "sb3")  # fmt: skip
_NAMES = ("seed", "random_seed", "manual_seed", "rng_seed")


def watch_seed(module: Any, function: str, source: str) -> None:
    """Hooks a module's seeding function."""
    original = getattr(module, function)

    def note(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if live.step == 0 and called_by_job(_SEEDERS):
            _note(live, source, args[0] if args else next(iter(kwargs.values()), None))

    call_after(module, function, note)
    hooked = getattr(module, function)
    home = sys.modules.get(getattr(original, "__module__", None) or "")
    if getattr(home, function, None) is original:
        setattr(home, function, hooked)
    hooked.__module__, hooked.__qualname__ = module.__name__, function  # pickled by name, for a worker that is spawned


def watch_numpy(random: Any) -> None:
    """Hooks the seeding of numpy's own generator, and of generators that the job makes."""
    watch_seed(random, "seed", "numpy")
    watch_seed(random, "default_rng", "numpy.generator")


def _note(live: Session, source: str, given: Any) -> None:
    if isinstance(given, bool):
        return
    try:
        seed = int(given)
    except (TypeError, ValueError):  # no seed, or a text or an array: nothing that tells runs apart by a number
        return
    if not live.seeds:
        live.closing.append(lambda: record_seeds(live))
    live.seeds.append((source, seed))


def record_seeds(live: Session) -> None:
    """Records the seeds seen so far; later ones are no longer the run's."""
    live.tags({"hpkb.seed.set": "true" if live.seeds else "false"})
    last = _last(live.seeds)
    if not last:
        return
    chosen = next(last[source] for source in _ORDER if source in last)
    seen = set(last.values()) | {seed for _, seed in live.seeds}
    for name in (f"{prefix}.{name}" for prefix in ("cli", "config") for name in _NAMES):
        if live.parameter(name) in seen:
            chosen = int(live.parameter(name))
            break
    values: dict[str, int] = {"seed": chosen, **{f"seed.{source}": seed for source, seed in last.items()}}
    live.params(values, "seed", opens=False)


def record_loader_seed(live: Session, loader: Any) -> None:
    """Records the seed of the training loader's generator, where it has one of its own."""
    generator = getattr(loader, "generator", None)
    if generator is None:
        generator = getattr(getattr(loader, "sampler", None), "generator", None)
    if generator is not None:
        live.params({"seed.loader": int(generator.initial_seed())}, "seed", opens=False)


def _last(seeds: list[tuple[str, int]]) -> dict[str, int]:
    """Returns the last seed of each source; several generators of numpy with different seeds say nothing together."""
    last = dict(seeds)
    made = {seed for source, seed in seeds if source == "numpy.generator"}
    generator = last.pop("numpy.generator", None)
    if "numpy" not in last and generator is not None and len(made) == 1:
        last["numpy"] = generator
    return last
