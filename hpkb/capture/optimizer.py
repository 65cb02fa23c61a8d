"""What an optimizer was set to, under the canonical names, read from its parameter groups."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping, Sequence

_NAMES = {"weight_decay": "weight_decay", "momentum": "momentum", "nesterov": "nesterov", "eps": "epsilon"}
_GROUPS = 32  # parameter groups told one by one; a rate for each layer makes many
_ALWAYS = ("learning_rate", "weight_decay", "parameter_count")
_SCHEDULED = frozenset(["lr", "betas", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"])
_IMPLEMENTATION = frozenset(["capturable", "differentiable", "maximize", "decoupled_weight_decay"])  # told if unusual


def describe_optimizer(optimizer: Any, created: Sequence[float] | None, prefix: str = "") -> tuple[dict[str, Any], int]:
    """Returns the optimizer's parameters and the index of its main group, the one with the most elements.

    `created` holds the groups' learning rates at the optimizer's creation, None where that was not seen. With
    several groups the main one's values stand under the canonical names, and each one's under
    `optimizer.group.N.NAME`: learning rate, weight decay and number of elements always, the others where they differ.
    """
    groups = optimizer.param_groups
    described = [_group(group, created[i] if created and i < len(created) else None) for i, group in enumerate(groups)]
    sizes = _sizes(group["params"] for group in groups)
    main = sizes.index(max(sizes))
    values: dict[str, Any] = {"optimizer": type(optimizer).__name__, **described[main]}
    values.update(_weight_decay_share(groups))
    if not prefix:
        values["parameter_count"] = sum(_sizes(_trained(group) for group in groups))
    values.update(_settings(optimizer, groups[main], prefix))
    for group, size in zip(described, sizes):
        group["parameter_count"] = size
    if len(groups) > 1:
        shown = [name for name in described[main] if name in _ALWAYS or len({d.get(name) for d in described}) > 1]
        for i, group in enumerate(described[:_GROUPS]):
            values.update({f"optimizer.group.{i}.{name}": group[name] for name in shown if name in group})
    return {prefix + name: value for name, value in values.items()}, main


def describe_added(optimizer: Any, known: int, prefix: str) -> dict[str, Any]:
    """Returns the values of the groups that came after the first step, the first of which has the number `known`."""
    values: dict[str, Any] = {}
    sizes = _sizes(group["params"] for group in optimizer.param_groups)
    for i in range(known, min(len(sizes), _GROUPS)):
        group = {**_group(optimizer.param_groups[i], None), "parameter_count": sizes[i]}
        values.update({f"{prefix}optimizer.group.{i}.{name}": group[name] for name in _ALWAYS if name in group})
    return values


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


def _settings(optimizer: Any, group: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the optimizer's other settings as `optimizer.NAME`.

    They are the defaults that it was made with and still has: what an optimizer counts or adapts in its groups is no
    setting.
    """
    defaults = getattr(optimizer, "defaults", None)
    values: dict[str, Any] = {}
    for name, value in defaults.items() if isinstance(defaults, dict) else ():
        if name in _NAMES or name in _SCHEDULED or (name in _IMPLEMENTATION and value is not True):
            continue
        if isinstance(value, (bool, int, float, str)) and group.get(name) == value:
            values[name if prefix else f"optimizer.{name}"] = value
    return values


def _weight_decay_share(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns which share of the trained elements weight decay touches, where the optimizer has any."""
    if not all(isinstance(number(group.get("weight_decay")), (int, float)) for group in groups):
        return {}
    sizes = _sizes(_trained(group) for group in groups)
    touched = sum(size for group, size in zip(groups, sizes) if number(group["weight_decay"]) != 0)
    return {"weight_decay_share": touched / sum(sizes)} if sum(sizes) else {}


def _trained(group: Mapping[str, Any]) -> list[Any]:
    return [parameter for parameter in group["params"] if parameter.requires_grad]


def _sizes(groups: Iterable[Iterable[Any]]) -> list[int]:
    """Returns the elements of each group; a tensor that is there several times counts where it comes first."""
    seen: set[int] = set()
    sizes = []
    for group in groups:
        fresh = {id(parameter): parameter for parameter in group if id(parameter) not in seen}
        seen.update(fresh)
        sizes.append(sum(parameter.numel() for parameter in fresh.values()))
    return sizes


def number(value: Any) -> Any:
    """Returns a number or truth value as Python has it, from a tensor of one element too; None for anything else.

    A tensor on a GPU is None as well, for the job would have to wait for it.
    """
    if isinstance(value, (bool, int, float)):
        return value
    if getattr(value, "is_cpu", False) and value.numel() == 1:
        exact = float(value)
        return exact if value.element_size() == 8 else float(f"{exact:.7g}")  # 0.1 in 32 bits is 0.1 again
    return None
