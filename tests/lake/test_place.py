"""Files of a lake, in a folder and through fsspec: written whole or not at all, and by one writer alone."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpkb.errors import SourceError
from hpkb.lake.layout import folder_of
from hpkb.lake.manifest import Manifest, Origin, Part, commit, last_number, read_manifest
from hpkb.lake.place import Place, place_of


@pytest.fixture(params=["folder", "memory", "folder without links"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "memory":
        pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'hpkb[s3]'")
        return place_of(f"memory://{uuid.uuid4().hex}/lake")
    if request.param == "folder without links":
        monkeypatch.setattr(os, "link", _no_links)
    return place_of(str(tmp_path / "lake"))


def _no_links(*_: object) -> None:
    raise PermissionError("Operation not permitted")


def test_one_of_many_writers_is_first(place: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        was_first = list(pool.map(lambda n: place.create("a/b.json", f"{n}".encode()), range(8)))
    assert sum(was_first) == 1
    assert place.read("a/b.json") == f"{was_first.index(True)}".encode()
    assert place.names("a") == ["b.json"]


def test_a_file_is_put_read_listed_and_deleted(place: Place, tmp_path: Path) -> None:
    for content in (b"one", b"another"):
        (tmp_path / "local").write_bytes(content)
        assert place.put("kind/x=1/part.parquet", tmp_path / "local") == len(content)
        assert place.read("kind/x=1/part.parquet") == content
    assert not (tmp_path / "local").exists()
    assert [path for path, age in place.files() if age < 60] == ["kind/x=1/part.parquet"]
    place.delete("kind/x=1/part.parquet")
    place.delete("kind/x=1/part.parquet")
    assert list(place.files()) == []
    assert place.names("nothing") == []


def test_a_manifest_counts_once_and_the_last_one_alone(place: Place) -> None:
    assert read_manifest(place) == Manifest()
    part = Part("part-1", "a store", "sweep, é/ü", None, "2026-11", 3, 100, 4_000)
    origins = {"a store": Origin("mlflow_sqlite", {"t": ["val_loss:min"]})}
    first = commit(place, [part], origins, Manifest())
    assert first is not None
    assert commit(place, [], {}, Manifest()) is None
    assert read_manifest(place) == first
    assert commit(place, [], origins, first) is not None
    assert (last_number(place), read_manifest(place).parts, read_manifest(place, 1)) == (2, (), first)


def test_a_manifest_of_a_later_hpkb(place: Place) -> None:
    place.create("_hpkb/manifest-00000001.json", b'{"format": 99}')
    with pytest.raises(SourceError, match="has format 99"):
        read_manifest(place)


def test_folders_are_names_that_every_file_system_takes() -> None:
    assert folder_of("a/b=c, é", None, "2026-11") == (
        "experiment=a%2Fb%3Dc%2C %C3%A9/task=__HIVE_DEFAULT_PARTITION__/month=2026-11"
    )
    names = [folder_of("ü" * n, "t", None).split("/")[0] for n in (100, 101)]
    assert len(set(names)) == 2
    assert all(len(name) < 120 for name in names)
    assert "%C" not in names[0].partition("~")[0][-2:]
