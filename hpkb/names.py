"""The canonical hyperparameters: one table, `NAMES`, of their names, aliases, meanings, units, scales and roles.

`vocabulary` says how a recorded name is found in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

Role = Literal["scientific", "nuisance", "fixed", "conditional", "derived", "measured", "identity"]
Scale = Literal["log", "linear", "category"]


@dataclass(frozen=True)
class Name:
    """A canonical hyperparameter.

    `role` follows the Deep Learning Tuning Playbook (scientific, nuisance, fixed, conditional), and three of our own:
    *derived* follows from other settings, so that it tells configurations apart and explains nothing by itself;
    *measured* is known only after the run, *identity* tells runs of one configuration apart, and neither belongs to a
    configuration.
    """

    name: str
    meaning: str
    scale: Scale
    role: Role = "scientific"
    unit: str = ""
    aliases: tuple[str, ...] = ()
    option: str = ""  # how a script usually spells it on its command line


NAMES: tuple[Name, ...] = (
    Name(
        "learning_rate",
        "The base learning rate that the optimizer was created with.",
        "log",
        aliases=(
            "lr",
            "learning_rate_init",
            "base_lr",
            "init_lr",
            "initial_lr",
            "base_learning_rate",
            "initial_learning_rate",
        ),
        option="lr",
    ),
    Name(
        "peak_learning_rate",
        "The largest learning rate that any step of the run used.",
        "log",
        "measured",
        aliases=("max_lr", "peak_lr"),
    ),
    Name(
        "weight_decay",
        "The optimizer's weight decay: decoupled for AdamW, an L2 penalty for SGD and Adam.",
        "log",
        aliases=("wd", "l2", "l2_reg", "l2_penalty", "weight_decay_rate"),
        option="weight-decay",
    ),
    Name(
        "weight_decay_share",
        "The share of the trained parameters that weight decay touches.",
        "linear",
        "conditional",
    ),
    Name(
        "optimizer",
        "The optimizer's class.",
        "category",
        aliases=("opt", "optim", "optimizer_name", "optimiser"),
        option="optimizer",
    ),
    Name("momentum", "SGD's momentum.", "linear", "conditional", aliases=("mom",), option="momentum"),
    Name("nesterov", "Whether SGD uses Nesterov momentum.", "category", "conditional"),
    Name("beta1", "Decay of Adam's first moment.", "linear", "conditional", aliases=("adam_beta1", "b1")),
    Name("beta2", "Decay of Adam's second moment.", "linear", "conditional", aliases=("adam_beta2", "b2")),
    Name(
        "epsilon",
        "The number added to Adam's denominator.",
        "log",
        "conditional",
        aliases=("eps", "adam_epsilon", "adam_eps"),
    ),
    Name(
        "batch_size",
        "Examples an optimizer step, over all devices and accumulation.",
        "log",
        unit="examples",
        aliases=(
            "bs",
            "batch",
            "batchsize",
            "train_batch_size",
            "global_batch_size",
            "total_batch_size",
            "effective_batch_size",
        ),
        option="batch-size",
    ),
    Name(
        "micro_batch_size",
        "Examples that one forward pass sees.",
        "log",
        "nuisance",
        "examples",
        aliases=("per_device_train_batch_size", "device_batch_size"),
    ),
    Name(
        "accumulation_steps",
        "Backward passes an optimizer step.",
        "log",
        "nuisance",
        "passes",
        aliases=("gradient_accumulation_steps", "grad_accum", "accumulate_grad_batches", "accum_steps"),
    ),
    Name("world_size", "Processes that train together.", "log", "nuisance", "processes"),
    Name(
        "lr_schedule",
        "The shape of the learning rate over the run.",
        "category",
        aliases=("schedule", "scheduler", "lr_scheduler", "lr_scheduler_type", "sched"),
        option="schedule",
    ),
    Name(
        "warmup_steps",
        "Optimizer steps over which the learning rate rises to its peak.",
        "linear",
        unit="steps",
        aliases=("warmup", "num_warmup_steps", "warmup_iters"),
    ),
    Name("final_learning_rate", "The learning rate of the run's last step.", "log", "measured"),
    Name(
        "epochs",
        "Passes over the training data.",
        "log",
        "fixed",
        "epochs",
        aliases=("num_epochs", "n_epochs", "max_epochs", "num_train_epochs"),
        option="epochs",
    ),
    Name(
        "steps",
        "Optimizer steps that the run was set to take.",
        "log",
        "fixed",
        "steps",
        aliases=("max_steps", "num_steps", "n_steps", "max_iters", "num_train_steps", "training_steps"),
        option="steps",
    ),
    Name(
        "dropout",
        "The probability that a unit is dropped.",
        "linear",
        aliases=("dropout_rate", "drop_rate", "p_drop", "dropout_prob", "dropout_p"),
        option="dropout",
    ),
    Name(
        "label_smoothing",
        "How much of the target's probability is spread over all classes.",
        "linear",
        aliases=("smoothing",),
        option="label-smoothing",
    ),
    Name(
        "mixup",
        "The parameter of the Beta distribution that mixes two examples.",
        "linear",
        aliases=("mixup_alpha",),
        option="mixup",
    ),
    Name(
        "cutmix",
        "The parameter of the Beta distribution that sizes a patch pasted from another example.",
        "linear",
        aliases=("cutmix_alpha",),
        option="cutmix",
    ),
    Name("soft_targets", "Whether the loss was given probabilities as targets.", "category", "nuisance"),
    Name(
        "stochastic_depth",
        "The largest probability that a residual branch is dropped.",
        "linear",
        aliases=("drop_path", "drop_path_rate", "stochastic_depth_prob"),
        option="drop-path",
    ),
    Name(
        "ema_decay",
        "Decay of the moving average of the weights.",
        "linear",
        aliases=("model_ema_decay", "ema"),
        option="ema-decay",
    ),
    Name("weight_averaging", "How weights are averaged over steps: ema or swa.", "category"),
    Name("augmentation", "The transform of the training data.", "category", aliases=("augment", "aug")),
    Name(
        "gradient_clip_norm",
        "The norm to which gradients are clipped.",
        "log",
        aliases=("clip_grad_norm", "max_grad_norm", "grad_clip", "clip", "clip_norm", "gradient_clip_val"),
        option="clip-norm",
    ),
    Name(
        "gradient_clip_value",
        "The value to which each gradient element is clipped.",
        "log",
        aliases=("clip_grad_value", "clip_value"),
    ),
    Name("gradient_clip_share", "The share of steps whose gradients were clipped.", "linear", "measured"),
    Name(
        "depth",
        "Layers of the model.",
        "log",
        unit="layers",
        aliases=("n_layers", "num_layers", "layers", "n_layer"),
        option="depth",
    ),
    Name(
        "width",
        "Units of a hidden layer.",
        "log",
        unit="units",
        aliases=("hidden", "hidden_size", "hidden_dim", "n_hidden", "d_model", "n_embd", "embed_dim"),
        option="width",
    ),
    Name(
        "normalization",
        "The kind of normalisation layers.",
        "category",
        aliases=("norm", "normalisation", "norm_layer"),
    ),
    Name(
        "residual",
        "Whether the model has residual connections.",
        "category",
        aliases=("residual_connections", "skip_connections"),
    ),
    Name(
        "activation",
        "The activation function.",
        "category",
        aliases=("act", "nonlinearity", "activation_function"),
    ),
    Name(
        "initialization",
        "How the weights are drawn at the start.",
        "category",
        aliases=("init", "initialisation", "weight_init"),
    ),
    Name(
        "precision",
        "The number format of the forward pass.",
        "category",
        "nuisance",
        aliases=("dtype", "amp_dtype"),
    ),
    Name(
        "model",
        "The class of the model.",
        "category",
        "fixed",
        aliases=("arch", "architecture", "model_name"),
    ),
    Name("model_fingerprint", "A digest of the architecture: layers, shapes, connections.", "category", "derived"),
    Name("layer_kinds", "The kinds of layers in the model and how many of each.", "category", "derived"),
    Name("compiled", "Whether torch.compile compiled the model.", "category", "nuisance"),
    Name(
        "parameter_count",
        "Trainable parameters of the model.",
        "log",
        "fixed",
        "parameters",
        aliases=("n_params", "num_parameters"),
    ),
    Name(
        "total_parameter_count", "All parameters of the model, frozen ones as well.", "log", "derived", "parameters"
    ),
    Name("dead_unit_share", "The share of units that no example activates.", "linear", "measured"),
    Name(
        "seed",
        "The seed of the run's random numbers.",
        "category",
        "identity",
        aliases=("random_seed", "manual_seed", "rng_seed"),
        option="seed",
    ),
)


def lookup(name: str) -> Name | None:
    """The canonical entry for a name or an alias, whatever its case and dashes; None where there is none."""
    return _by_alias().get(name.strip().lower().lstrip("-").replace("-", "_").replace(" ", "_"))


def canonical(name: str) -> str:
    """The canonical name, or the name itself where it is not known."""
    found = lookup(name)
    return found.name if found else name


def rank_of(name: str) -> tuple[int, str]:
    """Where a name stands in a list: canonical ones in the order of `NAMES`, then the others by the alphabet."""
    return _ranks().get(name, len(NAMES)), name


@cache
def _ranks() -> dict[str, int]:
    return {name.name: rank for rank, name in enumerate(NAMES)}


@cache
def _by_alias() -> dict[str, Name]:
    table = {name.name: name for name in NAMES}
    for name in NAMES:
        for alias in name.aliases:
            table.setdefault(alias, name)
    return table
