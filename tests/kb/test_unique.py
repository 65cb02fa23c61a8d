"""A source that gives one thing of a run twice is refused in one sentence, and the knowledge base stays as it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from hpkb.errors import SourceError
from hpkb.kb.ingest import ingest_into
from hpkb.sources.mlflow_sqlite import MlflowSqlite
from tests.kb.rawstore import RawStore


class Doubled(MlflowSqlite):
    """A store one of whose tables comes twice over."""

    twice = ""

    def hardware(self, ids: pa.Array) -> pa.Table:
        rows = pa.table({"run_id": ids[:1], "name": ["hpkb.hw.gpu.name"], "value": ["a"]})
        return pa.concat_tables([rows, rows]) if self.twice == "hardware" else rows


def test_a_fact_that_comes_twice_is_refused(tmp_path: Path, store: RawStore) -> None:
    store.run("e", curves={"val_loss": [1.0]})
    source = Doubled(Path(store.path))
    ingest_into(tmp_path / "kb.duckdb", source)
    before = (tmp_path / "kb.duckdb").read_bytes()
    store.run("e", curves={"val_loss": [1.0]})
    source = Doubled(Path(store.path))
    source.twice = "hardware"
    with pytest.raises(SourceError, match=r"'hpkb\.hw\.gpu\.name' of run '.+' twice \(table hardware\)"):
        ingest_into(tmp_path / "kb.duckdb", source)
    assert (tmp_path / "kb.duckdb").read_bytes() == before
