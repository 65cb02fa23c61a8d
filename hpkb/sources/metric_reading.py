"""What a metric's name says: of which split it is, what it measures, and whether less or more of that is better.

`val_loss`, `eval/accuracy`, `Loss/val`, `validation-rmse` and `epoch/val_loss` are read word by word, whatever
separates the words. A name is understood where a word says what is measured and every other one is known to leave that
as it is. Words that nobody knows are kept as such: `val_cifar_loss` may be a loss on CIFAR, or a part of a loss.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Direction = Literal["min", "max"]
Split = Literal["validation", "test", "training", ""]

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev", "devel", "holdout", "cv", "oof"),
                    "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train", "training", "trn"), "training"),
}  # fmt: skip

#: What is measured, what tells most first.
_LOWER = (
    "loss", "losses", "nll", "cross_entropy", "logloss", "perplexity", "ppl", "bpc", "bpb", "bpd", "error",
    "error_rate", "err", "mse", "rmse", "mae", "mape", "smape", "msle", "rmsle", "wer", "cer", "ter", "fid", "lpips",
    "brier", "ece", "regret",
)  # fmt: skip
_HIGHER = (
    "acc", "accuracy", "accuracies", "top1", "acc1", "f1", "auc", "auroc", "auprc", "r2", "iou", "miou", "map", "map50",
    "dice", "bleu",
    "sacrebleu", "chrf", "rouge", "rouge1", "rouge2", "rougel", "rougelsum", "meteor", "exact_match", "em", "mcc",
    "matthews_correlation", "kappa", "pearson", "pearsonr", "spearman", "spearmanr", "ndcg", "mrr", "recall",
    "precision", "sensitivity", "specificity", "psnr", "ssim", "log_likelihood", "top5", "acc5", "reward", "rewards",
    "rew", "return", "win_rate", "success_rate", "score",
)  # fmt: skip
_KINDS: dict[str, tuple[Direction, int]] = {
    **{kind: ("min", rank) for rank, kind in enumerate(_LOWER)},
    **{kind: ("max", len(_LOWER) + rank) for rank, kind in enumerate(_HIGHER)},
}

#: Several words that are one.
_PHRASES = {
    "negative_log_likelihood": "nll", "neg_log_likelihood": "nll", "log_likelihood": "log_likelihood",
    "root_mean_squared_log_error": "rmsle", "mean_squared_log_error": "msle", "root_mean_squared_error": "rmse",
    "root_mean_square_error": "rmse", "mean_absolute_percentage_error": "mape", "mean_squared_error": "mse",
    "mean_square_error": "mse", "mean_absolute_error": "mae", "word_error_rate": "wer", "character_error_rate": "cer",
    "char_error_rate": "cer", "error_rate": "error_rate", "log_loss": "logloss", "cross_entropy": "cross_entropy",
    "bits_per_character": "bpc", "bits_per_char": "bpc", "bits_per_byte": "bpb", "bits_per_dim": "bpd",
    "mean_average_precision": "map", "average_precision": "auprc", "roc_auc": "auroc", "pr_auc": "auprc",
    "exact_match": "exact_match", "matthews_correlation": "matthews_correlation", "brier_score": "brier",
    "success_rate": "success_rate", "win_rate": "win_rate", "top_1": "top1", "top_5": "top5", "acc_1": "acc1",
    "acc_5": "acc5", "f_1": "f1", "r_2": "r2", "held_out": "holdout", "hold_out": "holdout", "cross_val": "cv",
    "cross_validation": "cv", "inception_score": "score", "episodic_return": "return", "episode_reward": "reward",
    "ep_rew": "reward", "rouge_l": "rougel", "rouge_lsum": "rougelsum", "map50_95": "map", "map50_95b": "map",
    "map50b": "map50",
}  # fmt: skip
_LONGEST = max(phrase.count("_") + 1 for phrase in _PHRASES)

_FAR = 8
#: What leaves the meaning as it is, and how far it puts a name behind the one without it.
_BESIDE = {
    **dict.fromkeys(("epoch", "mean", "avg", "average", "total", "overall", "metrics", "metric", "epochs"), 1),
    **dict.fromkeys(("macro", "micro", "weighted", "balanced", "binary", "categorical", "sparse", "multiclass"), 1),
    **dict.fromkeys(("multi", "class", "global", "charts", "rollout", "at", "dataloader", "idx", "ema"), 2),
    **dict.fromkeys(("rate", "score", "percent", "pct", "final", "last", "smoothed", "running"), 1),
    **dict.fromkeys(("step", "batch", "iter", "iteration"), 5),
    **dict.fromkeys(("best", "printed", "logged", "measured"), _FAR),
}  # fmt: skip
_FLIPS = ("neg", "negative")
_EXTREMES: dict[str, Direction] = {"min": "min", "max": "max", "lowest": "min", "highest": "max"}

#: Words of names that say how, not how well: of costs, settings, scatter, what hpkb or a machine measured.
_NO_JUDGE = frozenset(
    "std sd stdev stddev stderr sem var variance ci lower upper count num n number counter total_flos flos time times "
    "timestamp runtime seconds secs sec ms minutes hours elapsed duration per second samples throughput speed fps "
    "memory mem gpu cpu gib mib ram power energy watts temperature utilization system hw disk network lr "
    "learning momentum weight weights decay norm norms grad grads gradient gradients histogram hist size length len "
    "ratio share gap diff delta change slope noise scale steps examples tokens seen prepared preparation n_updates "
    "patience flag stop stopped threshold quantile percentile support confusion".split()
)

#: Curves that hpkb measures beside the training; whatever they are called, nothing is judged by them.
_DERIVED = frozenset(
    "learning_rate grad_norm gradient_noise_scale examples_per_second data_wait_share peak_memory_gib "
    "gpu_peak_memory_gib epoch dead_unit_share".split()
)


@dataclass(frozen=True)
class Reading:
    """What a metric's name says. `direction` is None where that is not known, `unknown` holds words not understood.

    Of two readings of one split, the one with the lower `rank` is the better judge.
    """

    metric: str
    split: Split
    kind: str
    direction: Direction | None
    rank: tuple[int, int]
    unknown: tuple[str, ...]
    best: bool  # the best value so far, not the present one

    @property
    def is_known(self) -> bool:
        """Whether all that the name says is understood."""
        return self.direction is not None and not self.unknown


@cache
def read_metric(metric: str) -> Reading | None:
    """Returns what the name of a metric says; None for one that judges nothing: a cost, a setting, a system's state."""
    words = _words(metric)
    if "_".join(words) in _DERIVED or any(word in _NO_JUDGE for word in words):
        return None
    splits = {_SPLITS[word] for word in words if word in _SPLITS}
    kinds = _kinds(words)
    rest = [word for word in words if word not in _SPLITS and word not in kinds]
    extremes = {_EXTREMES[word] for word in rest if word in _EXTREMES}
    unknown = [word for word in rest if word not in _BESIDE and word not in _FLIPS and word not in _EXTREMES]
    direction = _direction(kinds, rest, extremes)
    if not (kinds or unknown):
        return None
    kind = min(kinds, key=lambda k: _KINDS[k][1], default="")
    detours = sum(_BESIDE.get(word, _FAR if word in _EXTREMES else 0) for word in rest) + len(set(kinds))
    rank = (_KINDS[kind][1] if kind else len(_KINDS), detours)
    return Reading(
        metric, _split(splits), kind, direction, rank, tuple(unknown), "best" in rest or bool(extremes)
    )


def _split(splits: set[Split]) -> Split:
    """The split of a name that may say several: `test_at_best_val` is of the test."""
    order: tuple[Split, ...] = ("test", "training", "validation")
    return next((split for split in order if split in splits), "")


def _kinds(words: list[str]) -> list[str]:
    """The words that say what is measured; `score` and `rate` say it only where nothing else does."""
    kinds = [word for word in words if word in _KINDS]
    return [kind for kind in kinds if kind != "score"] or kinds


def _direction(kinds: list[str], rest: list[str], extremes: set[Direction]) -> Direction | None:
    """The direction that all kinds have; turned by `neg`; None where they disagree, or with the extreme taken."""
    directions = {_KINDS[kind][0] for kind in kinds}
    if len(directions) != 1:
        return None
    (found,) = directions
    if any(word in _FLIPS for word in rest):
        found = "max" if found == "min" else "min"
    return found if extremes <= {found} else None


def _words(metric: str) -> list[str]:
    """The words of a name in lower case, several that are one joined: "val/Top-1" is val, top1."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[vV]al)(?=[A-Z])|(?<=[tT]est)(?=[A-Z])", " ", metric)
    words, found = re.findall(r"[a-z0-9]+", apart.lower()), []
    while words:
        length = next((n for n in range(_LONGEST, 1, -1) if "_".join(words[:n]) in _PHRASES), 1)
        text = "_".join(words[:length])
        found.append(_PHRASES.get(text, text))
        words = words[length:]
    return found
