"""The files of the handbook: what is in them, which are written, which are removed."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
import pytest

from hpkb.findings import Finding
from hpkb.pages import HandbookError, build, write_handbook
from hpkb.pages.writer import MANIFEST
from tests.pages import hostile, html, sample

parsed = functools.cache(html.pages)


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def hostile_handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hostile")
    with hostile.build() as connection:
        write_handbook(connection, directory)
    return directory


@pytest.fixture(scope="module", params=["handbook", "hostile_handbook", "crowded_handbook"])
def either(request: pytest.FixtureRequest) -> Path:
    """The sample's handbook, then the hostile ones."""
    directory: Path = request.getfixturevalue(request.param)
    return directory


def test_the_same_knowledge_base_gives_the_same_bytes_and_touches_no_file(
    knowledge: duckdb.DuckDBPyConnection, handbook: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in handbook.rglob("*") if p.is_file()}
    contents = files(handbook)
    written = write_handbook(knowledge, handbook)
    assert files(handbook) == contents
    assert {p: p.stat().st_mtime_ns for p in handbook.rglob("*") if p.is_file()} == before
    assert {p.relative_to(handbook).as_posix() for p in written} == contents.keys() - {MANIFEST}


def test_the_same_rows_give_the_same_bytes_in_another_place(handbook: Path, tmp_path: Path) -> None:
    with sample.build(tmp_path / "kb.duckdb") as connection:
        write_handbook(connection, tmp_path / "handbook")
    assert files(tmp_path / "handbook") == files(handbook)


def test_every_page_is_well_formed_with_ids_of_its_own(either: Path) -> None:
    for name, page in parsed(either).items():
        assert not page.wrong, name
        assert not page.open, name
        assert len(page.ids) == len(set(page.ids)), name


def test_every_link_and_anchor_is_there(either: Path) -> None:
    pages = parsed(either)
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                assert link.startswith(sample.SERVER)
                continue
            assert not parts.scheme, link
            target = (
                (either / name).parent.joinpath(unquote(parts.path)).resolve()
                if parts.path
                else either / name
            )
            assert target.is_file(), f"{name}: {link}"
            if parts.fragment:
                assert (
                    unquote(parts.fragment) in pages[target.relative_to(either.resolve()).as_posix()].ids
                ), link


def test_no_name_becomes_markup(either: Path) -> None:
    for name, page in parsed(either).items():
        assert page.tags.count("script") == 2, name
        assert not {"img", "iframe", "style", "object", "form", "b"} & set(page.tags), name
        for tag, attribute, value in page.attributes:
            assert not attribute.startswith("on"), name
            assert attribute != "style", f"{name}: the policy forbids it"
            if attribute in ("href", "src"):
                assert not value.strip().lower().startswith(("javascript:", "data:")), f"{name}: {tag}"


def test_every_page_has_a_strict_policy(either: Path) -> None:
    for page in parsed(either).values():
        assert any(
            value.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
            for _, _, value in page.attributes
        )


def test_long_names_make_no_long_pages(hostile_handbook: Path) -> None:
    assert max(path.stat().st_size for path in hostile_handbook.rglob("*.html")) < 600_000


def test_every_finding_leads_to_the_runs_behind_it(tmp_path: Path) -> None:
    with sample.bare() as connection:
        some = connection.execute(
            "SELECT run_id FROM runs WHERE task_id = 'wine_mlp' ORDER BY run_id LIMIT 5"
        ).fetchall()
        ids = tuple(run_id for (run_id,) in some)
        finding = Finding(
            "importance", "wine_mlp", ("epochs",), "variance_share", "Few runs.", "rejected", run_ids=ids
        )
        sample.insert_finding(connection, finding)
        write_handbook(connection, tmp_path)
    page = (tmp_path / "questions" / "importance.html").read_text(encoding="utf-8")
    assert f'href="../evidence/wine_mlp.html#finding-{finding.id}"' in page
    evidence = (tmp_path / "evidence" / "wine_mlp.html").read_text(encoding="utf-8")
    own = evidence.split(f'<tr id="finding-{finding.id}">')[1].split("</tr>")[0]
    (runs,) = re.findall(r'href="../evidence/wine_mlp.html#(runs-[0-9a-f]+)"', own)
    listed = evidence.split(f'id="{runs}"')[1].split("</article>")[0]
    assert re.findall(r'href="../tasks/wine_mlp.html#run-([0-9a-f]+)"', listed) == list(ids)


def test_every_finding_with_numbers_for_a_chart_has_its_chart(
    knowledge: duckdb.DuckDBPyConnection, handbook: Path
) -> None:
    for identity, miner in knowledge.execute(
        "SELECT finding_id, miner FROM findings WHERE figure <> '{}' AND task IS NOT NULL"
    ).fetchall():
        page = (handbook / "questions" / f"{miner}.html").read_text(encoding="utf-8")
        figures = [part.split("</figure>")[0] for part in page.split("<figure")[1:]]
        assert sum(f"#finding-{identity}" in figure and "<svg" in figure for figure in figures) >= 1


def test_beside_the_default_stand_torchs_own_the_family_and_what_a_search_is_worth(handbook: Path) -> None:
    said = " ".join(re.sub(r"<[^>]+>", "", (handbook / "index.html").read_text()).split())
    assert "torch's own default has 0.71 [0.52, 0.93]: AdamW with learning rate 0.001, weight decay 0.01." in said
    assert "With the task's whole family left out (by the data set): " in said
    assert "Random trials worth spending: 6 (4 to 9) on learning rate; 40 (22 to more than was tried) on " in said
    assert "If the batch size is 64, learning rate 0.002; at 256, 0.004 (beyond what was tried)." in said


def test_each_run_says_how_to_open_it(handbook: Path) -> None:
    served = (handbook / "tasks" / "text_transformer.html").read_text(encoding="utf-8")
    assert len(re.findall(rf'href="{sample.SERVER}/#/runs/[0-9a-f]{{32}}"', served)) == 72
    local = (handbook / "tasks" / "wine_mlp.html").read_text(encoding="utf-8")
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in local
    assert "/srv/team" not in local


def test_the_page_of_names_says_what_was_read_as_what_and_asks(tmp_path: Path) -> None:
    with sample.bare() as connection:
        connection.execute("UPDATE hyperparameters SET recorded = 'optim.lr' WHERE name = 'learning_rate'")
        connection.execute(
            "UPDATE hyperparameters SET recorded = 'bs', name = 'ambiguous.bs' WHERE name = 'batch_size'"
        )
        write_handbook(connection, tmp_path)
    text = (tmp_path / "names.html").read_text()
    assert "<code>optim.lr</code>" in text
    assert "ambiguous.bs" in text
    assert "is what one forward pass sees, or what an optimizer step does?" in text
    assert "hyperparameters = { &#34;bs&#34; = &#34;micro_batch_size&#34; }" in text


def test_stale_pages_go_and_nobody_elses_files_do(tmp_path: Path) -> None:
    directory, outside = tmp_path / "handbook", tmp_path / "outside.html"
    outside.write_text("mine")
    with sample.bare() as connection:
        write_handbook(connection, directory)
        (directory / "notes.txt").write_text("mine")
        (directory / "tasks" / "link.html").symlink_to(outside)
        listed = json.loads((directory / MANIFEST).read_text())
        listed["files"] |= dict.fromkeys(["../outside.html", "tasks/link.html", "/etc/hostname", "", "tasks"], "")
        (directory / MANIFEST).write_text(json.dumps(listed))
        connection.execute("UPDATE runs SET task_id = NULL WHERE task_id = 'wine_mlp'")
        write_handbook(connection, directory)
    assert not (directory / "tasks" / "wine_mlp.html").exists()
    assert (directory / "tasks" / "digits_cnn.html").exists()
    assert outside.read_text() == "mine"
    assert (directory / "notes.txt").read_text() == "mine"


def test_pages_of_an_edition_that_had_only_names_in_its_list_go(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("earlier")
    (tmp_path / "old.html").write_text("earlier")
    (tmp_path / MANIFEST).write_text(json.dumps(["index.html", "old.html"]))
    with sample.bare() as connection:
        write_handbook(connection, tmp_path)
    assert not (tmp_path / "old.html").exists()


def test_a_handbook_that_is_there_already_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    whole = build.build
    monkeypatch.setattr(build, "build", lambda *args: drawn.append(1) or whole(*args))
    with sample.bare() as connection:
        first = write_handbook(connection, tmp_path)
        before = files(tmp_path)
        assert sorted(write_handbook(connection, tmp_path)) == sorted(first)
        assert len(drawn) == 1
        (tmp_path / "index.html").write_text("spoilt")
        write_handbook(connection, tmp_path)
        assert (len(drawn), files(tmp_path)) == (2, before)
        (tmp_path / "about.html").unlink()
        write_handbook(connection, tmp_path)
        assert (len(drawn), files(tmp_path)) == (3, before)
        connection.execute("UPDATE runs SET run_name = 'another' WHERE run_id = (SELECT min(run_id) FROM runs)")
        write_handbook(connection, tmp_path)
        assert len(drawn) == 4


def test_a_page_that_is_not_ours_is_not_overwritten(
    knowledge: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(HandbookError, match="did not write"):
        write_handbook(knowledge, tmp_path)
    assert files(tmp_path) == {"index.html": b"mine"}


def test_a_folder_that_cannot_be_written_is_one_clear_sentence(
    knowledge: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HandbookError, match="cannot be written"):
        write_handbook(knowledge, tmp_path / "file")


def test_an_empty_knowledge_base_has_a_start_page(tmp_path: Path) -> None:
    with sample.empty() as connection:
        write_handbook(connection, tmp_path)
    assert "From 0 runs on 0 tasks" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_default_that_the_runs_do_not_support_is_said_to_be_none(tmp_path: Path) -> None:
    with sample.empty() as connection:
        document = {
            "task": None,
            "objective": "",
            "configurations": [],
            "rules": [],
            "verdict": "insufficient",
            "reason": "Too few tasks.",
        }
        sample.insert(connection, {"defaults": [("", "insufficient", json.dumps(document))]})
        write_handbook(connection, tmp_path)
    assert re.search(
        r"insufficient</span> Too few tasks\.", (tmp_path / "index.html").read_text(encoding="utf-8")
    )
