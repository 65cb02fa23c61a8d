"""Every number of a finding, on whatever page it stands, is the finding's own."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpkb.findings import Finding
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.pages import write_handbook
from hpkb.pages.formats import probability
from tests.pages import sample
from tests.pages.test_formats import read

#: A number on a page: whose it is, its exact value, what a person reads, and the interval beside it.
SHOWN = re.compile(
    r'<data data-finding="([0-9a-f]+)" value="([^"]*)">([^<]*)</data>'
    r'(?: <span class="interval">\[([^,]+), ([^\]]+)\]</span>)?'
)
Documents = dict[str, dict[str, Any]]


def check_pages(directory: Path, documents: Documents) -> Counter[str]:
    """Checks every number on every page, and returns how often each finding is shown."""
    shown: Counter[str] = Counter()
    for path in directory.rglob("*.html"):
        for identity, value, text, low, high in SHOWN.findall(path.read_text(encoding="utf-8")):
            shown[identity] += 1
            check(documents[identity], value, (text, low, high))
    return shown


def check(document: dict[str, Any], value: str, texts: tuple[str, str, str]) -> None:
    """Checks one number: `value` to the last bit, the texts to the digits that are shown."""
    estimate, low, high = (document[name] for name in ("estimate", "low", "high"))
    if estimate is None:
        assert (value, texts[0]) == ("", "–")
    elif isinstance(estimate, str):
        assert (value, texts[0]) == (estimate, estimate)
    else:
        assert float(value) == estimate
    assert bool(texts[1]) == (low is not None or high is not None), document
    ends = [end for end in (estimate, low, high) if isinstance(end, int | float)]
    width = max(ends, default=0.0) - min(ends, default=0.0)
    for text, true in zip(texts, (estimate, low, high), strict=True):
        if isinstance(true, int | float):
            assert abs(read(text) - true) <= max(0.06 * width, 0.0051 * abs(true)), (text, true)
        elif true is None and text:
            assert text in ("–", "open")


def check_evidence(directory: Path, documents: Documents) -> None:
    """Checks what the pages of evidence say of each finding: verdict, test, comparisons, runs."""
    pages = {p.relative_to(directory).as_posix(): p.read_text(encoding="utf-8") for p in directory.rglob("*.html")}
    everything = json.loads((directory / "findings.json").read_text())
    for finding in everything["findings"]:
        document = documents[finding["id"]]
        row = pages[evidence_page(everything, finding)].split(f'<tr id="finding-{finding["id"]}">')[1].split("</tr>")[0]
        assert f'<span class="chip {document["verdict"]}">{document["verdict"]}</span>' in row
        assert document["claim"] in row.replace("&#39;", "'")
        assert '<a href="#runs">all' in row or f"{document['n_configurations']:,} configurations" in row
        if document["q_value"] is not None:
            exact = re.search(r'<td data-value="([^"]*)">[^<]*<small>p ', row)
            shown = re.search(r"<td[^>]*>([^<]*)<small>p ([^<]*)</small>", row)
            assert shown is not None
            texts = [probability(document[name]).replace("<", "&lt;") for name in ("q_value", "p_value")]
            assert list(shown.groups()) == texts
            assert float(exact[1] if exact else shown[1]) == document["q_value"]
        assert {name: finding.get(name) for name in ("estimate", "low", "high", "p_value", "q_value", "n_runs")} == {
            name: document[name] for name in ("estimate", "low", "high", "p_value", "q_value", "n_runs")
        }


def evidence_page(everything: dict[str, Any], finding: dict[str, Any]) -> str:
    """The page on which a finding of findings.json stands."""
    task = finding["task"]
    return str(everything["tasks"][task]["evidence"] if task else everything["evidence"])


def documents_of(connection: duckdb.DuckDBPyConnection) -> Documents:
    found = (json.loads(text) for (text,) in connection.execute("SELECT document FROM findings").fetchall())
    return {document["id"]: document for document in found}


def test_every_number_on_the_samples_pages_is_the_findings_own(
    knowledge: duckdb.DuckDBPyConnection, handbook: Path
) -> None:
    documents = documents_of(knowledge)
    shown = check_pages(handbook, documents)
    assert shown.keys() == documents.keys()
    check_evidence(handbook, documents)


def test_every_value_of_a_default_is_the_recommendations_own(
    knowledge: duckdb.DuckDBPyConnection, handbook: Path
) -> None:
    start = (handbook / "index.html").read_text(encoding="utf-8")
    for task, text in knowledge.execute("SELECT task, document FROM defaults").fetchall():
        first = json.loads(text)["configurations"][0]
        page = (handbook / "tasks" / f"{task}.html").read_text(encoding="utf-8") if task else start
        settings_there = page.split('<dl class="settings">')[1].split("</dl>")[0]
        values = re.findall(r'<data value="([^"]*)">', settings_there)
        assert Counter(values) == Counter(str(v) for v in first["values"].values())
        assert f'<data value="{first["held_out_regret"]["mean"]}">' in page
        assert f"Worth <strong>{first['worth_random_trials']}</strong>" in page
        if task:
            row = start.split(f'<tr><th scope="row"><a href="tasks/{task}.html">')[1].split("</tr>")[0]
            cells = re.findall(r'data-value="([^"]*)"', row)
            assert Counter(cells) >= Counter(str(v) for v in first["values"].values())


@pytest.fixture(scope="module")
def bare() -> duckdb.DuckDBPyConnection:
    return sample.bare()


NUMBERS = st.one_of(
    st.none(), st.just(0.0), st.integers(-6, 6).map(float), st.floats(-2, 2), st.floats(1e-12, 1e12),
    st.floats(-1e-4, 1e-4), st.floats(-1e7, 1e7), st.sampled_from(["AdamW", "cosine"]),
)  # fmt: skip


@st.composite
def findings(draw: st.DrawFn) -> list[Finding]:
    """Findings of any numbers, as the knowledge base can hold them."""
    made = []
    for number in range(30):
        estimate = draw(NUMBERS)
        low, high = None, None
        if isinstance(estimate, float) and draw(st.booleans()):
            below, above = draw(st.floats(0, 3)), draw(st.floats(0, 3))
            low, high = estimate - below * abs(estimate), estimate + above * abs(estimate)
            low, high = draw(st.sampled_from([(low, high), (low, None), (None, high)]))
        p = draw(st.one_of(st.none(), st.floats(0, 1)))
        made.append(
            Finding(
                "response", draw(st.sampled_from([None, "wine_mlp", "digits_cnn"])), (f"knob_{number}",), "optimum",
                f"Claim {number}.", draw(st.sampled_from(["supported", "rejected", "insufficient"])), estimate, low,
                high, p_value=p, q_value=p, comparisons=draw(st.integers(0, 10_000)),
                n_runs=draw(st.integers(0, 20_000)), n_configurations=draw(st.integers(0, 5_000)),
                n_seeds=draw(st.integers(0, 9)),
            )
        )  # fmt: skip
    return made


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(findings())
def test_whatever_the_numbers_are(bare: duckdb.DuckDBPyConnection, made: list[Finding]) -> None:
    KnowledgeBase(bare).save_findings(made)
    documents = documents_of(bare)
    with tempfile.TemporaryDirectory() as folder:
        write_handbook(bare, Path(folder))
        shown = check_pages(Path(folder), documents)
        assert shown.keys() == documents.keys()
        check_evidence(Path(folder), documents)
