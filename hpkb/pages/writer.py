"""Files into a folder: unchanged ones stay untouched, those of an earlier edition go, nobody else's are touched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from hpkb.errors import HpkbError
from hpkb.pages.render import Page

MANIFEST = ".hpkb-handbook.json"


class HandbookError(HpkbError):
    """The folder of the handbook cannot be written, or holds somebody else's pages."""


def claim(directory: Path) -> set[str]:
    """Returns the files of the edition that is there; asked for before anything is drawn.

    Raises HandbookError where the folder has an index.html that no earlier edition wrote, or cannot be made.
    """
    earlier = _manifest(directory)
    if not earlier and (directory / "index.html").exists():
        raise HandbookError(
            f"{directory} has an index.html that hpkb did not write. Choose another folder: --handbook DIR."
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HandbookError(f"The handbook cannot be written to {directory}: {error.strerror}.") from error
    return earlier


def write(pages: Iterable[Page], directory: Path, earlier: set[str]) -> list[Path]:
    """Returns the files of the handbook after writing those that changed and removing those of an earlier edition.

    Raises HandbookError where the folder cannot be written.
    """
    ready = list(pages)  # all pages are rendered before the first is written
    try:
        written = [_put(directory / page.path, page.content) for page in ready]
        _remove(directory, earlier - {page.path for page in ready})
        _put(directory / MANIFEST, json.dumps(sorted(page.path for page in ready), indent=0) + "\n")
    except OSError as error:
        raise HandbookError(f"The handbook cannot be written to {directory}: {error.strerror}.") from error
    return written


def _put(path: Path, content: str) -> Path:
    data = content.encode("utf-8")
    if path.is_file() and path.read_bytes() == data:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)
    return path


def _manifest(directory: Path) -> set[str]:
    """The files that the last edition wrote; empty where there was none, or where its list is not to be trusted."""
    try:
        listed = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()


def _remove(directory: Path, stale: Iterable[str]) -> None:
    """Removes stale pages; a name that leads out of the folder, or through a link, is left alone."""
    root = directory.resolve()
    for name in sorted(stale):
        path = directory / name
        inside = (
            path.resolve() == root / name
            and (root / name).is_relative_to(root)
            and ".." not in Path(name).parts
        )
        if inside and path.is_file():
            path.unlink()
            if path.parent != directory and not any(path.parent.iterdir()):
                path.parent.rmdir()
