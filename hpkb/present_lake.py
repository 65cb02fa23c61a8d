"""What a lake holds and what was done to it, on a terminal or in a pipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from hpkb.lake.compaction import CompactionReport
from hpkb.lake.contents import Holding
from hpkb.lake.sync import SyncReport
from hpkb.present import text


def synced(report: SyncReport, format_: str) -> str:
    """Returns what a sync did."""
    if format_ == "json":
        return json.dumps(asdict(report), indent=1)
    lines = [
        f"{report.source} → {report.lake}",
        f"runs: {report.new:,} new, {report.changed:,} changed, {report.removed:,} removed, {report.unchanged:,} "
        f"unchanged; {report.points:,} points in {size(report.bytes)}",
        *(f"note: {note}" for note in report.notes),
        f"Next: hpkb analyze --tracking-uri {report.lake}",
    ]
    return "\n".join(lines)


def compacted(report: CompactionReport, format_: str) -> str:
    """Returns what a compaction did."""
    if format_ == "json":
        return json.dumps(asdict(report), indent=1)
    return f"{report.lake}: parts {report.parts_before:,} → {report.parts:,}; old files deleted: {report.deleted:,}"


def contents(holdings: Sequence[Holding], format_: str) -> str:
    """Returns what a lake holds, a line for each experiment of a store."""
    if format_ == "json":
        return json.dumps([asdict(holding) for holding in holdings], indent=1)
    table = Table(
        "store", "experiment", "months", "parts", "runs", "points", "size", box=None, pad_edge=False
    )
    for h in holdings:
        months = "" if h.months[0] is None else " to ".join(dict.fromkeys(m for m in h.months if m))
        numbers = (f"{h.parts:,}", f"{h.runs:,}", f"{h.points:,}", size(h.bytes))
        table.add_row(escape(h.source), escape(h.experiment or ""), months, *numbers)
    return text(table)


def size(n: int) -> str:
    """Returns bytes as a person reads them: 1.2 GB."""
    amount, unit = float(n), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"
