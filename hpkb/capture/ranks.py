"""What the processes of a distributed job beside the first tell: their hardware, and how they ended."""

from __future__ import annotations

import sys

from .memory import gpu_peak_gib, peak_gib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

_ENVIRONMENT = frozenset(
    f"hpkb.env.{name}" for name in ("python", "torch", "cuda", "cudnn", "driver", "torch.threads")
)


def of_rank(rank: int, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns a record as a rank after the first tells it: `hpkb.hw.NAME` as `hpkb.rank.N.hw.NAME`; None for most."""
    if record["type"] in ("training", "end"):
        return record
    if record["type"] != "tags":
        return None
    told = {
        f"hpkb.rank.{rank}.{name[len('hpkb.') :]}": value
        for name, value in record["values"].items()
        if name.startswith("hpkb.hw.") or name in _ENVIRONMENT
    }
    return {"type": "tags", "values": told} if told else None


def peak_memory() -> dict[str, str]:
    """Returns tags of the most memory that this process has had, on the host and, where it uses CUDA, on its GPU."""
    torch = sys.modules.get("torch")
    found = {
        "hpkb.hw.peak_memory_gib": peak_gib(),
        "hpkb.hw.gpu_peak_memory_gib": gpu_peak_gib(torch) if torch is not None else None,
    }
    return {name: f"{value:.3f}" for name, value in found.items() if value is not None}


def watch_other_rank(torch: Any) -> None:
    """Hooks the first optimizer step and nothing else, in a process that knows from the start that it is not rank 0."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from .environment import of_process
    from .session import current

    def stepped(*_: Any) -> None:
        hook.remove()
        live = current()
        if live is not None:
            try:
                live.note("training")
                live.tags(of_process(torch))
            except Exception as error:
                live.failed("an optimizer step", error)

    hook = register_optimizer_step_post_hook(stepped)
