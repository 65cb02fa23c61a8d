"""The small tables of an MLflow store, from runs as the REST endpoint `runs/search` describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hpkb.sources.mlflow import SMALL_TABLES

_ARTIFACTS = pa.schema([("run_id", pa.string()), ("artifact_uri", pa.string())])
_TAGS = frozenset({"mlflow.runName", "mlflow.source.git.commit"})  # and all of hpkb's own


class SearchedRuns:
    """Rows of the small tables, of runs as `runs/search` describes them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in (*SMALL_TABLES, "artifacts")}
        self._seen: set[str] = set()

    def add(self, run: Mapping[str, Any], experiments: Mapping[str, str]) -> None:
        """Takes a run over, once."""
        info, data = run["info"], run.get("data") or {}
        run_id, experiment = (
            str(info.get("run_id") or info["run_uuid"]),
            experiments.get(str(info["experiment_id"])),
        )
        if run_id in self._seen or experiment is None:
            return
        self._seen.add(run_id)
        rows = self._rows
        times = (integer(info.get("start_time")), integer(info.get("end_time")))
        name, status = info.get("run_name") or "", info.get("status") or ""
        rows["runs"].append((run_id, experiment, name, status, *times))
        rows["params"] += [
            (run_id, param["key"], param.get("value", "")) for param in data.get("params") or []
        ]
        tags = {tag["key"]: tag.get("value", "") for tag in data.get("tags") or []}
        rows["tags"] += [
            (run_id, *tag) for tag in tags.items() if tag[0].startswith("hpkb.") or tag[0] in _TAGS
        ]
        for metric in data.get("metrics") or []:
            point = (
                number(metric.get("value")),
                float(metric.get("step", 0)),
                integer(metric.get("timestamp")),
            )
            rows["latest"].append((run_id, metric["key"], *point))
        for given in (run.get("inputs") or {}).get("dataset_inputs") or []:
            about, said = (
                given["dataset"],
                {tag["key"]: tag.get("value", "") for tag in given.get("tags") or []},
            )
            context = said.get("mlflow.data.context", "")
            rows["inputs"].append((run_id, context, about.get("digest"), about.get("profile") or ""))
        if "hpkb.curves" in tags and info.get("artifact_uri"):
            rows["artifacts"].append((run_id, info["artifact_uri"]))

    def tables(self) -> dict[str, pa.Table]:
        """Returns them as Arrow tables."""
        schemas = {**SMALL_TABLES, "artifacts": _ARTIFACTS}
        return {name: _table(self._rows[name], schema) for name, schema in schemas.items()}


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


def number(value: Any) -> float:
    """Returns a value of JSON; NaN and infinities come as text from one endpoint and bare from another."""
    return math.nan if value is None else float(value)


def integer(value: Any) -> int:
    """Returns a time in milliseconds, -1 where there is none."""
    return -1 if value is None else int(value)
