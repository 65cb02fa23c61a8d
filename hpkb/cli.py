"""The command `hpkb`: each subcommand calls one library function and prints what it returns.

Heavy modules are imported inside the commands: `hpkb log` must be off the ground before a person notices it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

import hpkb
from hpkb.cli_advice import ADVICE
from hpkb.cli_lake import lake
from hpkb.cli_options import (
    CORRECTIONS,
    ENGINE,
    EXPERIMENTS,
    KB,
    TRACKING,
    WORKERS,
    cores,
    format_option,
    pairs,
)  # fmt: skip
from hpkb.errors import HpkbError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0 done, 1 the run or the analysis failed, 2 wrong usage."""
    try:
        status = cli.main(
            args=None if arguments is None else list(arguments), prog_name="hpkb", standalone_mode=False
        )
        sys.exit(status if isinstance(status, int) else 0)
    except HpkbError as error:
        _fail(str(error), error.exit_status, error)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        hint = (
            f" Try: {error.ctx.command_path} --help"
            if isinstance(error, click.UsageError) and error.ctx
            else ""
        )
        _fail(error.format_message() + hint, 2, error)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130, None)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:
        if os.environ.get("HPKB_DEBUG") == "1":
            raise
        _fail(f"{type(error).__name__}: {error} (a fault of hpkb; HPKB_DEBUG=1 shows where)", 1, error)


def _fail(message: str, status: int, error: BaseException | None) -> NoReturn:
    if error is not None and os.environ.get("HPKB_DEBUG") == "1":
        raise error
    print("hpkb: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(hpkb.__version__, prog_name="hpkb")
def cli() -> None:
    """Turns training runs into recommended hyperparameters, with the evidence beside them."""


@cli.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})
@TRACKING
@click.option(
    "--experiment",
    metavar="NAME",
    help="The MLflow experiment. Default: MLFLOW_EXPERIMENT_NAME, then Default.",
)
@click.option(
    "--task",
    metavar="NAME",
    help="What is trained on what; runs are compared within a task. Default: the experiment.",
)
@click.option("--run-name", metavar="NAME", help="The run's name in MLflow.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the run; can be repeated.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter that the script does not show; can be repeated.",
)
@click.option("--full-metrics", is_flag=True, help="Send every point of every curve.")
@click.option("--no-wait", is_flag=True, help="Return when the command ends; `hpkb sync` ships what is left.")
@click.option(
    "--durability",
    type=click.Choice(["os", "fsync"]),
    default="os",
    show_default=True,
    help="What logged points survive: os, the death of every process; fsync, also a loss of power, but for the last "
    "second (the supervising process puts them on the disk once a second; the training never waits for it).",
)
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="RUN|last|auto|never",
    help="The run that the job goes on with: an MLflow run, the last one of the same command, or what the "
    "environment proves (a requeued Slurm job, MLFLOW_RUN_ID).",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def log(
    tracking_uri: str | None, experiment: str | None, task: str | None, run_name: str | None, tags: tuple[str, ...],
    params: tuple[str, ...], full_metrics: bool, no_wait: bool, durability: str, resume: str,
    command: tuple[str, ...],
) -> int:  # fmt: skip
    """Run COMMAND, capture what it trains, and ship it to MLflow. The exit status is COMMAND's.

    Example: hpkb log --experiment cifar -- python train.py --lr 0.1
    """
    from hpkb.ship import address, supervise
    from hpkb.ship.rundir import RunSettings

    settings = RunSettings(
        tracking_uri=address.as_meant(tracking_uri),
        experiment=address.experiment(experiment),
        task=task,
        run_name=run_name,
        tags=pairs(tags, "--tag"),
        params=pairs(params, "--param"),
        command=command,
        full_metrics=full_metrics,
        durability=durability,
    )
    return supervise.log(settings, list(command), wait=not no_wait, resume=resume)


@cli.command()
@TRACKING
@click.argument("spools", nargs=-1, type=click.Path(path_type=Path), metavar="[SPOOL]...")
def sync(tracking_uri: str | None, spools: tuple[Path, ...]) -> None:
    """Ship what an earlier `hpkb log` could not.

    Example: hpkb sync
    """
    from hpkb.ship import supervise

    shipped = supervise.sync(tracking_uri, list(spools))
    click.echo(f"{shipped} run{'' if shipped == 1 else 's'} shipped")


@cli.command("import")
@click.argument("source")
@KB
@click.option("--task-column", metavar="COLUMN", help="The column that says which task a run belongs to.")
@click.option("--run-column", metavar="COLUMN", help="The column that identifies a run.")
@click.option("--seed-column", metavar="COLUMN", help="The column that holds the seed.")
@click.option(
    "--objective", metavar="METRIC:min|max", help="The column to judge a run by, and its direction."
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Which column holds the hyperparameter NAME; can be repeated.",
)
@click.option(
    "--fixed",
    multiple=True,
    metavar="NAME=VALUE",
    help="A hyperparameter that every run had; can be repeated.",
)
@click.option(
    "--curves", type=click.Path(path_type=Path), metavar="FILE", help="A table of run, metric, step, value."
)
@CORRECTIONS
def import_(
    source: str, kb: str, task_column: str | None, run_column: str | None, seed_column: str | None,
    objective: str | None, mapping: tuple[str, ...], fixed: tuple[str, ...], curves: Path | None,
    corrections: Path | None,
) -> None:  # fmt: skip
    """Bring in other people's runs: a Parquet or CSV table, Optuna, W&B or TensorBoard.

    SOURCE is a file, a folder or a URI; what it is shows in what is there. Outside tables, a COLUMN is the name of a
    parameter as the store has it.

    Example: hpkb import sweep.parquet --task-column task --seed-column seed --objective val_acc:max

    Direction by column: hpkb import sweep.parquet --objective best_val:higher_is_better
    """
    from hpkb import present
    from hpkb.corrections import read
    from hpkb.pipeline import import_table
    from hpkb.sources.importing import open_import
    from hpkb.sources.table import Layout

    layout = Layout(
        task_column=task_column,
        run_column=run_column,
        seed_column=seed_column,
        objective=objective,
        mapping=pairs(mapping, "--map"),
        fixed=pairs(fixed, "--fixed"),
    )
    found = open_import(source, layout, curves)
    report = import_table(found.source, Path(kb), found.objective, read(corrections))
    click.echo(present.ingested(report))


@cli.command()
@TRACKING
@EXPERIMENTS
@KB
@click.option(
    "--objective",
    metavar="METRIC:min|max",
    help="What to judge a run by. Default: the task's validation metric.",
)
@click.option(
    "--handbook",
    default="handbook",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the pages go.",
)
@click.option("--miner", "miners", multiple=True, metavar="NAME", help="Only this miner; can be repeated.")
@ENGINE
@WORKERS
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The seed of every random choice of the analysis."
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Templates of your own: a file takes the place of hpkb's of that name, those in DIR/pages are added.",
)
@click.option("--publish", is_flag=True, help="Put the handbook into MLflow too, as the artifact of a run of its own.")
@CORRECTIONS
@click.option("--dry-run", is_flag=True, help="Say what would be read, and as what; write nothing.")
@format_option("table", "json")
def analyze(
    tracking_uri: str | None, experiments: tuple[str, ...], kb: str, objective: str | None, handbook: Path,
    miners: tuple[str, ...], engine: str, workers: int | None, seed: int, templates: Path | None, publish: bool,
    corrections: Path | None, dry_run: bool, format_: str,
) -> None:  # fmt: skip
    """Bring new MLflow runs in, mine them, and write the findings and the handbook.

    Example: hpkb analyze --tracking-uri sqlite:///mlflow.db --objective val_loss:min
    """
    from hpkb import present
    from hpkb.corrections import read
    from hpkb.pipeline import AnalysisSettings, analyze_store

    settings = AnalysisSettings(
        source=_source(tracking_uri, Path(kb)), kb=Path(kb), experiments=experiments, objective=objective,
        handbook=handbook, miners=miners, workers=workers or cores(), engine=engine, seed=seed,
        dry_run=dry_run, templates=templates, publish=publish, corrections=read(corrections),
    )  # fmt: skip
    with present.stages(sys.stderr) as say:
        report = analyze_store(settings, say)
    click.echo(present.analysis(report, format_))


@cli.command()
@KB
@click.option("--task", metavar="NAME", help="Only findings about this task.")
@click.option("--miner", metavar="NAME", help="Only findings of this miner.")
@click.option(
    "--verdict", type=click.Choice(["supported", "rejected", "insufficient"]), help="Only this verdict."
)
@format_option("table", "json", "csv")
def findings(kb: str, task: str | None, miner: str | None, verdict: str | None, format_: str) -> None:
    """Show what was found.

    Example: hpkb findings --verdict supported
    """
    from hpkb import present

    gc.disable()  # nothing of what is read is let go of before the end
    with hpkb.open(kb) as base:
        if format_ == "table":
            click.echo(present.claims(base.claims(task, miner, verdict)))
            return
        found = base.findings(task, miner, verdict, figures=False, runs=format_ == "json")
    for part in present.findings(found, format_):
        click.echo(part, nl=False)


@cli.command()
@click.argument("miner")
def explain(miner: str) -> None:
    """Print a miner's question, method, reading and pitfalls.

    Example: hpkb explain lr_weight_decay
    """
    import inspect

    from hpkb import miners

    click.echo(inspect.cleandoc(miners.load(miner).__doc__))


for advice in ADVICE:
    cli.add_command(advice)
cli.add_command(lake)


@cli.command()
@click.argument("directory", default="handbook", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port. Default: one that is free.")
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def browse(directory: Path, port: int, no_open: bool) -> None:
    """Serve a handbook on this machine and open it.

    Example: hpkb browse handbook
    """
    from hpkb.pages.serve import serve

    serve(directory, port, not no_open)


@cli.command()
@TRACKING
@KB
def doctor(tracking_uri: str | None, kb: str) -> int:
    """Check the installation, the store, the device and what is not shipped yet.

    Example: hpkb doctor
    """
    from hpkb import doctor as checks
    from hpkb.ship.address import as_meant

    results = checks.examine(as_meant(tracking_uri), Path(kb))
    for result in results:
        click.echo(f"{result.mark:<5}{result.what}: {result.says}")
    return 1 if any(result.mark == "fail" for result in results) else 0


@cli.command()
@click.option("--quick", is_flag=True, help="A sixth of the runs.")
@click.option(
    "--directory",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the runs go.",
)
@click.option(
    "--handbook",
    default=None,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the pages go. Default: DIR/handbook.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Runs at a time. Default: the cores there are.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of the design.")
def demo(quick: bool, directory: Path, handbook: Path | None, workers: int | None, seed: int) -> None:
    """A small real sweep, from training to handbook.

    Example: hpkb demo --quick
    """
    from hpkb import present
    from hpkb.demo import progress_bar, run_demo
    from hpkb.pipeline import AnalysisSettings, analyze_store

    workers = workers or cores()
    try:
        with progress_bar(sys.stderr) as progress:
            trained = run_demo(directory, quick, workers, seed, progress)
    except KeyboardInterrupt:
        raise HpkbError("Stopped; what ended is kept, and the same command goes on from there.") from None
    settings = AnalysisSettings(
        source=trained.tracking_uri,
        kb=directory / "hpkb.duckdb",
        handbook=handbook or directory / "handbook",
        workers=workers,
        seed=seed,
    )
    with present.stages(sys.stderr) as say:
        report = analyze_store(settings, say)
    click.echo(present.demo(trained, report))


def _source(option: str | None, kb: Path) -> str | None:
    """The store to read; None where none was named, none is at hand and the knowledge base alone is mined."""
    from hpkb.ship.address import as_meant

    named = option or os.environ.get("MLFLOW_TRACKING_URI")
    if named or Path("mlflow.db").exists() or not kb.exists():
        return as_meant(named)
    return None
