"""A digest of a model's architecture: the same in every process, for every seed, number format and wrapper."""

from __future__ import annotations

import hashlib
from typing import Any, Optional  # torch has imported it by now

from .modules import children, class_name, own_parameters, unwrapped

# Attributes that change what a layer computes and show in no shape; rates and epsilons are left out.
_SETTINGS = frozenset((
    "kernel_size", "stride", "padding", "dilation", "groups", "output_padding", "padding_mode", "ceil_mode",
    "transposed", "num_heads", "num_layers", "bidirectional", "nonlinearity", "mode", "approximate",
    "negative_slope", "normalized_shape", "num_groups", "num_features", "output_size", "scale_factor", "size",
    "upscale_factor", "start_dim", "end_dim", "norm_first", "affine", "elementwise_affine", "head_dim", "activation",
))  # fmt: skip
_PLAIN = (bool, int, float, str, type(None))


def fingerprint(models: list[Any]) -> Optional[str]:
    """Returns 16 hex digits; None where the shapes of the parameters cannot be seen."""
    digest = hashlib.sha256()
    seen: dict[int, int] = {}
    todo: list[Any] = [("", model) for model in reversed(models)]
    while todo:
        name, module = todo.pop()
        module = unwrapped(module)
        first = seen.setdefault(id(module), len(seen))
        if first != len(seen) - 1:
            digest.update(repr((name, "again", first)).encode())
            continue
        parameters = [(key, _shape(value)) for key, value in own_parameters(module).items()]
        if any(shape is None or key == "_flat_param" for key, shape in parameters):
            return None
        inner = list(children(module).items())
        digest.update(repr((name, class_name(module), parameters, _settings(module), len(inner))).encode())
        todo += reversed(inner)
    return digest.hexdigest()[:16]


def _shape(parameter: Any) -> Optional[tuple[int, ...]]:
    shape = tuple(int(length) for length in getattr(parameter, "ds_shape", parameter.shape))
    return shape if 0 not in shape else None


def _settings(module: Any) -> list[tuple[str, Any]]:
    found = []
    for name in sorted(_SETTINGS & module.__dict__.keys()):
        value = module.__dict__[name]
        if callable(value):
            value = getattr(value, "__name__", None)
        if value is not None and (
            isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value))
        ):
            found.append((name, tuple(value) if isinstance(value, tuple) else value))
    return found
