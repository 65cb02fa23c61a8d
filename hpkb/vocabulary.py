"""How recorded names and values are read: `optim.args.learning_rate`, `hp/lr` and `--lr` are one hyperparameter.

A name is a path whose last word is a canonical name or an alias, below words that only say whose it is: the command
line's, the configuration's, or a part of the training that has such a setting. Any other word before it (another
network's `discriminator.lr`, the second of `optimizer.2.learning_rate`) makes it a setting of its own.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from hpkb import names
from hpkb.names import Name, lookup

#: What a path begins with that says no more than that these are settings.
_GENERAL = frozenset(
    """args arg arguments cli cfg conf config default defaults hp hparam hparams hps hyper hyper_parameters
    hyperparameter hyperparameters hyperparams init_args kwargs namespace opts options param parameters params
    settings train train_args trainer trainer_args training training_args""".split()
)
_OPTIMIZER = frozenset("optim optim_args optimizer optimizer_args optimizer_kwargs optimizer_params optimiser".split())
_SCHEDULER = frozenset("lr_scheduler sched scheduler scheduler_args scheduler_kwargs scheduler_params".split())
_MODEL = frozenset("arch architecture model model_args model_config model_kwargs model_params net network".split())
_DATA = frozenset("data data_args datamodule dataloader dataset loader train_dataloader train_loader".split())
#: Words for a part of the training, and the settings that are that part's.
_PARTS: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (
        _OPTIMIZER,
        frozenset("learning_rate peak_learning_rate weight_decay momentum nesterov beta1 beta2 epsilon".split()),
    ),
    (_SCHEDULER, frozenset(("warmup_steps",))),
    (
        _MODEL,
        frozenset(
            """activation depth dropout initialization normalization parameter_count residual stochastic_depth
            width""".split()
        ),
    ),
    (_DATA, frozenset(("augmentation", "batch_size", "micro_batch_size"))),
)
#: `optimizer.name` is the optimizer.
_KIND = frozenset("_target_ class class_name class_path cls kind name target type".split())
_KINDS = ((_OPTIMIZER, "optimizer"), (_SCHEDULER, "lr_schedule"), (_MODEL, "model"))

_SEPARATORS = re.compile(r"[./:]|__")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_OPTIMIZERS = {
    word.lower(): word
    for word in """ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LAMB LARS LBFGS Lion Muon NAdam RAdam RMSprop Rprop
    SGD SparseAdam""".split()
} | dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf"), "AdamW")
_SCHEDULES = {
    "cosineannealinglr": "cosine", "cosineannealing": "cosine", "cosine_annealing": "cosine",
    "cosineannealingwarmrestarts": "warm_restarts", "cosine_with_restarts": "warm_restarts",
    "cycliclr": "cyclical", "cyclic": "cyclical", "exponentiallr": "exponential", "linearlr": "linear",
    "multisteplr": "multistep", "multi_step": "multistep", "onecyclelr": "one_cycle", "onecycle": "one_cycle",
    "polynomiallr": "polynomial", "poly": "polynomial", "reducelronplateau": "plateau",
    "reduce_lr_on_plateau": "plateau", "reduce_on_plateau": "plateau", "steplr": "step", "constantlr": "constant",
}  # fmt: skip
_TRUTHS = {"true": "True", "yes": "True", "on": "True", "1": "True"}
_TRUTHS |= {"false": "False", "no": "False", "off": "False", "0": "False"}
_LEVELS = {
    "optimizer": _OPTIMIZERS, "lr_schedule": _SCHEDULES,
    "nesterov": _TRUTHS, "residual": _TRUTHS, "compiled": _TRUTHS, "soft_targets": _TRUTHS,
}  # fmt: skip
#: What stands before a recorded name in the knowledge base where it can be read in two ways.
AMBIGUOUS = "ambiguous."
#: Texts that say that there is no such setting.
ABSENT = frozenset({"", "none", "null", "nan", "n/a", "auto", "default"})

_FRACTION = re.compile(r"([^/]+)/([^/]+)")
_POWER = re.compile(r"([\d.]+)\s*(?:\*\*|\^)\s*(-?[\d.]+)")
_PERCENT = re.compile(r"([\d.]+)\s*%")


@cache
def read_name(recorded: str) -> Name | None:
    """Returns the hyperparameter that a recorded name means, or None where it means none of them, or not surely."""
    *owners, last = words(recorded)
    owners = [owner for owner in owners if owner not in _GENERAL]
    found = lookup(last)
    if not owners:
        return found
    if len(owners) > 1 and len(owners := _without_arguments(owners)) > 1:
        return None
    if last in _KIND:
        return next((lookup(kind) for part, kind in _KINDS if owners[0] in part), None)
    return found if found and any(owners[0] in part and found.name in own for part, own in _PARTS) else None


def _without_arguments(owners: list[str]) -> list[str]:
    """`optimizer.optimizer_args.lr` names its part twice."""
    part = next((part for part, _ in _PARTS if owners[0] in part), frozenset())
    return owners[:1] if all(owner in part for owner in owners) else owners


@cache
def words(recorded: str) -> tuple[str, ...]:
    """Returns the words of a recorded name's path, as they are looked up: `hp/learningRate` is hp, learning_rate."""
    parts = [part for part in _SEPARATORS.split(recorded.strip().lstrip("-")) if part.strip()]
    return tuple(_snake(part) for part in parts) or (recorded,)


def _snake(word: str) -> str:
    return _HUMP.sub("_", word.strip()).lower().replace("-", "_").replace(" ", "_").strip("_") or word


def last_word(recorded: str) -> str:
    """Returns what a recorded name ends in, without what only says that it is a setting."""
    *owners, last = words(recorded)
    return last if all(owner in _GENERAL for owner in owners) else ".".join((*owners, last))


def read_number(text: str) -> float | None:
    """Returns the number that a text says: 0.001, 1e-3, 1/1000, 2**14, 10%; None where it says none."""
    stripped = text.strip()
    try:
        return float(stripped)
    except ValueError:
        pass
    try:
        if found := _FRACTION.fullmatch(stripped):
            return float(found[1]) / float(found[2])
        if found := _POWER.fullmatch(stripped):
            return float(float(found[1]) ** float(found[2]))
        if found := _PERCENT.fullmatch(stripped):
            return float(found[1]) / 100
    except (ValueError, ZeroDivisionError, OverflowError):
        pass
    return None


def read_level(name: str, text: str) -> str:
    """Returns a canonical hyperparameter's value under the word that all stores share: `torch.optim.adamw` is AdamW."""
    known = _LEVELS.get(name)
    if known is None:
        return text
    plain = text.strip().lower()
    return known.get(plain) or known.get(plain.rpartition(".")[2]) or text


@cache
def digest() -> str:
    """Returns a digest of how names and values are read; with another one all runs have to be read anew."""
    code = b"".join(Path(str(file)).read_bytes() for file in (names.__file__, __file__))
    return hashlib.blake2b(code, digest_size=8).hexdigest()
