"""The normalisation layers of a model in canonical words, from its modules and from the autograd graph."""

from __future__ import annotations

import re
from typing import Any, Iterable, Optional  # torch has imported it by now

from .modules import class_name, descendants

_NODES = {
    "NativeLayerNorm": "layer_norm", "NativeBatchNorm": "batch_norm", "CudnnBatchNorm": "batch_norm",
    "MiopenBatchNorm": "batch_norm", "NativeGroupNorm": "group_norm", "FusedRmsNorm": "rms_norm",
    "SyncBatchNorm": "batch_norm",
}  # fmt: skip
_BY_HAND = frozenset(["Rsqrt", "Std", "Var", "VarMean", "StdMean"])  # what a normalisation written by hand may use
_NAME = re.compile(r"(Batch|Layer|Group|RMS|Rms|Instance|LocalResponse)Norm(alization)?(\d?d)?$")
_WORDS = {"Batch": "batch_norm", "Layer": "layer_norm", "Group": "group_norm", "Instance": "instance_norm"}
_WORDS.update({"RMS": "rms_norm", "Rms": "rms_norm", "LocalResponse": "local_response_norm"})
_OF_WEIGHTS = re.compile(r"(Spectral|Weight)Norm")
_PRESENT_OTHERWISE = {"T5LayerNorm": "rms_norm", "MT5LayerNorm": "rms_norm"}  # named after what they are not


def normalization(models: Iterable[Any], kinds: Optional[Iterable[str]]) -> Optional[str]:
    """Returns the words joined with "+", "none" where there is none for certain, None where that is open.

    `kinds` are those of the autograd graph's nodes; None where the computation could not be seen whole.
    """
    words, unknown = set(), kinds is None
    for model in models:
        for _, part in descendants(model):
            name = class_name(part)
            match = _NAME.search(name)
            if match:
                words.add(_PRESENT_OTHERWISE.get(name) or _WORDS[match.group(1)])
            elif "norm" in name.lower() and not _OF_WEIGHTS.search(name):
                unknown = True
    if kinds is not None:
        seen = set(kinds)
        told = {word for kind, word in _NODES.items() if kind in seen}
        if not (told == {"batch_norm"} and "instance_norm" in words):  # which is computed as one over each example
            words |= told
        unknown = unknown or bool(seen & _BY_HAND)
    return "+".join(sorted(words)) or (None if unknown else "none")
