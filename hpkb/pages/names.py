"""The page of names: what the names of the stores were read as, and what only a person can say of them."""

from __future__ import annotations

import duckdb

from hpkb.kb.readings import Reading, questions, readings
from hpkb.names import lookup
from hpkb.pages.model import NamesPage
from hpkb.pages.parts import NameReading
from hpkb.pages.places import Places
from hpkb.vocabulary import AMBIGUOUS

_OWN = 200  # names of their own that the page lists


def names_page(connection: duckdb.DuckDBPyConnection, where: Places) -> NamesPage:
    """Returns the page: known hyperparameters first, then what is not decided, then names of their own."""
    by_name: dict[str, list[Reading]] = {}
    for reading in readings(connection):
        by_name.setdefault(reading.name, []).append(reading)
    rows = [
        NameReading(where.hyperparameter(name), tuple((r.recorded, r.n_runs) for r in found))
        for name, found in by_name.items()
        if lookup(name) or name.startswith(AMBIGUOUS)
    ]
    own = sorted(by_name.keys() - {row.name.text for row in rows})
    asked = tuple((question.asks, question.answer) for question in questions(connection))
    return NamesPage(tuple(rows), tuple(own[:_OWN]), max(0, len(own) - _OWN), asked)
