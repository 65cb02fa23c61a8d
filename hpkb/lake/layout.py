"""What the files of a lake hold, and what their paths are."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from urllib.parse import quote

import pyarrow as pa

from hpkb.sources import CURVES, HARDWARE, PARAMETERS, SPLITS, TEXT, TIME, schema

#: The file that a part has of each kind, and its columns; those of features and gaps are the knowledge base's.
RUNS = schema(
    run_id=TEXT, experiment_name=TEXT, run_name=TEXT, status=TEXT, started_at=TIME, ended_at=TIME, stated_task=TEXT,
    end_reason=TEXT, source=TEXT, fingerprint=TEXT,
)  # fmt: skip
FILES: Mapping[str, pa.Schema | None] = {
    "runs": RUNS, "parameters": PARAMETERS, "hardware": HARDWARE, "splits": SPLITS, "features": None, "gaps": None,
    "points": CURVES,
}  # fmt: skip

NONE = "__HIVE_DEFAULT_PARTITION__"  # Hive's name for no value
MANIFESTS = "_hpkb"
_LONGEST = 100  # bytes of a folder's value; a file system takes 255, and Hive's name before it counts
_KEPT = 70


def folder_of(experiment: str | None, task: str | None, month: str | None) -> str:
    """Returns the folder of a part below that of its kind."""
    named = {"experiment": experiment, "task": task, "month": month}
    return "/".join(f"{name}={_value(value)}" for name, value in named.items())


def month_of(moment: dt.datetime | None) -> str | None:
    """Returns 2026-11 of a time in November 2026, which is UTC like all times."""
    return None if moment is None else f"{moment:%Y-%m}"


def _value(value: str | None) -> str:
    if value is None:
        return NONE
    encoded = quote(value, safe=" ")
    if len(encoded) <= _LONGEST:
        return encoded
    cut = encoded[:_KEPT].rpartition("%")[0] or encoded[:_KEPT]  # through no letter that takes several
    return f"{cut}~{hashlib.blake2b(value.encode(), digest_size=6).hexdigest()}"
