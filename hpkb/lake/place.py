"""Where a lake lies: a folder, or a prefix in object storage through fsspec."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import duckdb

from hpkb.errors import SourceError


class Place(Protocol):
    """Files under one address; a path is relative to it, with slashes."""

    #: The address as the user gave it; what identifies the lake.
    url: str

    def address(self, path: str) -> str:
        """Returns what DuckDB calls the file."""

    def names(self, folder: str) -> list[str]:
        """Returns the names of the files in a folder, in their order; none where there is no folder."""

    def read(self, path: str) -> bytes:
        """Returns what a file holds."""

    def put(self, path: str, file: Path) -> int:
        """Moves a local file there, in place of one that is there, and returns its size; a reader sees none or all."""

    def create(self, path: str, content: bytes) -> bool:
        """Writes a file that is not there yet, whole or not at all; returns False where it is there."""

    def files(self) -> Iterator[tuple[str, float]]:
        """Yields the path of every file and for how many seconds it has been there."""

    def delete(self, path: str) -> None:
        """Deletes a file; one that is gone already is none."""

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Lets a connection read the files by their addresses."""


def place_of(url: str) -> Place:
    """Returns the place at a path, a file URI or an address in object storage (s3://BUCKET/PREFIX).

    Raises SourceError where the address is of a kind that is not known or whose library is not installed.
    """
    if is_remote(url):
        return _Bucket(url)
    return _Folder(Path(url.removeprefix("file://")))


def is_remote(url: str) -> bool:
    """Returns whether the address is one in object storage."""
    return "://" in url and urlsplit(url).scheme not in ("", "file")


class _Folder:
    """A folder of this machine, or one that it shares with others."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.url = str(self._root)

    def address(self, path: str) -> str:
        return str(self._root / path)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self._root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def put(self, path: str, file: Path) -> int:
        target = self._folder(path)
        beside = _beside(target)
        shutil.copyfile(file, beside)
        os.replace(beside, target)
        file.unlink()
        return target.stat().st_size

    def create(self, path: str, content: bytes) -> bool:
        target = self._folder(path)
        beside = _beside(target)
        with beside.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(beside, target)  # unlike a rename, it fails where somebody was first
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            return _written_first(target, content)
        finally:
            beside.unlink()
        return True

    def files(self) -> Iterator[tuple[str, float]]:
        now = time.time()
        for file in sorted(self._root.rglob("*")):
            with suppress(FileNotFoundError):
                if file.is_file():
                    yield file.relative_to(self._root).as_posix(), now - file.stat().st_mtime

    def delete(self, path: str) -> None:
        (self._root / path).unlink(
            missing_ok=True
        )  # its folder stays: somebody may be about to put a file there

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """DuckDB reads local files by itself."""

    def _folder(self, path: str) -> Path:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _written_first(target: Path, content: bytes) -> bool:
    try:
        with target.open("xb") as opened:
            opened.write(content)
    except FileExistsError:
        return False
    return True


def _beside(target: Path) -> Path:
    """A name of this writer alone, whatever machine it is on, in the same folder, from where a rename is at once."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")


class _Bucket:
    """A prefix in object storage."""

    def __init__(self, url: str) -> None:
        from hpkb.sources.remote_files import file_system, for_fsspec  # fsspec is an extra

        self.url = url.rstrip("/")
        self._base = for_fsspec(self.url)
        self._system = file_system(self.url)
        self._root = self._system._strip_protocol(self._base)

    def address(self, path: str) -> str:
        return f"{self._base}/{path}"

    def names(self, folder: str) -> list[str]:
        try:
            with self._asking():
                found = self._system.ls(f"{self._root}/{folder}", detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rpartition("/")[2] for path in found)

    def read(self, path: str) -> bytes:
        with self._asking():
            return bytes(self._system.cat_file(f"{self._root}/{path}"))

    def put(self, path: str, file: Path) -> int:
        size = file.stat().st_size
        with self._asking():
            self._system.put_file(str(file), f"{self._root}/{path}")
        file.unlink()
        return size

    def create(self, path: str, content: bytes) -> bool:
        try:
            with self._asking():
                self._system.pipe_file(f"{self._root}/{path}", content, mode="create")
        except FileExistsError:
            return False
        return True

    def files(self) -> Iterator[tuple[str, float]]:
        now = time.time()
        with self._asking():
            found: dict[str, dict[str, Any]] = self._system.find(self._root, detail=True)
        for path, told in sorted(found.items()):
            yield path.removeprefix(f"{self._root}/"), now - _changed(told, now)

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError), self._asking():
            self._system.rm_file(f"{self._root}/{path}")

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        protocol = self._system.protocol
        names = [protocol] if isinstance(protocol, str) else list(protocol)
        if not any(connection.filesystem_is_registered(name) for name in names):
            connection.register_filesystem(_remembering(self._system))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns what a storage's own library raises into a SourceError; whether a file is there is no error."""
        from hpkb.sources.remote_files import reason_of

        try:
            yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError):
            raise
        except Exception as error:  # every library has errors of its own
            raise SourceError(
                f"The lake '{self.url}': {reason_of(urlsplit(self.url).scheme, error)}."
            ) from None


def _changed(told: Mapping[str, Any], unknown: float) -> float:
    """When a file was written, by what a kind of storage tells of it, in seconds since 1970."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        if (moment := told.get(name)) is not None:
            moment = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
            return float(moment.timestamp() if isinstance(moment, dt.datetime) else moment)
    return unknown


def _remembering(system: Any) -> Any:
    """The file system, asking once what a file is: none of a lake changes, and DuckDB asks a dozen times."""
    told: dict[str, Any] = {}
    ask = system.info

    def info(path: str, **how: Any) -> Any:
        if path not in told:
            told[path] = ask(path, **how)
        return told[path]

    system.info = info
    return system


def attach(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    """Lets a connection read the files of a lake by their addresses."""
    if is_remote(url):
        place_of(url).attach(connection)


@contextmanager
def in_lake(url: str) -> Iterator[None]:
    """Turns what the body finds wrong with the lake's files into a SourceError."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.InvalidInputException) as error:
        reason = " ".join(str(error).split())
        raise SourceError(
            f"The lake '{url}' cannot be read or written: {reason}. Analyze again where it was compacted since; "
            "where a file is lost, delete the lake and make it again: hpkb lake sync"
        ) from None


def no_lake(url: str) -> SourceError:
    """Returns the error of a place where no lake is."""
    return SourceError(f"No lake at '{url}'. Make one: hpkb lake sync --tracking-uri URI {url}")
