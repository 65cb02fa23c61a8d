"""The handbook in MLflow: whole, once, and never mined."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpkb.errors import HpkbError
from hpkb.pages import write_handbook
from hpkb.pages.writer import MANIFEST
from hpkb.ship.publish import EXPERIMENT, FOLDER, publish
from hpkb.sources import open_source
from tests.pages import sample


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("published") / "handbook"
    with sample.bare() as connection:
        write_handbook(connection, directory)
    (directory / "notes.txt").write_text("somebody else's")
    return directory


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_it_is_sent_whole_once_and_is_no_training(
    handbook: Path, planted_store: Path, tmp_path: Path, server: Callable[[int], None], free_port: int, store_uri: str
) -> None:
    shutil.copy(planted_store, tmp_path / "planted.db")
    server(free_port)
    for number, uri in enumerate((f"sqlite:///{tmp_path / 'planted.db'}", f"http://127.0.0.1:{free_port}")):
        run_id = publish(handbook, uri, "edition 1")
        client = MlflowClient(uri)
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "edition 1"
        assert "Recommended hyperparameters" in run.data.tags["mlflow.note.content"]
        fetched = tmp_path / f"fetched-{number}"
        fetched.mkdir()
        there = client.download_artifacts(run_id, FOLDER, str(fetched))
        sent = files(handbook)
        del sent[MANIFEST], sent["notes.txt"]
        assert files(Path(there)) == sent
        assert publish(handbook, uri, "edition 1") == run_id
        source = open_source(uri)
        assert EXPERIMENT in source.experiments()
        assert run_id not in source.fingerprints()["run_id"].to_pylist()
        assert len(source.fingerprints()) == (120 if number == 0 else 0)
        source.close()


def test_a_folder_without_a_handbook_is_said_so(tmp_path: Path, store_uri: str) -> None:
    with pytest.raises(HpkbError, match="No handbook in"):
        publish(tmp_path, store_uri, "edition 1")


def test_what_could_not_be_sent_is_sent_the_next_time(handbook: Path, planted_store: Path, tmp_path: Path) -> None:
    shutil.copy(planted_store, tmp_path / "planted.db")
    uri = f"sqlite:///{tmp_path / 'planted.db'}"
    broken = tmp_path / "broken"
    shutil.copytree(handbook, broken)
    (broken / "glossary.html").unlink()
    with pytest.raises(HpkbError, match=r"lacks glossary.html"):
        publish(broken, uri, "edition 1")
    shutil.copy(handbook / "glossary.html", broken)
    run_id = publish(broken, uri, "edition 1")
    runs = MlflowClient(uri).search_runs([MlflowClient(uri).get_experiment_by_name(EXPERIMENT).experiment_id])
    assert {run.info.status for run in runs} == {"FAILED", "FINISHED"}
    source = open_source(uri)
    assert len(source.fingerprints()) == 120
    source.close()
    assert MlflowClient(uri).get_run(run_id).info.status == "FINISHED"
