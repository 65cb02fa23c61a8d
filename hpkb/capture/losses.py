"""Values of scalar tensors, read without making the job wait for its GPU.

On the CPU a value is there. On CUDA it is copied into pinned memory behind the work already queued, and read once an
event says that it has arrived.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Reading = Union[float, "Late"]

_SLOTS = 512  # values under way at once; the GPU is rarely more than a few steps behind


class Late:
    """A value on its way from the GPU: `ready` says whether it has arrived, `value` gives it and frees its slot."""

    def __init__(self, pool: _Pool, slot: Any, event: Any) -> None:
        self._pool, self._slot, self._event = pool, slot, event

    @property
    def ready(self) -> bool:
        return bool(self._event.query())

    def value(self) -> float:
        number = float(self._slot.item())
        self._pool.free.append((self._slot, self._event))
        return number


class _Pool:
    """Pinned memory and events for the values of one number format."""

    def __init__(self, torch: Any, dtype: Any) -> None:
        memory = torch.empty(_SLOTS, dtype=dtype, pin_memory=True)
        self.free = [(slot, torch.cuda.Event()) for slot in memory]


_pools: dict[Any, _Pool] = {}


def read(torch: Any, scalar: Any) -> Reading | None:
    """Returns the value of a tensor of one element, at once or later; None where it cannot be had without waiting."""
    if scalar.is_cpu:
        return float(scalar.item())
    if not scalar.is_cuda or torch.cuda.is_current_stream_capturing():
        return None
    pool = _pools.get(scalar.dtype)
    if pool is None:
        pool = _pools[scalar.dtype] = _Pool(torch, scalar.dtype)
    if not pool.free:
        return None
    slot, event = pool.free.pop()
    slot.copy_(scalar.detach().reshape(()), non_blocking=True)
    event.record(torch.cuda.current_stream(scalar.device))
    return Late(pool, slot, event)
