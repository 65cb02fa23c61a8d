"""The figures of findings, tasks and defaults: which chart each is drawn as, its words for a screen reader, its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpkb.findings import VERDICTS
from hpkb.names import lookup as known_name
from hpkb.pages import bars, charts
from hpkb.pages.bars import Bar
from hpkb.pages.charts import Lookup, Trace, Words
from hpkb.pages.formats import estimate, spoken
from hpkb.pages.parts import Figure, FindingView, Regret

_BARS = 12  # of one chart of importance
#: Quantities that are values of a hyperparameter, and so share its scale.
_VALUES = frozenset({"optimum", "plateau_low", "plateau_high", "safe_upper_bound"})


def finding_figure(
    document: Mapping[str, Any], figure: Mapping[str, Any], direction: str, lookup: Lookup
) -> Figure | None:
    """Returns the chart of one finding, None where its figure is of no kind that is known here."""
    words = _words(document)
    try:
        if figure.get("kind") == "response":
            label = _value_label(figure["y"]["label"], direction)
            return Figure(charts.response(figure, lookup, words, label), _response_key(figure))
        if figure.get("kind") == "map":
            upright = figure["y"]["label"] == "batch_size"
            return Figure(charts.ridge_map(figure, lookup, words, upright), _map_key(figure))
        if figure.get("kind") == "forest":
            rows = [_bar(row, {}) for row in figure["rows"]]
            drawn = bars.forest(rows, spoken(figure["x"]["label"]), words, figure.get("references", []))
            return Figure(drawn, _forest_key(rows))
    except (ArithmeticError, KeyError, TypeError, ValueError):  # nothing that can be drawn: the finding stands alone
        return None
    return None


def importance_figure(findings: Sequence[FindingView]) -> Figure | None:
    """Returns the shares of variance of one task as bars, the largest first."""
    rows = [
        Bar(" × ".join(spoken(h.text) for h in f.hyperparameters), *_numbers(f), f.verdict, f.href)
        for f in findings
    ]
    rows = sorted((r for r in rows if r.estimate is not None), key=lambda r: (-(r.estimate or 0), r.label))
    pairs = max(0, _BARS - sum("×" not in r.label for r in rows))  # every hyperparameter, and the largest pairs
    shown = [r for r in rows if "×" in r.label][:pairs]
    rows = [r for r in rows if "×" not in r.label or r in shown]
    if not rows:
        return None
    words = Words("Importance of each hyperparameter", _list(rows))
    return Figure(
        bars.bars(rows, "share of the objective's variance", words), ("bar", "bar-unsure", "interval")
    )


def forest_figure(
    findings: Sequence[FindingView], figure: Mapping[str, Any], top: float = 0.0
) -> Figure | None:
    """Returns one quantity over the tasks: from the figure of the finding across tasks, or from each task's finding."""
    quantity = spoken(findings[0].quantity)
    by_task = {f.task.text: f for f in findings if f.task}
    given = figure.get("rows") if figure.get("kind") == "forest" else None
    if given:
        rows = [_bar(row, by_task) for row in given]
        label, references = str(figure["x"].get("label") or quantity), figure.get("references", [])
    else:
        rows = [Bar(f.task.text, *_numbers(f), f.verdict, f.href) for f in findings if f.task]
        label, references = quantity, []
    overall = next((f for f in findings if f.task is None), None)
    if overall and overall.estimate is not None:
        rows.append(Bar("all tasks", *_numbers(overall), overall.verdict, overall.href, whole=True))
    if sum(r.estimate is not None for r in rows) < 2:
        return None
    log = findings[0].quantity in _VALUES and _is_log(findings[0])
    words = Words(f"{quantity} by task", _list(rows))
    return Figure(bars.forest(rows, label, words, references, log, top), _forest_key(rows))


def regret_figure(recommended: Regret, library: Regret | None) -> Figure:
    """Returns the held-out regret of the recommended configuration, and of the library's default where it is known."""
    rows = [Bar("recommended", recommended.mean, recommended.low, recommended.high, "supported", "")]
    if library:
        rows.append(Bar("library default", library.mean, library.low, library.high, "insufficient", ""))
    references = [{"label": "best run", "value": 0.0}, {"label": "median run", "value": 1.0}]
    words = Words("Held-out regret", _list(rows))
    return Figure(bars.forest(rows, "held-out regret", words, references), ("interval",))


def curve_figure(traces: Sequence[Trace], metric: str) -> Figure:
    """Returns the learning curves of some runs."""
    label = spoken(metric)
    words = Words(
        f"{label} over the optimizer steps", "; ".join(t.label.replace("\n", ", ") for t in traces)
    )
    key = ("best", *(["failed"] if any(t.failed for t in traces) else []))
    return Figure(charts.curves(traces, label, words), key)


def _words(document: Mapping[str, Any]) -> Words:
    """Its figures in words; the claim stands in the caption."""
    numbers = estimate(document.get("estimate"), document.get("low"), document.get("high"))
    return Words(f"{spoken(document['quantity'])} {numbers}, {document['verdict']}", "")


def _value_label(label: str, direction: str) -> str:
    """A metric that is to be maximised is mined with its sign turned, and the axis says so."""
    metric = direction.removeprefix("max:")
    return (
        f"−{spoken(label)} (lower is better)"
        if direction.startswith("max:") and label == metric
        else spoken(label)
    )


def _response_key(figure: Mapping[str, Any]) -> tuple[str, ...]:
    points = figure.get("points", [])
    there = {
        "run": True,
        "infeasible": any(p.get("infeasible") for p in points),
        "curve": bool(figure.get("line")),
        "plateau": bool(figure.get("plateau")) and figure["x"].get("scale") != "category",
        "bound" if figure["y"]["label"] == "probability of divergence" else "optimum": bool(
            figure.get("optimum")
        )
        and figure["x"].get("scale") != "category",
    }
    return tuple(name for name, present in there.items() if present)


def _map_key(figure: Mapping[str, Any]) -> tuple[str, ...]:
    failed = any(p.get("infeasible") for p in figure.get("points", []))
    return ("ramp", *(["infeasible"] if failed else []), *(["ridge"] if figure.get("ridge") else []))


def _numbers(finding: FindingView) -> tuple[float | None, float | None, float | None]:
    values = (finding.estimate, finding.low, finding.high)
    first, low, high = (v if isinstance(v, int | float) else None for v in values)
    return first, low, high


def _bar(row: Mapping[str, Any], by_task: Mapping[str, FindingView]) -> Bar:
    label, found = str(row["label"]), by_task.get(str(row["label"]))
    numbers = (row.get("estimate"), row.get("low"), row.get("high"))
    return Bar(label, *numbers, str(row.get("verdict") or ""), found.href if found else "")


def _forest_key(rows: Sequence[Bar]) -> tuple[str, ...]:
    there = {row.verdict for row in rows}
    bounded = any(v is not None for row in rows for v in (row.low, row.high))
    return (
        *(v for v in VERDICTS if v in there), *(["interval"] if bounded else [])
    )


def _is_log(finding: FindingView) -> bool:
    names = [known_name(h.text) for h in finding.hyperparameters]
    return bool(names) and all(name is not None and name.scale == "log" for name in names)


def _list(rows: Sequence[Bar]) -> str:
    return "; ".join(f"{r.label} {estimate(r.estimate, r.low, r.high)}" for r in rows)
