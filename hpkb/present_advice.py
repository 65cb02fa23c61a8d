"""Recommendations, experiments and checks on a terminal or in a pipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from rich.markup import escape
from rich.table import Table

from hpkb.present import text
from hpkb.suggest import export
from hpkb.suggest.options import arguments, shown
from hpkb.suggest.space import Limit

_STYLE = {"against": "red", "fits": "green", "no matter": "dim", "unknown": "yellow"}


def recommendation(
    document: dict[str, Any],
    format_: str,
    spelled: dict[str, str] | None = None,
    limits: Sequence[Limit] = (),
) -> str:
    """Returns a recommendation as a table, JSON, YAML, the arguments of a script, or a search space for a tool."""
    if format_ == "json":
        return json.dumps(document, indent=1)
    if format_ == "yaml":
        values = [c["values"] for c in document["configurations"]]
        return str(
            yaml.safe_dump({**document, "configurations": values}, sort_keys=False, allow_unicode=True)
        ).rstrip()
    if format_ == "table":
        return _recommendation_table(document)
    first = document["configurations"][0]
    if format_ == "args":
        return " ".join(arguments(first["values"], None, spelled))
    ranges = export.capped(first["plateau"], limits, first["values"])
    space = export.space_of_ranges(first["values"], ranges)
    return export.search_space(format_, space, document["objective"], spelled)


def experiments(document: dict[str, Any], format_: str) -> str:
    """Returns the next experiments as a table, JSON, command-line arguments (a line each), or for a tool."""
    if format_ == "json":
        return json.dumps(document, indent=1)
    if format_ == "args":
        return "\n".join(
            " ".join(arguments(e["values"], e["seed"], document["options"])) for e in document["experiments"]
        )
    if format_ != "table":
        return export.experiments(format_, document)
    head = f"{document['task']}, {document['objective']}: {document['reason']}"
    if not document["experiments"]:
        return "\n".join([head, "No experiment to propose.", *_left_out(document)])
    baseline, origin = document["baseline"]["values"], document["baseline"]["origin"]
    told = ", ".join(f"{name} {shown(value)}" for name, value in baseline.items())
    table = Table("", "run", "design", "what it settles", "finding", box=None, pad_edge=False)
    for e in document["experiments"]:
        table.add_row(
            str(e["rank"]),
            escape(_changes(e, baseline)),
            e["design"],
            escape(e["settles"]),
            e["finding_id"] or "",
        )
    lines = [head, f"Baseline, {origin}: {told}" if told else "", text(table), *_left_out(document)]
    lines.append("Command lines: --format args. Run them: hpkb suggest --run -- python train.py")
    return "\n".join(line for line in lines if line)


def _changes(experiment: dict[str, Any], baseline: dict[str, Any]) -> str:
    """What differs from the baseline, in few words."""
    changed = [f"{n}={shown(v)}" for n, v in experiment["values"].items() if baseline.get(n) != v]
    gone = [f"no {n}" for n in baseline if n not in experiment["values"]]
    said = " ".join(changed + gone) or "the baseline"
    seed = "" if experiment["seed"] is None else f", seed {experiment['seed']}"
    return said + seed + (" (again)" if experiment["is_repeat"] else "")


def _left_out(document: dict[str, Any]) -> list[str]:
    return [f"Not proposed: {said}." for said in document["left_out"]]


def checked(document: dict[str, Any], format_: str) -> str:
    """Returns what speaks for and against a configuration as a table, or as JSON."""
    if format_ == "json":
        return json.dumps(document, indent=1)
    where = "all tasks" if document["task"] is None else document["task"]
    against = sum(line["verdict"] == "against" for line in document["lines"])
    verdicts = {
        "against": f"{against} thing{'' if against == 1 else 's'} against it.",
        "nothing against": "nothing known against it.",
        "unknown": "nothing is known of it.",
    }
    lines = [f"{where}, {document['objective']}: {verdicts[document['verdict']]}"]
    table = Table("verdict", "value", "because", "finding", box=None, pad_edge=False)
    for line in document["lines"]:
        names = line["hyperparameters"]
        what = ", ".join(f"{n}={shown(document['values'][n])}" for n in names) or "the whole of it"
        verdict = f"[{_STYLE[line['verdict']]}]{line['verdict']}[/]"
        table.add_row(verdict, escape(what), escape(line["says"]), line["finding_id"] or "")
    if document["lines"]:
        lines.append(text(table))
    if document["predicted_regret"] is not None:
        regret = f"{document['predicted_regret']:.2f}"
        lines.append(f"Predicted regret of the whole: {regret} (0 best, 1 median of what was tried).")
    if document["not_recorded"]:
        named = [
            n["name"] + (f" (meant {n['close'][0]}?)" if n["close"] else "") for n in document["not_recorded"]
        ]
        lines.append(f"Not looked at, since no run recorded it: {', '.join(named)}.")
    return "\n".join(lines)


def _recommendation_table(document: dict[str, Any]) -> str:
    where = f"like {document['like']}" if document.get("like") else document["task"] or "all tasks"
    head = f"{where}, {document['objective']}: {document['verdict']}. {document['reason']}"
    leaned = [
        f"  {part['weight']:.2f} {part['task']}: {part['because']}" for part in document.get("leaned_on", [])
    ]
    lines = [head, *(["Leans on:", *leaned] if leaned else [])]
    if not document["configurations"]:
        return "\n".join(lines)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for configuration in document["configurations"]:
        table.add_column(f"#{configuration['rank']}", justify="right")
    table.add_column("safe range of #1", justify="right")
    for name in document["configurations"][0]["values"]:
        cells = [_number(c["values"].get(name, "")) for c in document["configurations"]]
        plateau = document["configurations"][0]["plateau"].get(name)
        table.add_row(
            escape(name),
            *map(escape, cells),
            f"{_number(plateau[0])} to {_number(plateau[1])}" if plateau else "",
        )
    regrets = [c["held_out_regret"] for c in document["configurations"]]
    table.add_row("held-out regret", *(f"{r['mean']:.2f}" for r in regrets), "0 best, 1 median of the pool")
    table.add_row("  interval", *(f"{r['low']:.2f} to {r['high']:.2f}" for r in regrets), "")
    table.add_row("  worst", *(f"{r['worst']:.2f}" for r in regrets), escape(regrets[0]["worst_task"]))
    table.add_row(
        "worth random trials", *(str(c["worth_random_trials"]) for c in document["configurations"]), ""
    )
    library = (document.get("library_default") or {}).get("held_out_regret")
    if library:
        table.add_row("torch's own default", f"{library['mean']:.2f}", *[""] * (len(regrets) - 1), _library(document))
    family = [c.get("held_out_family_regret") for c in document["configurations"]]
    if family[0]:
        of_family = (f"{r['mean']:.2f}" for r in family)
        table.add_row("family held out", *of_family, escape(f"{family[0]['families']} families by {family[0]['by']}"))
    tail = [*_rules(document), *_not_placed(document), *_budget(document), *_to_search(document), *_set_aside(document)]
    return "\n".join([*lines, text(table), *tail])


def _library(document: dict[str, Any]) -> str:
    """The library's values, with how many tasks could place them."""
    library = document["library_default"]
    told = ", ".join(f"{name} {_number(value)}" for name, value in library["values"].items())
    return escape(f"{library['optimizer']} with {told}")


def _not_placed(document: dict[str, Any]) -> list[str]:
    library = document.get("library_default") or {}
    return [f"torch's own default: {library['reason']}"] if library.get("reason") else []


def _rules(document: dict[str, Any]) -> list[str]:
    lines = []
    for rule in document["rules"]:
        spoken = f" {rule['words']}" if rule.get("words") else ""
        lines.append(f"{rule['hyperparameter']} = {rule['formula']}.{spoken}")
    return lines


def _budget(document: dict[str, Any]) -> list[str]:
    """How many random trials are worth their cost."""
    budget = document.get("budget")
    if not budget:
        return []
    if not budget["sets"]:
        return [f"Trials worth spending: not known. {budget['reason']}"]
    parts = []
    for part in budget["sets"]:
        names = part["hyperparameters"]
        of = " and ".join(names) if len(names) < 3 else f"all {len(names)}"
        high = f"{part['high']}" if part["high"] is not None else "more than was tried"
        parts.append(f"{part['trials']} ({part['low']} to {high}) on {of}")
    return [f"Trials worth spending, at random: {'; '.join(parts)}. Twice as many gain less than seeds scatter."]


def _to_search(document: dict[str, Any]) -> list[str]:
    """What to search where no value can be recommended over tasks."""
    if document["verdict"] == "recommended" or document["task"] or not document.get("search_space"):
        return []
    lines = ["To search instead:"]
    for name, part in document["search_space"].items():
        number = "" if "levels" in part else f"{_number(part['low'])} to {_number(part['high'])}"
        lines.append(f"  {name}: {number or ', '.join(part['levels'])}")
    return lines


def _set_aside(document: dict[str, Any]) -> list[str]:
    tasks = document.get("set_aside") or []
    return [f"Set aside, since the others do not predict it: {', '.join(tasks)}."] if tasks else []


def _number(value: Any) -> str:
    return shown(float(f"{value:.3g}") if isinstance(value, float) and value != int(value) else value)
