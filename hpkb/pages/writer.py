"""Files into a folder: unchanged ones stay untouched, those of an earlier edition go, nobody else's are touched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpkb.errors import HpkbError

if TYPE_CHECKING:
    from hpkb.pages.render import Page

MANIFEST = ".hpkb-handbook.json"


class HandbookError(HpkbError):
    """The folder of the handbook cannot be written, or holds somebody else's pages."""


def unchanged(directory: Path, edition: str) -> list[Path]:
    """Returns the files of the handbook in a folder if it is this edition, every file as it was written; else none."""
    found = _manifest(directory)
    files = found.get("files", {})
    if found.get("edition") != edition or not isinstance(files, dict):
        return []
    intact = all(_digest_of(directory / name) == digest for name, digest in files.items())
    return [directory / name for name in files] if intact else []


def claim(directory: Path) -> set[str]:
    """Returns the files of the edition that is there; asked for before anything is drawn.

    Raises HandbookError where the folder has an index.html that no earlier edition wrote, or cannot be made.
    """
    earlier = _names(_manifest(directory))
    if not earlier and (directory / "index.html").exists():
        raise HandbookError(
            f"{directory} has an index.html that hpkb did not write. Choose another folder: --handbook DIR."
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HandbookError(f"The handbook cannot be written to {directory}: {error.strerror}.") from error
    return earlier


def write(pages: Iterable[Page], directory: Path, earlier: set[str], edition: str) -> list[Path]:
    """Returns the files of the handbook after writing those that changed and removing those of an earlier edition.

    Raises HandbookError where the folder cannot be written.
    """
    ready = list(pages)  # all pages are rendered before the first is written
    try:
        written = [_put(directory / page.path, page.content) for page in ready]
        _remove(directory, earlier - {page.path for page in ready})
        files = {page.path: _digest(page.content.encode("utf-8")) for page in sorted(ready, key=lambda page: page.path)}
        _put(directory / MANIFEST, json.dumps({"edition": edition, "files": files}, indent=0) + "\n")
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


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _digest_of(path: Path) -> str:
    try:
        return _digest(path.read_bytes())
    except OSError:
        return ""


def _manifest(directory: Path) -> dict[str, Any]:
    """What the last edition wrote; empty where there was none, or where its list is not to be trusted."""
    try:
        found = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if isinstance(found, list):  # as editions wrote it that had only the names
        return {"files": dict.fromkeys((name for name in found if isinstance(name, str)), "")}
    return found if isinstance(found, dict) else {}


def _names(manifest: Mapping[str, Any]) -> set[str]:
    """The files that an edition wrote."""
    files = manifest.get("files")
    return set(files) if isinstance(files, dict) else set()


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
