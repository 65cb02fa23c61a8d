"""Writes what is committed of handbooks anew: `python -m tests.pages.regenerate [KNOWLEDGE BASE]`.

The handbook of the demo in `handbook/`, from its knowledge base in `tests/pages/demo_knowledge/`, and the golden pages
in `tests/pages/golden/`. With the knowledge base of a new demo, the committed one is first replaced by what pages need
of it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import duckdb

from hpkb.pages import write_handbook
from tests.pages import sample, small

HERE = Path(__file__).parent
HANDBOOK = HERE.parents[1] / "handbook"
KNOWLEDGE = HERE / "demo_knowledge"
GOLDEN = HERE / "golden"
#: The pages that are kept of the small handbook: one of each kind, and what is for programs.
KEPT = (
    "index.html", "changes.html", "gaps.html", "about.html", "questions/noise_floor.html", "tasks/digits.html",
    "hyperparameters/learning_rate.html", "evidence/digits.html", "handbook.md", "defaults.yaml", "findings.json",
    "llms.txt",
)  # fmt: skip
#: What pages are made of, table by table; of the curves only those that a page can show.
TABLES = {
    "meta": "SELECT * FROM meta ORDER BY name",
    "sources": "SELECT 'sqlite:///mlflow.db' AS source, min(kind) AS kind, TIMESTAMP '2026-01-01' AS at FROM sources",
    "tasks": "SELECT * FROM tasks ORDER BY task_id",
    "runs": "SELECT * REPLACE ('sqlite:///mlflow.db' AS source) FROM runs ORDER BY task_id, run_id",
    "hyperparameters": "SELECT * FROM hyperparameters ORDER BY name, run_id",
    "splits": "SELECT * FROM splits ORDER BY role, run_id",
    "hardware": "SELECT * FROM hardware ORDER BY name, run_id",
    "findings": "SELECT * FROM findings ORDER BY miner, finding_id",
    "defaults": "SELECT * FROM defaults ORDER BY task",
    "suggestions": "SELECT * FROM suggestions ORDER BY task",
    "last_edition": "SELECT * FROM last_edition ORDER BY kind, name",
    "curve_names": "SELECT * FROM drawn ORDER BY curve",
    "curve_points": "SELECT p.* FROM curve_points p JOIN drawn USING (curve) ORDER BY curve, step, timestamp, value",
}
_DRAWN = """-- One row per curve of a run that is among the best of its task, or that failed.
CREATE TEMP VIEW drawn AS
WITH ranked AS (
    SELECT run_id, infeasible, t.metric AS objective,
        row_number() OVER (PARTITION BY task_id ORDER BY objective_min NULLS LAST, run_id) AS place
    FROM runs JOIN tasks t USING (task_id))
SELECT c.* FROM curve_names c JOIN ranked r USING (run_id)
WHERE (r.place <= 3 OR r.infeasible) AND c.metric IN (r.objective, 'train_loss')"""


def pack(knowledge_base: Path, folder: Path = KNOWLEDGE) -> None:
    """Puts what the pages need of a knowledge base into a folder, one Parquet file a table."""
    folder.mkdir(exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{knowledge_base}' AS kb (READ_ONLY)")
        for name in TABLES:
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM kb.{name}")
        connection.execute(_DRAWN)
        for name, query in TABLES.items():
            target = folder / f"{name}.parquet"
            connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19)")


def unpack(folder: Path = KNOWLEDGE) -> duckdb.DuckDBPyConnection:
    """Returns a connection to a knowledge base in memory with what was packed."""
    connection = sample.empty()
    for name in TABLES:
        connection.execute(f"INSERT INTO {name} SELECT * FROM '{folder / name}.parquet'")
    return connection


def write_golden(folder: Path) -> None:
    """Writes the golden pages into a folder."""
    with small.build() as connection, tempfile.TemporaryDirectory() as whole:
        write_handbook(connection, Path(whole))
        for name in KEPT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(Path(whole, name).read_bytes())


def main(arguments: list[str]) -> None:
    """Writes all of it anew."""
    if arguments:
        pack(Path(arguments[0]))
    if (KNOWLEDGE / "runs.parquet").exists():
        with unpack() as connection:
            write_handbook(connection, HANDBOOK)
    write_golden(GOLDEN)


if __name__ == "__main__":
    main(sys.argv[1:])
