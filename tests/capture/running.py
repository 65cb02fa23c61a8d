"""Runs ordinary scripts as captured children, with nothing but the two environment variables set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpkb.capture
from hpkb.capture.spool import Points
from hpkb.capture.spool_reader import SpoolReader

SCRIPTS = Path(__file__).parent / "scripts"
INJECT = Path(hpkb.capture.__file__).parent / "inject"


@dataclass(frozen=True)
class Captured:
    """What a script printed and how it ended, beside what its spools hold; one list of records a process."""

    stdout: str
    stderr: str
    returncode: int
    processes: tuple[list[Any], ...]

    @property
    def records(self) -> list[Any]:
        """The records of the only captured process."""
        (only,) = self.processes
        return only

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if isinstance(record, dict) and record["type"] == kind]

    @property
    def params(self) -> dict[str, Any]:
        return {name: value for record in self.of_type("params") for name, value in record["values"].items()}

    @property
    def end(self) -> dict[str, Any]:
        (end,) = self.of_type("end")
        return end

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        return {record["role"]: record for record in self.of_type("split")}

    def curve(self, name: str) -> list[tuple[int, float]]:
        points = [record for record in self.records if isinstance(record, Points)]
        return [(point.step, point.values[name]) for point in points if name in point.values]

    def printed(self, name: str) -> list[float]:
        return [float(text) for text in re.findall(rf"\b{name}[=:] ?([-+.\w]+)", self.stdout)]


def environment(run_dir: Path | None) -> dict[str, str]:
    """The environment of a child; without a run folder that of the same script by itself."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HPKB_", "PYTHON"))}
    if run_dir is None:
        return plain
    return {**plain, "HPKB_RUN_DIR": str(run_dir), "PYTHONPATH": str(INJECT)}


def spools(run_dir: Path) -> tuple[list[Any], ...]:
    """The records of every spool file of the folder, read to the end without damage."""
    found = []
    for file in sorted(run_dir.glob("*.spool")):
        reader = SpoolReader(str(file))
        found.append([record for _, record in reader.read()])
        assert reader.damage is None
        assert reader.position == file.stat().st_size
    return tuple(found)


Run = Callable[..., Captured]
RunEach = Callable[[str, Iterable[str]], dict[str, Captured]]
