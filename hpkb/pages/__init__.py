"""The handbook: static pages written from the knowledge base alone. A page formats; it never computes a number."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import duckdb

from hpkb.pages.edition import edition
from hpkb.pages.writer import HandbookError, claim, unchanged, write

__all__ = ["HandbookError", "write_handbook"]


class HasConnection(Protocol):
    """Anything that holds an open knowledge base."""

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection to it."""


def write_handbook(
    knowledge_base: duckdb.DuckDBPyConnection | HasConnection, directory: Path, templates: Path | None = None
) -> list[Path]:
    """Returns the files of the handbook of a knowledge base, written below `directory`.

    The same knowledge base gives the same bytes, and where these are there already, nothing is drawn; a file that did
    not change is not written again; a page of an earlier edition that is no longer part of the handbook is removed.
    A file in the folder `templates` takes the place of hpkb's own of that name; those in its folder `pages` are added.
    Raises HandbookError where `directory` holds somebody else's pages or cannot be written, and for a template that
    cannot be used.
    """
    if not isinstance(knowledge_base, duckdb.DuckDBPyConnection):
        return write_handbook(knowledge_base.connection, directory, templates)
    if templates is not None and not templates.is_dir():
        raise HandbookError(f"No folder of templates at {templates}.")
    folder, made_of = Path(directory), edition(knowledge_base, templates)
    if files := unchanged(folder, made_of):
        return files
    earlier = claim(folder)
    from hpkb.pages.build import build  # for a handbook that is there already, nothing more is imported
    from hpkb.pages.render import Templates, pages

    chosen = Templates(templates)
    return write(pages(build(knowledge_base, chosen.words), chosen), folder, earlier, made_of)
