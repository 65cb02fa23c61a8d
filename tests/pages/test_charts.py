"""The drawings: what stands where, what a dot keeps for the script, what is left out of a line."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpkb.pages import bars, charts, svg
from hpkb.pages.bars import Bar
from hpkb.pages.charts import Words
from hpkb.pages.parts import Listed

WORDS = Words("optimum 0.01", "")
NOWHERE = Listed("", -1, None, {})


def response(points: list[dict[str, Any]], x: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "response", "x": x, "y": {"label": "val_loss", "scale": "linear"}, "points": points, **more}


def run(number: int, x: Any, y: float | None) -> dict[str, Any]:
    return {"x": x, "y": y, "run_id": str(number), "infeasible": y is None}


@given(st.lists(st.floats(0, 300), min_size=1, max_size=80))
@settings(max_examples=200, deadline=None)
def test_a_line_passes_every_point_that_was_left_out(heights: list[float]) -> None:
    places = [(5.0 * i, y) for i, y in enumerate(heights)]
    kept = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", svg.drawn(places)), dtype=float)
    drawn = np.interp([x for x, _ in places], kept[:, 0], kept[:, 1])
    assert np.abs(drawn - heights).max() <= 0.2 + 0.051  # and half of the last digit


def test_a_straight_line_is_two_points() -> None:
    assert svg.drawn([(float(i), 10.0) for i in range(100)]) == "M0 10 99 10"
    assert svg.drawn([(7.0, float(i)) for i in range(50)], upright=True) == "M7 0 7 49"


def test_a_dot_says_only_what_its_runs_file_does_not() -> None:
    listed = {
        "0": Listed("runs/t.js", 3, 0.5, {"lr": 0.1}), "1": Listed("runs/t.js", 7, 0.25, {"lr": 0.2}),
        "2": Listed("runs/t.js", 9, 0.75, {}), "3": Listed("runs/t.js", 11, None, {"lr": 0.4}),
    }  # fmt: skip
    points = [run(0, 0.1, 0.5), run(1, 0.2, 0.3), run(2, 0.3, 0.75), run(3, 0.4, None)]
    figure = response(points, {"label": "lr", "scale": "log"})
    drawn = charts.response(figure, listed.__getitem__, WORDS)
    assert re.findall(r'data-p="([^"]*)"', drawn) == ["3;4  0.3;2 0.3", "11  x"]
    assert "data-runs='runs/t.js'" in drawn
    assert json.loads(html.unescape(re.findall("data-names='([^']*)'", drawn)[0])) == ["lr"]


def test_dots_stand_where_their_values_are() -> None:
    figure = response([run(0, 1e-4, 0.0), run(1, 1e-2, 1.0)], {"label": "lr", "scale": "log"})
    drawn = charts.response(figure, lambda _: NOWHERE, WORDS)
    (x0, y0), (x1, y1) = ((float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)z", drawn))
    ticks = dict(re.findall(r'<text x="([\d.]+)" y="272">([^<]+)</text>', drawn))
    named = {text: float(x) for x, text in ticks.items()}
    assert abs(named["1e-4"] - x0) <= 0.5
    assert abs(named["0.01"] - x1) <= 0.5
    assert y0 > y1


def test_a_zero_on_a_log_axis_has_a_mark_of_its_own() -> None:
    points = [run(0, 0.0, 0.2), run(1, 1e-3, 0.1), run(2, 1e-1, 0.3)]
    drawn = charts.response(response(points, {"label": "wd", "scale": "log"}), lambda _: NOWHERE, WORDS)
    assert ">0</text>" in drawn
    outside = charts.response(
        response(points[1:], {"label": "wd", "scale": "log"}, plateau=[0.0, 1e-2]), lambda _: NOWHERE, WORDS
    )
    assert 'class="plateau' in outside  # as far as the axis goes


def test_names_are_escaped_and_cut_to_their_place() -> None:
    bad = "<b>'\"&" + "漢" * 200
    drawn = charts.response(
        response([run(0, bad, 1.0)], {"label": bad, "scale": "category", "levels": [bad]}), lambda _: NOWHERE, WORDS
    ) + bars.forest([Bar(bad, 1.0, 0.5, 2.0, "supported", "")], bad, WORDS, [{"label": bad, "value": 1}])
    assert "<b>" not in drawn
    for words in re.findall("<text[^>]*>([^<]*)</text>", drawn):
        assert svg.letters(html.unescape(words)) <= 60
    assert json.loads(html.unescape(re.findall("data-levels='([^']*)'", drawn)[0]))[0].startswith("<b>'")


def test_every_chart_finds_its_runs(handbook: Path) -> None:
    for page in handbook.rglob("*.html"):
        for file in re.findall("data-runs='([^']*)'", page.read_text(encoding="utf-8")):
            assert (handbook / file).is_file(), page
    for file in (handbook / "runs").iterdir():
        listed = json.loads(file.read_text(encoding="utf-8").removeprefix("hpkb.runs(").removesuffix(");\n"))
        task = (handbook / listed["page"]).read_text(encoding="utf-8")
        assert [row[0] for row in listed["rows"]] == re.findall('<tr id="(run-[^"]*)"', task)
        assert all(len(row) == 3 + len(listed["columns"]) for row in listed["rows"])


def test_the_index_of_the_search_has_every_finding_and_leads_to_it(handbook: Path) -> None:
    text = (handbook / "search.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("hpkb.index(").removesuffix(");\n"))
    assert {kind for kind, *_ in index["pages"]} >= {"hyperparameter", "task", "question"}
    found = 0
    for _, page, anchor, verdict in index["findings"]:
        target = (handbook / index["pages"][page][2]).read_text(encoding="utf-8")
        row = target.split(f'<tr id="{anchor}">')[1].split("</tr>")[0]
        assert f">{index['verdicts'][verdict]}</span>" in row
        found += 1
    assert found == sum(p.read_text(encoding="utf-8").count('<tr id="finding-') for p in handbook.rglob("*.html"))
