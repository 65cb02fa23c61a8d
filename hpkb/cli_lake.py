"""The commands `hpkb lake`: the runs of stores as Parquet, in a folder or in object storage."""

from __future__ import annotations

import sys

import click

from hpkb.cli_options import ENGINE, EXPERIMENTS, TRACKING, WORKERS, cores, format_option


@click.group()
def lake() -> None:
    """Keep runs as Parquet files, in a folder or in object storage: `hpkb analyze --tracking-uri LAKE`.

    Example: hpkb lake sync --tracking-uri http://mlflow:5000 s3://runs/lake
    """


@lake.command()
@TRACKING
@EXPERIMENTS
@ENGINE
@WORKERS
@format_option("table", "json")
@click.argument("address", metavar="LAKE")
def sync(
    tracking_uri: str | None,
    experiments: tuple[str, ...],
    engine: str,
    workers: int | None,
    format_: str,
    address: str,
) -> None:
    """Bring a store's new and changed runs into LAKE, a folder or s3://BUCKET/PREFIX.

    Example: hpkb lake sync --tracking-uri http://mlflow:5000 s3://runs/lake
    """
    from functools import partial

    from hpkb import present, present_lake
    from hpkb.engine import engine_of
    from hpkb.lake.sync import sync
    from hpkb.ship.address import as_meant
    from hpkb.sources import open_source

    opener = partial(open_source, as_meant(tracking_uri))
    with present.stages(sys.stderr) as say, engine_of(engine, workers or cores()) as by:
        report = sync(address, opener, by, experiments, say)
    click.echo(present_lake.synced(report, format_))


@lake.command()
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Delete files that the lake has not listed for so long. Who reads the lake, or writes into it, must be done "
    "sooner than that.",
)
@ENGINE
@WORKERS
@format_option("table", "json")
@click.argument("address", metavar="LAKE")
def compact(older_than: float, engine: str, workers: int | None, format_: str, address: str) -> None:
    """Merge the small files of LAKE and delete those that were replaced.

    Example: hpkb lake compact s3://runs/lake
    """
    from hpkb import present_lake
    from hpkb.engine import engine_of
    from hpkb.lake.compaction import compact

    with engine_of(engine, workers or cores()) as by:
        report = compact(address, by, older_than * 3600)
    click.echo(present_lake.compacted(report, format_))


@lake.command()
@format_option("table", "json")
@click.argument("address", metavar="LAKE")
def show(format_: str, address: str) -> None:
    """Print what LAKE holds, by experiment.

    Example: hpkb lake show s3://runs/lake
    """
    from hpkb import present_lake
    from hpkb.lake.contents import contents

    click.echo(present_lake.contents(contents(address), format_))
