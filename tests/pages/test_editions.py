"""Editions: the last one is kept, and the pages say what is different."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpkb.findings import Finding
from hpkb.kb import editions
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.pages import write_handbook
from tests.pages import sample


def analyzed(base: KnowledgeBase, findings: list[Finding], **values: float) -> None:
    """What an analysis does with what it found; `values` are those of the default over all tasks that are others."""
    before = editions.present(base.connection)
    base.save_findings(findings)
    default = base.defaults(None)
    assert default
    default["configurations"][0]["values"] |= values
    base.save_default(None, default["verdict"], default)
    editions.turn(base.connection, before)


@pytest.fixture
def base() -> KnowledgeBase:
    """The sample as its first analysis left it, without the curves that take time to draw."""
    connection = sample.build()
    for table in ("curve_points", "curve_names"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("UPDATE findings SET figure = '{}'")
    return KnowledgeBase(connection)


def page(directory: Path, name: str) -> str:
    return (directory / name).read_text(encoding="utf-8").replace("&#39;", "'")


def test_the_first_edition_has_none_before_it(base: KnowledgeBase, tmp_path: Path) -> None:
    assert editions.last(base.connection) == editions.NOTHING
    write_handbook(base, tmp_path)
    assert "This is the first edition" in page(tmp_path, "index.html")
    assert "This is the first edition" in page(tmp_path, "handbook.md")


def test_what_moved_fell_rose_and_is_new_is_told(base: KnowledgeBase, tmp_path: Path) -> None:
    old = base.findings()
    sure = [f for f in old if f.verdict == "supported" and f.low is not None and isinstance(f.low, float)]
    fell, moved, gone = sure[0], sure[1], sure[2]
    rose = next(f for f in old if f.verdict == "insufficient")
    changed = {
        fell.id: replace(fell, verdict="insufficient", claim="Nobody knows any more."),
        moved.id: replace(moved, estimate=900.5, low=800.0, high=1000.0),
        rose.id: replace(rose, verdict="supported", claim="Now it is known."),
    }
    new = Finding("noise_floor", "wine_mlp", ("width",), "seed_sd", "A new one.", "rejected", 0.5, 0.4, 0.6)
    kept = [changed.get(f.id, f) for f in old if f.id != gone.id]
    analyzed(base, [*kept, new], learning_rate=0.008)
    write_handbook(base, tmp_path)
    told = page(tmp_path, "changes.html")
    assert "Edition 2" in told
    rows = dict(part.split("</th>", 1) for part in told.split('<tr><th scope="row">')[1:])
    assert {"no longer supported", "supported now", "left its old interval", "new", "no longer asked"} <= rows.keys()
    assert fell.claim in rows["no longer supported"]
    assert "Nobody knows any more." in rows["no longer supported"]
    assert gone.claim in rows["no longer asked"]
    assert "900" in rows["left its old interval"]
    assert '<td class="number">0.004</td><td class="number">0.008</td>' in rows["all tasks"]
    start, text = page(tmp_path, "index.html"), page(tmp_path, "handbook.md")
    assert "1 value of defaults moved; 1 claim fell, 1 claim rose" in " ".join(start.split())
    assert "learning_rate from 0.004 to 0.008" in text
    assert "Supported now: Now it is known." in text


def test_an_analysis_that_finds_the_same_is_no_new_edition(base: KnowledgeBase, tmp_path: Path) -> None:
    analyzed(base, base.findings(), learning_rate=0.008)
    write_handbook(base, tmp_path)
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    analyzed(base, base.findings(), learning_rate=0.008)
    assert editions.present(base.connection).number == 2
    write_handbook(base, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == there


def test_a_file_from_before_there_were_editions_is_read_and_goes_on(base: KnowledgeBase, tmp_path: Path) -> None:
    for table in ("last_edition", "suggestions"):
        base.connection.execute(f"DROP TABLE {table}")
    write_handbook(base, tmp_path)
    assert "This is the first edition" in page(tmp_path, "index.html")
    analyzed(base, base.findings(), learning_rate=0.02)
    assert editions.last(base.connection).number == 1


def test_an_edition_is_kept_as_it_was(base: KnowledgeBase) -> None:
    before = editions.present(base.connection)
    analyzed(base, base.findings()[1:])
    assert editions.last(base.connection) == before
