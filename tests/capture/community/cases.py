"""Ordinary scripts, each in the style of its community, and the true value of whatever decides their runs.

`params` are MLflow params, `last` the last value of a metric, `tags` tags, `sizes` the examples of each split. A value
that is `Result(NAME)` is what the script wrote into its own `results.json`. A value that is `Open(...)` may be
absent, because it cannot be known from outside or is a matter of definition; it counts only if it is wrong.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Result:
    """The value that the script reports under this name."""

    name: str


class Open:
    """Any of these values, or none; without any, only none."""

    def __init__(self, *values: Any) -> None:
        self.values = values


ABSENT = Open()


@dataclass(frozen=True)
class Case:
    """One script: its command line behind `hpkb log --` and what is true of its run."""

    name: str
    command: tuple[str, ...]
    params: dict[str, Any]
    last: dict[str, Any]
    sizes: dict[str, int] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def _python(script: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(SCRIPTS / script), *arguments)


def _cli(**values: Any) -> dict[str, Any]:
    return {f"cli.{name}": value for name, value in values.items()}


def _named(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


_SGD = {"optimizer": "SGD", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
_ADAM = {"epsilon": 1e-8, "beta1": 0.9, "beta2": 0.999}
_ONE_PROCESS = {"world_size": 1, "accumulation_steps": 1, "loader.workers": 0, "loader.drop_last": False}
_PLAIN = {
    "precision": "float32",
    "compiled": Open(False),
    "warmup_steps": Open(0),
    "label_smoothing": Open(0.0),
    "soft_targets": Open(False),
    "dead_unit_share": Open("any"),
    "gradient_clip_share": ABSENT,
    "gradient_clip_norm": ABSENT,
    "gradient_clip_value": ABSENT,
    "dropout": ABSENT,
    "normalization": "none",
    "residual": False,
    "initialization": "default",
    "layer_kinds": Open("any"),
    "model_fingerprint": Open("any"),
    "steps": ABSENT,
    "weight_averaging": ABSENT,
    "ema_decay": ABSENT,
    "augmentation": ABSENT,
    "stochastic_depth": ABSENT,
    "mixup": ABSENT,
    "cutmix": ABSENT,
}
_LOADER = {"loader.shuffle": True, "loader.sampler": "RandomSampler"}


def _constant(rate: float) -> dict[str, Any]:
    return {
        "learning_rate": rate,
        "peak_learning_rate": rate,
        "final_learning_rate": rate,
        "lr_schedule": "constant",
    }


ARGPARSE_SGD = Case(
    "argparse, SGD",
    _python("argparse_sgd.py", "--lr", "0.04"),
    {
        **_PLAIN, **_SGD, **_ONE_PROCESS, **_LOADER,
        **_cli(batch_size=64, test_batch_size=500, epochs=4, lr=0.04, momentum=0.9, weight_decay=5e-4, gamma=0.7,
               seed=1, log_interval=10),
        "learning_rate": 0.04, "peak_learning_rate": 0.04, "final_learning_rate": 0.04 * 0.7**3,
        "lr_schedule": "step", "lr_schedule.gamma": 0.7, "lr_schedule.step_size": 1, "lr_schedule.class": "StepLR",
        "momentum": 0.9, "weight_decay": 5e-4, "weight_decay_share": 1.0, "batch_size": 64, "micro_batch_size": 64,
        "loader.last_batch_size": 1500 % 64, "epochs": 4, "seed": 1, "seed.torch": 1, "dropout": 0.25,
        "model": "Net", "parameter_count": 3130, "total_parameter_count": 3130, "depth": 3, "width": 16,
        "activation": "relu",
    },
    {"train_loss": Result("train_loss"), "test_loss": Result("test_loss"), "learning_rate": 0.04 * 0.7**3},
    {"training": 1500, "test": 297},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true", "hpkb.checkpoints": "1"},
)  # fmt: skip

_DECAYED, _UNDECAYED = 64 * 48 + 3 * 48 * 48 + 480, 48 + 3 * 3 * 48 + 10
GROUPS_ONECYCLE = Case(
    "two groups, one-cycle",
    _python("groups_onecycle.py"),
    {
        **_PLAIN, **_ADAM, **_ONE_PROCESS, **_LOADER,
        **_cli(max_lr=4e-3, wd=0.05, bs=50, epochs=5, clip=1.0),
        "optimizer": "AdamW", "beta1": Open(0.95), "beta2": 0.98,  # the scheduler cycles beta1
        "learning_rate": 4e-3 / 25, "peak_learning_rate": 4e-3, "final_learning_rate": 4e-3 / 25 / 1e4,
        "lr_schedule": "one_cycle", "lr_schedule.class": "OneCycleLR", "lr_schedule.total_steps": 150,
        "lr_schedule.pct_start": 0.3, "warmup_steps": Open(44, 45),
        "weight_decay": 0.05, "weight_decay_share": _DECAYED / (_DECAYED + _UNDECAYED),
        "optimizer.group.0.weight_decay": 0.05, "optimizer.group.1.weight_decay": 0.0,
        "optimizer.group.0.parameter_count": _DECAYED, "optimizer.group.1.parameter_count": _UNDECAYED,
        "batch_size": 50, "micro_batch_size": 50, "loader.drop_last": True, "loader.last_batch_size": Open(50),
        "epochs": 5, "seed": 42, "seed.torch": 42, "dropout": 0.1, "label_smoothing": 0.1,
        "gradient_clip_norm": 1.0, "gradient_clip_share": Result("clip_share"),
        "model": "ResidualMLP", "parameter_count": _DECAYED + _UNDECAYED,
        "total_parameter_count": _DECAYED + _UNDECAYED, "depth": 5, "width": 48,  # stem, three, head
        "activation": "gelu",
        "normalization": "layer_norm", "residual": True, "initialization": "trunc_normal",
    },
    {"train_loss": Result("train_loss"), "val_loss": Result("val_loss"), "grad_norm": Result("grad_norm"),
     "learning_rate": 4e-3 / 25 / 1e4},
    {"training": 1500, "validation": 297},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true"},
)  # fmt: skip

_VOCABULARY = 6  # four letters (the squares modulo seven), the space and the end of the line
_GPT_2D = _VOCABULARY * 32 * 2 + 32 * 32 + 2 * 12 * 32 * 32
_GPT_1D = 5 * 2 * 32
NANOGPT = Case(
    "nanoGPT",
    _python("nanogpt.py", "--batch_size=8", "--learning_rate=0.001", "--max_iters=80"),
    {
        **_PLAIN, **_ADAM, **_cli(batch_size=8, learning_rate=1e-3, max_iters=80),
        "optimizer": "AdamW", "beta2": 0.95, "learning_rate": 1e-3, "peak_learning_rate": 1e-3,
        "final_learning_rate": Result("final_learning_rate"), "lr_schedule": "cosine", "warmup_steps": 10,
        "weight_decay": 0.1, "weight_decay_share": _GPT_2D / (_GPT_2D + _GPT_1D),
        "optimizer.group.0.weight_decay": 0.1, "optimizer.group.1.weight_decay": 0.0,
        "optimizer.group.0.parameter_count": _GPT_2D, "optimizer.group.1.parameter_count": _GPT_1D,
        "accumulation_steps": 2, "world_size": Open(1), "batch_size": Open(16), "micro_batch_size": Open(8),
        "steps": 80, "seed": 1337, "seed.torch": 1337, "dropout": 0.0,
        "gradient_clip_norm": 1.0, "gradient_clip_share": Result("clip_share"),
        "model": "GPT", "parameter_count": _GPT_2D + _GPT_1D, "total_parameter_count": _GPT_2D + _GPT_1D,
        "depth": 2, "width": 32, "activation": "gelu", "normalization": "layer_norm", "residual": True,
        "initialization": "normal", "epochs": ABSENT,
    },
    {"train_loss": Result("train_loss"), "val_loss": Result("val_loss"), "grad_norm": Result("grad_norm"),
     "learning_rate": Result("final_learning_rate")},
    {},
    {"hpkb.seed.set": "true"},
)  # fmt: skip

HYDRA = Case(
    "Hydra",
    _python("hydra_train.py", "optimizer.lr=0.004", "hydra.run.dir=."),
    {
        **_PLAIN, **_ADAM, **_ONE_PROCESS, **_LOADER, **_constant(0.004),
        **_named("config", {"seed": 7, "trainer.epochs": 3, "trainer.batch_size": 32, "model.hidden": "[40, 40]",
                            "model.dropout": 0.2, "optimizer.lr": 0.004, "optimizer.weight_decay": 1e-4}),
        "optimizer": "Adam", "weight_decay": 1e-4, "weight_decay_share": 1.0, "batch_size": 32, "micro_batch_size": 32,
        "loader.last_batch_size": 400 % 32, "epochs": Open(3), "seed": 7, "seed.torch": 7, "dropout": 0.2,
        "model": "MLP", "parameter_count": 440 + 1640 + 41, "total_parameter_count": 440 + 1640 + 41,
        "depth": 3, "width": 40, "activation": "tanh",
    },
    {"train_loss": Result("train_loss"), "val_loss": Result("val_loss"), "learning_rate": 0.004},
    {"training": 400, "validation": 100},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true"},
    ("hydra",),
)  # fmt: skip

_DIGITS_BN = 64 * 32 + 32 + 64 + 32 * 32 + 32 + 64 + 330
LIGHTNING = Case(
    "Lightning",
    _python("lightning_train.py"),
    {
        **_PLAIN, **_SGD, **_ONE_PROCESS, **_LOADER,
        **_named("config", {"hidden": 32, "lr": 0.03, "momentum": 0.8}),
        "learning_rate": 0.03, "peak_learning_rate": 0.03, "final_learning_rate": Open("any"),
        "lr_schedule": "cosine", "lr_schedule.class": "CosineAnnealingLR", "lr_schedule.T_max": 60,
        "momentum": 0.8, "nesterov": True, "weight_decay_share": 0.0,
        "batch_size": 64, "micro_batch_size": 32, "accumulation_steps": 2, "loader.last_batch_size": Open(32),
        "epochs": Open(3), "seed": 11, "seed.torch": 11, "seed.numpy": 11, "seed.random": 11,
        "gradient_clip_norm": 0.5, "gradient_clip_share": Open("any"),
        "model": "DigitsModel", "parameter_count": _DIGITS_BN, "total_parameter_count": _DIGITS_BN,
        "depth": 3, "width": 32, "activation": "relu", "normalization": "batch_norm",
    },
    {"train/loss": Open("any"), "val/loss": Result("val/loss"), "val/acc": Result("val/acc"),
     "train_loss": Open("any"), "grad_norm": Open("any")},
    {"training": 1280, "validation": 517},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true"},
    ("lightning",),
)  # fmt: skip

_GPT2 = 50 * 32 + 24 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32
HF_TRAINER = Case(
    "Hugging Face Trainer",
    _python(
        "hf_trainer.py", "--output_dir", "out", "--max_steps", "40", "--learning_rate", "1e-3",
        "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2", "--lr_scheduler_type", "cosine",
        "--warmup_steps", "5", "--weight_decay", "0.01", "--logging_steps", "10", "--eval_strategy", "steps",
        "--eval_steps", "20", "--save_strategy", "no", "--report_to", "none", "--seed", "4", "--use_cpu",
        "--disable_tqdm", "true",
    ),
    {
        **_PLAIN, **_ADAM,
        **_cli(n_layer=2, n_embd=32, max_steps=40, learning_rate=1e-3, per_device_train_batch_size=8,
               gradient_accumulation_steps=2, lr_scheduler_type="cosine", warmup_steps=5, weight_decay=0.01, seed=4),
        "optimizer": "AdamW", "learning_rate": 1e-3, "peak_learning_rate": 1e-3, "final_learning_rate": Open("any"),
        "lr_schedule": "cosine", "lr_schedule.class": "LambdaLR", "warmup_steps": 5,
        "weight_decay": 0.01, "weight_decay_share": Open("any"), "optimizer.group.0.weight_decay": 0.01,
        "optimizer.group.1.weight_decay": 0.0, "optimizer.fused": Open(True),
        "world_size": 1, "loader.workers": 0, "loader.shuffle": True, "loader.drop_last": False,
        "loader.sampler": Open("RandomSampler", "SeedableRandomSampler"), "loader.last_batch_size": Open(8),
        "batch_size": 16, "micro_batch_size": 8, "accumulation_steps": 2, "steps": 40, "epochs": Open(),
        "seed": 4, "seed.torch": 4, "seed.numpy": 4, "seed.random": 4, "dropout": 0.1,
        "gradient_clip_norm": 1.0, "gradient_clip_share": Open("any"),
        "model": "GPT2LMHeadModel", "parameter_count": _GPT2, "total_parameter_count": _GPT2,
        "depth": 2, "width": 32, "activation": Open("gelu"), "normalization": "layer_norm", "residual": True,
        "initialization": Open("normal"),
    },
    {"eval_loss": Result("eval_loss"), "train_loss": Open("any"), "grad_norm": Open("any")},
    {"training": 320, "validation": 64},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true"},
    ("transformers", "accelerate"),
)  # fmt: skip

DDP = Case(
    "torchrun, two ranks",
    (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
     str(SCRIPTS / "ddp_train.py"), "--lr", "0.2"),
    {
        **_PLAIN, **_SGD, **_ONE_PROCESS, **_constant(0.2), **_cli(lr=0.2, batch_size=25, epochs=2),
        "world_size": 2, "batch_size": 50, "micro_batch_size": 25, "loader.shuffle": True,
        "loader.sampler": "DistributedSampler", "loader.last_batch_size": Open(25), "weight_decay_share": 0.0,
        "epochs": 2, "seed": 5, "seed.torch": 5, "model": "Sequential", "parameter_count": 64 * 65 + 650,
        "total_parameter_count": 64 * 65 + 650, "depth": 2, "width": 64, "activation": "silu",
    },
    {"train_loss": Result("train_loss"), "learning_rate": 0.2},
    {"training": 1500},
    {"hpkb.seed.set": "true"},
)  # fmt: skip

_LSTM = 4 * 24 * (8 + 24 + 2) + 4 * 24 * (24 + 24 + 2) + 25
TENSORBOARD = Case(
    "click, TensorBoard",
    _python("tensorboard_train.py", "--lr", "0.02"),
    {
        **_PLAIN, **_ONE_PROCESS, **_LOADER, **_cli(lr=0.02, hidden_size=24, batch_size=40, epochs=3, patience=2),
        "optimizer": "RMSprop", "momentum": 0, "epsilon": 1e-8, "weight_decay": 0.0, "weight_decay_share": 0.0,
        "learning_rate": 0.02, "peak_learning_rate": 0.02, "final_learning_rate": 0.02 * 0.8**2,
        "lr_schedule": "exponential", "lr_schedule.class": "ExponentialLR", "lr_schedule.gamma": 0.8,
        "batch_size": 40, "micro_batch_size": 40, "loader.last_batch_size": Open(40), "epochs": 3,
        "seed": 3, "seed.torch": 3, "dropout": 0.3, "gradient_clip_value": 0.5,
        "model": "Tagger", "parameter_count": _LSTM, "total_parameter_count": _LSTM, "depth": 3, "width": 24,
        "activation": Open("none"),
    },
    {"train_loss": Result("train_loss"), "Loss/train": Result("train_loss"), "Loss/valid": Result("Loss/valid"),
     "Accuracy/valid": Result("Accuracy/valid"), "learning_rate": 0.02 * 0.8**2},
    {"training": 480, "validation": 120},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true"},
    ("tensorboard", "click"),
)  # fmt: skip

_D, _G = 2 * 32 + 32 + 33, 7 * 32 + 33 * 32 + 66
GAN = Case(
    "GAN, two optimizers",
    _python("gan.py", "--lr_d", "0.0005"),
    {
        **_PLAIN, **_ADAM, **_LOADER, "world_size": 1, "loader.workers": 0, "loader.drop_last": False,
        **_cli(lr_g=2e-4, lr_d=5e-4, b1=0.5, batch_size=50, n_epochs=3, latent_dim=6, seed=99),
        **_constant(5e-4), "optimizer": "Adam", "beta1": 0.5, "weight_decay": 0.0, "weight_decay_share": 0.0,
        **_named("optimizer.2", {"optimizer": "Adam", "learning_rate": 2e-4, "peak_learning_rate": 2e-4, "beta1": 0.5,
                                 "beta2": 0.999, "weight_decay": 0.0, "epsilon": 1e-8}),
        "batch_size": 50, "micro_batch_size": 50, "accumulation_steps": 1, "loader.last_batch_size": Open(50),
        "epochs": 3, "seed": 99, "seed.torch": 99, "seed.numpy": 99, "seed.random": 99,
        "model": "Discriminator", "parameter_count": _D, "total_parameter_count": _D, "depth": 2, "width": 32,
        "activation": Open("leaky_relu"), "initialization": "default",
    },
    {"train_loss": Result("d_loss"), "train_loss.2": Result("g_loss"), "learning_rate": 5e-4,
     "learning_rate.2": 2e-4},
    {"training": 600},
    {"hpkb.seed.set": "true"},
)  # fmt: skip

_ENCODER = 24 * 4 + 24 + 16 * 24 + 2 * (4 * 24 * 25 + 24 * 48 + 48 + 48 * 24 + 24 + 4 * 24) + 250
ACCELERATE = Case(
    "accelerate",
    _python("accelerate_train.py"),
    {
        **_PLAIN, **_ADAM,
        **_cli(learning_rate=3e-3, weight_decay=0.02, per_device_train_batch_size=20, gradient_accumulation_steps=4,
               num_train_epochs=2, num_warmup_steps=6, seed=21),
        "optimizer": "AdamW", "learning_rate": 3e-3, "weight_decay": 0.02, "weight_decay_share": 1.0,
        "peak_learning_rate": 3e-3, "final_learning_rate": Open("any"),
        "lr_schedule": "linear", "lr_schedule.class": "LambdaLR", "warmup_steps": 6,
        "batch_size": 80, "micro_batch_size": 20, "accumulation_steps": 4, "world_size": 1, "loader.workers": 0,
        "loader.drop_last": False, "loader.shuffle": True,
        "loader.sampler": Open("RandomSampler", "SeedableRandomSampler"), "loader.last_batch_size": Open(20),
        "epochs": 2, "seed": 21, "seed.torch": 21, "seed.numpy": 21, "seed.random": 21, "dropout": 0.05,
        "gradient_clip_norm": 2.0, "gradient_clip_share": Open("any"),
        "precision": "bfloat16-mixed", "model": "PatchTransformer", "parameter_count": _ENCODER,
        "total_parameter_count": _ENCODER, "depth": 2, "width": 24, "activation": "gelu",
        "normalization": "layer_norm", "residual": True, "initialization": Open("any"),
    },
    {"val_loss": Result("val_loss"), "train_loss": Open("any"), "grad_norm": Open("any")},
    {"training": 1600, "validation": 197},
    {"hpkb.split.overlap": "none", "hpkb.seed.set": "true"},
    ("accelerate", "transformers"),
)  # fmt: skip

CASES = (
    ARGPARSE_SGD, GROUPS_ONECYCLE, NANOGPT, HYDRA, LIGHTNING, HF_TRAINER, DDP, TENSORBOARD, GAN, ACCELERATE,
)  # fmt: skip
