"""Prints how much of what decides a run is recorded, by hpkb and by MLflow's autolog, of the same ordinary scripts.

    python bench/recall.py [--only NAME] [--missing]

The scripts, and the true values of what decides their runs, are those of `tests/capture/community`. To autolog a value
counts as found under whatever name it was recorded, to hpkb only under the canonical one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpkb.ship.client import MlflowClient
from tests.capture.community.cases import CASES, SCRIPTS, Case
from tests.capture.community.recall import Record, Row, compare, of_run, same, share_found

AUTOLOG = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
if os.environ.get("RANK", "0") == "0":  # the others would make the same SQLite file at the same moment
    import mlflow
    import mlflow.pytorch
    mlflow.set_experiment("recall")
    mlflow.pytorch.autolog()  # by itself: under the general call below, its hook on Lightning fails to import
    mlflow.autolog(silent=True)
    mlflow.start_run()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(case: Case, folder: Path, command: tuple[str, ...]) -> tuple[dict[str, Any], Record]:
    """Returns what the script says of itself and what the store has of it."""
    folder.mkdir(parents=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "HPKB_SPOOL": str(folder / "spool"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case.name} failed: {done.stderr[-2000:]}")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("recall")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    record = of_run(runs[0]) if runs else Record({}, {})
    return json.loads((folder / "results.json").read_text()), record


def with_autolog(case: Case, folder: Path) -> tuple[str, ...]:
    """Returns the case's command with the script run under `mlflow.autolog()`."""
    folder.mkdir(parents=True, exist_ok=True)
    runner = folder / "autolog.py"
    runner.write_text(AUTOLOG)
    script = next(part for part in case.command if part.startswith(str(SCRIPTS)))
    at = case.command.index(script)
    return (*case.command[:at], str(runner), *case.command[at:])


def generous(rows: list[Row], record: Record) -> list[Row]:
    """Returns the rows with a value found wherever it stands, and without hpkb's own tags."""
    kept = [row for row in rows if not row.name.startswith("hpkb.") and row.verdict != "unchecked"]
    return [row if row.verdict != "missing" else _found_elsewhere(row, record) for row in kept]


def _found_elsewhere(row: Row, record: Record) -> Row:
    kind, _, name = row.name.rpartition(" ")
    plain = name.rpartition(".")[2].lower()
    values = record.metrics if kind == "curve" else record.sizes if kind == "examples" else record.params
    for recorded, value in values.items():
        similar = plain in recorded.lower() or recorded.lower() in plain or kind == "curve"
        if similar and same(row.truth, value):
            return Row(row.name, row.truth, value, "found")
    return row


def main() -> None:
    """Runs every script under both and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="run the scripts whose name contains this")
    parser.add_argument("--missing", action="store_true", help="list what hpkb has not, or has wrong")
    args = parser.parse_args()
    print(f"{'script':<24}{'fields':>7}{'hpkb':>9}{'wrong':>7}{'autolog':>9}{'wrong':>7}")
    everything: dict[str, list[Row]] = {"hpkb": [], "autolog": []}
    for case in CASES:
        if args.only and args.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as name:
            ours = Path(name) / "hpkb"
            hpkb = (sys.executable, "-m", "hpkb", "log", "--experiment", "recall", "--", *case.command)
            rows = compare(case, *run(case, ours, hpkb))
            scratch = Path(name) / "scratch"
            results, record = run(case, Path(name) / "autolog", with_autolog(case, scratch))
            theirs = generous(compare(case, results, record), record)
        everything["hpkb"] += rows
        everything["autolog"] += theirs
        _print(case.name, rows, theirs)
        if args.missing:
            for row in rows:
                if row.verdict in ("missing", "wrong", "unchecked"):
                    print(f"    {row.verdict:<10}{row.name}: {row.recorded!r} for {row.truth!r}")
    _print("all", everything["hpkb"], everything["autolog"])


def _print(name: str, ours: list[Row], theirs: list[Row]) -> None:
    wrong = [sum(row.verdict == "wrong" for row in rows) for rows in (ours, theirs)]
    fields = sum(row.verdict in ("found", "missing") for row in ours) + wrong[0]
    shares = f"{share_found(ours):>9.1%}{wrong[0]:>7}{share_found(theirs):>9.1%}{wrong[1]:>7}"
    print(f"{name:<24}{fields:>7}{shares}", flush=True)


if __name__ == "__main__":
    main()
