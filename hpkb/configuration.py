"""Which recorded parameters make two runs the same configuration, and which of them may explain a result."""

from __future__ import annotations

from hpkb.vocabulary import last_word, read_name

#: Arguments of scripts that say where or how a run is kept, not what it computes.
BOOKKEEPING = frozenset(
    [
        "help",
        "h",
        "output",
        "out",
        "output_dir",
        "out_dir",
        "save",
        "save_dir",
        "save_path",
        "checkpoint",
        "checkpoint_dir",
        "ckpt",
        "log",
        "log_dir",
        "logdir",
        "log_interval",
        "log_every",
        "print_every",
        "eval_every",
        "eval_interval",
        "name",
        "run_name",
        "experiment",
        "exp_name",
        "project",
        "tag",
        "tags",
        "device",
        "cuda",
        "no_cuda",
        "gpu",
        "workers",
        "num_workers",
        "verbose",
        "quiet",
        "debug",
        "resume",
        "data",
        "data_dir",
        "data_path",
        "dataset_path",
        "root",
        "wandb",
        "tensorboard",
        "local_rank",
        "rank",
        "port",
    ]
)

#: Details of a schedule that count steps or say where a resumed one stands: they follow from the run's length.
_SCHEDULE_LENGTHS = frozenset(
    [
        "T_max",
        "T_0",
        "step_size",
        "total_steps",
        "milestones",
        "last_epoch",
        "total_iters",
        "epochs",
        "steps_per_epoch",
        "period",  # of restarts, in steps
        "restarts",
        "class",  # torch's, beside the word for its shape
    ]
)

#: How something is computed, which leaves what is computed as it is.
_IMPLEMENTATION = frozenset(["optimizer.fused", "optimizer.foreach", "optimizer.capturable"])


def in_configuration(name: str) -> bool:
    """Whether a parameter of the knowledge base takes part in what makes two runs the same configuration.

    Left out are what the script called its settings (`cli.lr`, `optimizer.lr`) where a canonical name says the same,
    arguments that only say where output goes, how data was loaded, and what follows from the seed or from the length
    of the run.
    """
    found = read_name(name)
    if found:
        return name == found.name and found.role not in ("measured", "identity")
    prefix, _, rest = name.partition(".")
    if prefix == "lr_schedule":
        return rest not in _SCHEDULE_LENGTHS
    if prefix in ("seed", "loader", "hpkb") or name in _IMPLEMENTATION:
        return False
    return last_word(name) not in BOOKKEEPING


def explains(name: str) -> bool:
    """Whether a parameter of the configuration is a setting that an effect may be ascribed to."""
    found = read_name(name)
    return in_configuration(name) and not (found and found.role == "derived")
