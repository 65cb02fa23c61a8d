"""`hpkb lake` as its user has it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kb.rawstore import RawStore
from tests.stores import Hpkb


def test_sync_show_compact_and_analyze(swept: RawStore, hpkb: Hpkb, tmp_path: Path) -> None:
    first = hpkb("lake", "sync", "--tracking-uri", swept.uri, tmp_path / "lake")
    assert first.returncode == 0, first.stderr
    assert "72 new, 0 changed, 0 removed, 0 unchanged; 10,080 points in" in first.stdout.replace("\n", " ")
    again = json.loads(
        hpkb("lake", "sync", "--tracking-uri", swept.uri, tmp_path / "lake", "--format", "json").stdout
    )
    assert (again["unchanged"], again["bytes"], again["parts"]) == (72, 0, 6)
    shown = hpkb("lake", "show", tmp_path / "lake").stdout
    assert "sweep, a/é" in shown
    assert "2025-08 to 2025-10" in shown
    assert "parts 6 → 6; old files deleted: 0" in hpkb("lake", "compact", tmp_path / "lake").stdout
    dry = hpkb("analyze", "--tracking-uri", tmp_path / "lake", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "on 3 tasks" in dry.stdout


def test_one_experiment_alone(swept: RawStore, hpkb: Hpkb, tmp_path: Path) -> None:
    everything = ("lake", "sync", "--tracking-uri", swept.uri, "--format", "json", tmp_path / "lake")
    one = (*everything, "--experiment", "sweep, a/é")
    assert json.loads(hpkb(*one).stdout)["new"] == 24
    rest = json.loads(hpkb(*everything).stdout)
    assert (rest["new"], rest["unchanged"]) == (48, 24)
    assert json.loads(hpkb(*one).stdout)["removed"] == 0


def test_what_cannot_be_done_is_said_in_one_line(swept: RawStore, hpkb: Hpkb, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, said in (
        (("show", tmp_path / "nothing"), "No lake at"),
        (("compact", tmp_path / "nothing"), "No lake at"),
        (("sync", "--tracking-uri", tmp_path / "no.db", tmp_path / "lake"), "no.db"),
        (("sync", "--tracking-uri", swept.uri, "--experiment", "x", tmp_path / "lake"), "No experiment 'x'"),
        (("sync", "--tracking-uri", swept.uri, "--engine", "spark", tmp_path / "lake"), "No engine 'spark'"),
        (("sync", "--tracking-uri", swept.uri, tmp_path / "file"), "file"),
        (("sync", "--tracking-uri", swept.uri, "ftp://host/lake"), "hpkb does not read 'ftp:'"),
    ):
        result = hpkb("lake", *arguments)
        assert result.returncode in (1, 2), arguments
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert said in result.stderr
        assert "a fault of hpkb" not in result.stderr, result.stderr
    assert not (tmp_path / "lake").exists()


def test_a_lake_whose_files_went_says_what_to_do(swept: RawStore, hpkb: Hpkb, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    assert hpkb("lake", "sync", "--tracking-uri", swept.uri, lake).returncode == 0
    next((lake / "features").rglob("*.parquet")).unlink()
    result = hpkb("analyze", "--tracking-uri", lake)
    assert result.returncode == 1
    assert "a fault of hpkb" not in result.stderr
    assert "hpkb lake sync" in result.stderr
