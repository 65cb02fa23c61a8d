"""The handbook for programs: Markdown, JSON and YAML beside the pages, with the same numbers and as safe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hpkb.pages import write_handbook
from hpkb.pages.markdown import code, escaped
from tests.pages import hostile, sample


@pytest.fixture(scope="module")
def hostile_handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hostile")
    with hostile.build() as connection:
        write_handbook(connection, directory)
    return directory


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a Markdown text, as GitHub reads it."""
    for token in MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text):
        yield token
        yield from token.children or ()


def test_findings_json_has_every_finding_with_its_own_numbers(
    knowledge: duckdb.DuckDBPyConnection, handbook: Path
) -> None:
    found = json.loads((handbook / "findings.json").read_text())
    by_id = {finding["id"]: finding for finding in found["findings"]}
    documents = [json.loads(d) for (d,) in knowledge.execute("SELECT document FROM findings").fetchall()]
    assert by_id.keys() == {d["id"] for d in documents}
    for document in documents:
        finding = by_id[document["id"]]
        same = document.keys() - {"run_ids", "id", "condition", "comparisons"}
        assert {name: finding.get(name) for name in same} == {name: document[name] or None for name in same} | {
            name: document[name] for name in same if document[name] == 0
        }
        everything = [run for task in finding.get("all_runs_of", []) for run in found["tasks"][task]["run_ids"]]
        assert sorted([*finding.get("run_ids", []), *everything]) == sorted(document["run_ids"])
        page = found["tasks"][finding["task"]]["evidence"] if finding["task"] else found["evidence"]
        assert f'<tr id="finding-{finding["id"]}">' in (handbook / page).read_text()


def test_defaults_yaml_has_every_recommendation(knowledge: duckdb.DuckDBPyConnection, handbook: Path) -> None:
    found = yaml.safe_load((handbook / "defaults.yaml").read_text())
    for task, text in knowledge.execute("SELECT task, document FROM defaults").fetchall():
        document, own = json.loads(text), found["tasks"][task] if task else found["all_tasks"]
        first = document["configurations"][0]
        assert own["values"] == first["values"]
        assert own["safe_range"] == first["plateau"]
        assert own["held_out_regret"] == first["held_out_regret"]
        assert own["worth_random_trials"] == first["worth_random_trials"]
        assert (own["verdict"], own["findings"]) == (document["verdict"], first["finding_ids"])


def test_llms_txt_leads_to_what_is_there(handbook: Path) -> None:
    links = [str(t.attrGet("href")) for t in tokens((handbook / "llms.txt").read_text()) if t.type == "link_open"]
    assert len(links) > 20
    for link in links:
        assert (handbook / link).is_file(), link


def test_the_markdown_says_what_the_pages_say(knowledge: duckdb.DuckDBPyConnection, handbook: Path) -> None:
    text = (handbook / "handbook.md").read_text()
    words = "".join(t.content for t in tokens(text) if t.type in ("text", "text_special", "code_inline"))
    for (claim,) in knowledge.execute("SELECT claim FROM findings").fetchall():
        assert claim in words, claim
    tables = [t for t in tokens(text) if t.type == "table_open"]
    assert len(tables) >= 12  # a default and a table of findings a question, the best configurations a task


def test_no_name_becomes_markdown(hostile_handbook: Path) -> None:
    pages = {p.relative_to(hostile_handbook).as_posix() for p in hostile_handbook.rglob("*.html")}
    for name in ("handbook.md", "llms.txt"):
        found = list(tokens((hostile_handbook / name).read_text(encoding="utf-8")))
        assert not {t.type for t in found} & {"html_block", "html_inline", "image", "fence", "hr"}
        assert sum(t.type == "blockquote_open" for t in found) == (name == "llms.txt")  # its summary
        links = {str(t.attrGet("href")) for t in found if t.type == "link_open"}
        assert links <= pages | {"defaults.yaml", "findings.json", "handbook.md"}
        levels = {t.tag for t in found if t.type == "heading_open"}
        assert levels <= {"h1", "h2", "h3"}
        assert sum(t.tag == "h1" for t in found if t.type == "heading_open") == 1


def test_hostile_names_stay_valid_json_and_yaml(hostile_handbook: Path) -> None:
    found = json.loads((hostile_handbook / "findings.json").read_text())
    assert len(found["findings"]) == 2 * len(hostile.STRINGS)
    assert yaml.safe_load((hostile_handbook / "defaults.yaml").read_text()) == {"edition": 1, "tasks": {}}


MARKS = ("1. one", "- x", "# h", "www.evil.example", "a|b", "`", "$x$", "~~x~~")


@pytest.mark.parametrize("text", [*hostile.STRINGS, *MARKS])
@pytest.mark.parametrize("place", ["- {}\n", "{}\n", "| a |\n| --- |\n| {} |\n", "### {}\n"])
def test_text_in_markdown_is_text(text: str, place: str) -> None:
    plain = {t.type for t in tokens(place.format("x"))}
    found = list(tokens(place.format(escaped(text))))
    assert {t.type for t in found} <= plain | {"text_special"}
    shown = "".join(t.content for t in found if t.type in ("text", "text_special"))
    assert shown.replace("…", "")[:20].strip()


@pytest.mark.parametrize("text", ["`", "``a`b", "a|b", "x" * 3000, "</code>", "\n# h"])
def test_code_in_markdown_is_code(text: str) -> None:
    found = list(tokens(f"- {code(text)}: after\n"))
    assert [t.type for t in found if t.type == "code_inline"] == ["code_inline"]
    assert found[-3].type != "html_block"


SECRET = "hf_" + "A1b2C3d4E5f6G7h8I9j0"  # looks like one; made up
TOKEN = "correct horse battery"


def test_secrets_that_a_tool_recorded_do_not_leave(tmp_path: Path) -> None:
    with sample.build() as connection:
        first = connection.execute("SELECT min(run_id) FROM runs WHERE task_id = 'wine_mlp'").fetchall()[0][0]
        for name, text in (("api_key", TOKEN), ("note", f"see {SECRET}"), ("password", TOKEN)):
            sample.insert(connection, {"hyperparameters": [(first, name, text, None, "param", name)]})
        bound = {"run": first, "text": f"login with {SECRET} failed"}
        connection.execute("UPDATE runs SET run_name = $text, end_reason = $text WHERE run_id = $run", bound)
        connection.execute("UPDATE tasks SET name = $name WHERE task_id = 'wine_mlp'", {"name": f"wine {SECRET}"})
        connection.execute("UPDATE hardware SET value = $value", {"value": f"EPYC api_key={TOKEN.split()[0]}secret1"})
        connection.execute(
            "UPDATE findings SET claim = '', document = replace(document, 'wine_mlp', $text)", {"text": TOKEN}
        )
        write_handbook(connection, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert SECRET not in text, path
            assert TOKEN not in text, path
            assert "correctsecret1" not in text, path
