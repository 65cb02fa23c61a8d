"""The commands that say what to set and what to run next: recommend, suggest, check."""

from __future__ import annotations

from typing import Any

import click

import hpkb
from hpkb.cli_options import KB, TRACKING, format_option, pairs
from hpkb.errors import HpkbError, UsageError

UNDERSCORES = click.option(
    "--underscores",
    is_flag=True,
    help="Options as --weight_decay, where the script has them so; else --weight-decay.",
)


@click.command()
@KB
@click.option("--task", metavar="NAME", help="The default of this task. Without it: over all tasks.")
@click.option(
    "--like", metavar="NAME", help="For a new task that resembles this one: leans on tasks like it."
)
@click.option(
    "--given",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value that is already decided, which the learning rate follows; can be repeated.",
)
@click.option(
    "--k",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="How many configurations; the first is the default.",
)
@UNDERSCORES
@format_option("table", "json", "yaml", "args", "optuna", "ray", "wandb", "hydra")
def recommend(
    kb: str,
    task: str | None,
    like: str | None,
    given: tuple[str, ...],
    k: int,
    underscores: bool,
    format_: str,
) -> None:
    """Print the recommended defaults with their evidence, or the safe ranges as a search space for a tool.

    Example: python train.py $(hpkb recommend --task digits --format args)
    """
    from hpkb import present_advice
    from hpkb.suggest.options import options_of, underscored
    from hpkb.suggest.space import limits_of

    with hpkb.open(kb) as base:
        document = base.recommend(task=task, given=pairs(given, "--given"), k=k, like=like)
        spelled = options_of(base, task or like)
        is_space = format_ not in ("table", "json", "yaml", "args")
        found = base.findings(task or like, figures=False, runs=False) if is_space and (task or like) else []
        limits = limits_of(found)
    if format_ not in ("table", "json", "yaml") and document["verdict"] != "recommended":
        raise HpkbError(f"No default to print: {document['reason']} Try: hpkb recommend --format table")
    if underscores and document["configurations"]:
        spelled = underscored(document["configurations"][0]["values"], spelled)
    click.echo(present_advice.recommendation(document, format_, spelled, limits))


@click.command()
@KB
@click.option(
    "--task", metavar="NAME", help="The task to experiment on. Can be left out where there is only one."
)
@click.option(
    "--n", type=click.IntRange(1, 256), default=8, show_default=True, help="How many runs there is time for."
)
@click.option(
    "--design",
    type=click.Choice(["auto", "perturb", "factorial", "bayes"]),
    default="auto",
    show_default=True,
    help="auto: what settles the most; perturb: one change at a time, with repeats; factorial: all changes at two "
    "levels; bayes: Optuna, told what is known.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of every random choice.")
@click.option(
    "--run", "is_run", is_flag=True, help="Run them one after another, as COMMAND with the arguments added."
)
@TRACKING
@click.option("--experiment", metavar="NAME", help="With --run: the MLflow experiment, as for `hpkb log`.")
@UNDERSCORES
@format_option("table", "json", "args", "optuna", "ray", "wandb", "hydra")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def suggest(
    kb: str, task: str | None, n: int, design: str, seed: int, is_run: bool, tracking_uri: str | None,
    experiment: str | None, underscores: bool, format_: str, command: tuple[str, ...],
) -> int:  # fmt: skip
    """Propose the next experiments, and say what each would settle.

    Example: hpkb suggest --task digits --n 4

    Run them: hpkb suggest --task digits --n 4 --run -- python train.py
    """
    from hpkb import present_advice
    from hpkb.suggest.options import underscored

    if command and not is_run:
        raise UsageError(f"'{command[0]}' is to be run? Add --run: hpkb suggest --run -- {' '.join(command)}")
    if is_run and not command:
        raise UsageError("--run needs a command. Try: hpkb suggest --run -- python train.py")
    if (tracking_uri or experiment) and not is_run:
        raise UsageError("--tracking-uri and --experiment say where runs go: they belong to --run.")
    with hpkb.open(kb) as base:
        document = base.suggest(task=task, n=n, design=design, seed=seed)
    if underscores:
        document["options"] = underscored(document["space"], document["options"])
    if not is_run:
        if format_ not in ("table", "json") and not document["experiments"]:
            raise HpkbError(f"No experiment to propose: {document['reason']}")
        click.echo(present_advice.experiments(document, format_))
        return 0
    return _run(document, command, tracking_uri, experiment)


def _run(
    document: dict[str, Any], command: tuple[str, ...], tracking_uri: str | None, experiment: str | None
) -> int:
    from hpkb.ship import address, supervise
    from hpkb.ship.rundir import RunSettings
    from hpkb.suggest.running import run_all, summary

    def log(words: list[str]) -> int:
        settings = RunSettings(
            tracking_uri=address.as_meant(tracking_uri),
            experiment=address.experiment(experiment),
            task=str(document["task"]),
            command=tuple(words),
        )
        return supervise.log(settings, words)

    total = len(document["experiments"])
    ended = run_all(document, command, log)
    click.echo(summary(ended, total), err=True)
    return 1 if len(ended) < total or any(e.status for e in ended) else 0


@click.command()
@KB
@click.option("--task", metavar="NAME", help="The task that it is for. Without it: all tasks.")
@format_option("table", "json")
@click.argument("configuration", nargs=-1, required=True, metavar="CONFIG.json|yaml|NAME=VALUE...")
def check(kb: str, task: str | None, format_: str, configuration: tuple[str, ...]) -> int:
    """Hold a configuration against what is known: each value's verdict and the finding behind it.

    The exit status is 0 where nothing speaks against it, 1 where something does, 2 for wrong usage.

    Example: hpkb check --task digits lr=3e-4 batch_size=64
    """
    from hpkb import present_advice
    from hpkb.suggest.configuration import read_configuration

    values = read_configuration(configuration)
    with hpkb.open(kb) as base:
        document = base.check(values, task=task)
    click.echo(present_advice.checked(document, format_))
    return 1 if document["verdict"] == "against" else 0


ADVICE = (recommend, suggest, check)
