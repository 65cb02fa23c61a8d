"""What an optimizer was set to, under the canonical names, read from its parameter groups."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

_NAMES = {"weight_decay": "weight_decay", "momentum": "momentum", "nesterov": "nesterov", "eps": "epsilon"}
_GROUPS = 32  # parameter groups told one by one; a rate for each layer makes many
_ALWAYS = ("learning_rate", "weight_decay")


def describe_optimizer(optimizer: Any, created: Sequence[float] | None, prefix: str = "") -> tuple[dict[str, Any], int]:
    """Returns the optimizer's parameters and the index of its main group, the one with the most elements.

    `created` holds the groups' learning rates at the optimizer's creation, None where that was not seen. With
    several groups the main one's values stand under the canonical names, and each one's under
    `optimizer.group.N.NAME`: learning rate and weight decay always, the others where they differ.
    """
    groups = optimizer.param_groups
    sizes = [sum(parameter.numel() for parameter in group["params"]) for group in groups]
    main = sizes.index(max(sizes))
    described = [_group(group, created[i] if created and i < len(created) else None) for i, group in enumerate(groups)]
    values: dict[str, Any] = {"optimizer": type(optimizer).__name__, **described[main]}
    if not prefix:
        values["parameter_count"] = sum(sizes)
    if len(groups) > 1:
        shown = [name for name in described[main] if name in _ALWAYS or len({d.get(name) for d in described}) > 1]
        for i, group in enumerate(described[:_GROUPS]):
            values.update({f"optimizer.group.{i}.{name}": group[name] for name in shown if name in group})
    return {prefix + name: value for name, value in values.items()}, main


def _group(group: Mapping[str, Any], created: float | None) -> dict[str, Any]:
    """Returns one group's values. A scheduler keeps the rate it started from as `initial_lr`."""
    base = number(group.get("initial_lr"))
    if base is None:
        base = created if created is not None else number(group.get("lr"))
    values = {"learning_rate": base, **{ours: number(group.get(theirs)) for theirs, ours in _NAMES.items()}}
    betas = group.get("betas")
    if isinstance(betas, (tuple, list)) and len(betas) == 2:
        values["beta1"], values["beta2"] = number(betas[0]), number(betas[1])
    return {name: value for name, value in values.items() if value is not None}


def number(value: Any) -> Any:
    """Returns a number or truth value as Python has it, from a tensor of one element too; None for anything else."""
    if isinstance(value, (bool, int, float)):
        return value
    if getattr(value, "numel", None) is not None and value.numel() == 1:
        exact = float(value)
        return exact if value.element_size() == 8 else float(f"{exact:.7g}")  # 0.1 in 32 bits is 0.1 again
    return None


def number_now(value: Any) -> float | None:
    """Returns a learning rate, None for one on a GPU, for which the job would have to wait."""
    return None if getattr(value, "is_cuda", False) else number(value)
