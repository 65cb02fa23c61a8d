"""What a store's names are read as, what is asked, and what the answers in hpkb.toml change."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hpkb import corrections
from hpkb.corrections import Corrections
from hpkb.errors import UsageError
from hpkb.kb import connect, ingest_into
from hpkb.kb.readings import questions, readings
from hpkb.sources import open_source
from tests.kb.rawstore import RawStore

CURVES = {"val_loss": [1.0, 0.5]}
ROOT = Path(__file__).parents[2]


def values(kb: Path) -> dict[str, Any]:
    """The values of all runs by name; a number where it is one."""
    with connect(kb, read_only=True) as connection:
        sql = "SELECT name, coalesce(value_number::VARCHAR, value_text) FROM hyperparameters"
        return dict(connection.execute(sql).fetchall())


def asked(kb: Path) -> list[tuple[str, str]]:
    with connect(kb, read_only=True) as connection:
        return [(q.asks, q.answer) for q in questions(connection)]


def ingest(store: RawStore, kb: Path, text: str = "") -> None:
    ingest_into(kb, open_source(store.uri), (), "val_loss:min", stated(text))


def stated(text: str) -> Corrections:
    return corrections._corrections(tomllib.loads(text))


def test_a_name_is_read_as_a_path(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    params = {"optim.args.learning_rate": "1/1000", "model.dropout": "10%", "optim.name": "torch.optim.AdamW",
              "hp/betas": "(0.9, 0.999)", "discriminator.lr": "0.5", "trainer.max_epochs": "2**3"}  # fmt: skip
    store.run("digits", params, CURVES)
    ingest(store, kb)
    assert values(kb) == {
        "learning_rate": "0.001", "dropout": "0.1", "optimizer": "AdamW", "beta1": "0.9", "beta2": "0.999",
        "hp/betas": "(0.9, 0.999)", "discriminator.lr": "0.5", "epochs": "8.0",
    }  # fmt: skip
    assert asked(kb) == []
    with connect(kb, read_only=True) as connection:
        assert (readings(connection)[0].name, readings(connection)[0].recorded) == (
            "learning_rate", "optim.args.learning_rate",
        )  # fmt: skip


def test_names_that_disagree_are_asked_about(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    store.run("digits", {"lr": "0.1", "base_lr": "0.05"}, CURVES)
    ingest(store, kb)
    assert values(kb) == {"ambiguous.lr": "0.1", "ambiguous.base_lr": "0.05"}
    [(asks, answer)] = asked(kb)
    assert asks == "'base_lr', 'lr' (1 run of 'digits') disagree: which of them is the learning_rate?"
    ingest(store, kb, answer)
    assert values(kb) == {"learning_rate": "0.05"}
    assert asked(kb) == []
    ingest(store, kb)
    assert len(values(kb)) == 2, "and back"


def test_names_that_agree_are_one(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    store.run("digits", {"lr": "1e-1", "optimizer.lr": "0.1", "base_lr": "None", "cli.lr": "0.4"}, CURVES)
    ingest(store, kb)
    found = values(kb)
    assert (found["learning_rate"], found["cli.lr"]) == ("0.1", "0.4")
    assert asked(kb) == []


def test_the_canonical_name_goes_first_and_the_other_is_told(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    store.run("digits", {"learning_rate": "0.1", "lr": "0.2", "cli.lr": "0.3"}, CURVES)
    ingest(store, kb)
    assert values(kb) == {"learning_rate": "0.1", "lr": "0.2", "cli.lr": "0.3"}
    [(asks, _)] = asked(kb)
    assert "disagree; 'learning_rate' is taken as the learning_rate" in asks


@pytest.mark.parametrize(
    ("params", "expected", "n_questions"),
    [
        ({"batch_size": "12", "gradient_accumulation_steps": "40"}, {"ambiguous.batch_size": "12.0"}, 1),
        ({"bs": "12", "world_size": "2"}, {"ambiguous.bs": "12.0"}, 1),
        ({"batch_size": "12", "gradient_accumulation_steps": "1"}, {"batch_size": "12.0"}, 0),
        ({"global_batch_size": "480", "accumulation_steps": "40"}, {"batch_size": "480.0"}, 0),
        ({"batch_size": "480", "micro_batch_size": "12", "accumulation_steps": "40"}, {"batch_size": "480.0"}, 0),
        (
            {"per_device_train_batch_size": "8", "gradient_accumulation_steps": "4", "world_size": "2"},
            {"batch_size": "64.0", "micro_batch_size": "8.0"}, 0,
        ),
        ({"per_device_train_batch_size": "8", "gradient_accumulation_steps": "4"}, {"micro_batch_size": "8.0"}, 0),
        (
            {"batch_size": "8", "micro_batch_size": "8", "accumulation_steps": "4", "world_size": "1"},
            {"batch_size": "8.0", "micro_batch_size": "8.0"}, 1,
        ),
    ],
)  # fmt: skip
def test_a_batch_is_derived_or_asked_about(
    store: RawStore, tmp_path: Path, params: dict[str, str], expected: dict[str, str], n_questions: int
) -> None:
    kb = tmp_path / "kb.duckdb"
    store.run("nano", params, CURVES)
    ingest(store, kb)
    assert {name: value for name, value in values(kb).items() if "b" in name and "s" in name} | expected == {
        name: value for name, value in values(kb).items() if "b" in name and "s" in name
    }
    assert ("batch_size" in values(kb)) == ("batch_size" in expected)
    assert len(asked(kb)) == n_questions
    if n_questions:
        ingest(store, kb, asked(kb)[0][1])
        assert asked(kb) == []


def test_a_correction_holds_for_the_runs_that_fit(store: RawStore, tmp_path: Path) -> None:
    kb, text = tmp_path / "kb.duckdb", """
    [hyperparameters]
    knob = "dropout"
    "note*" = ""
    [[runs]]
    experiment = "nano*"
    params = { model = "gpt-*" }
    hyperparameters = { knob = "weight_decay" }
    """
    store.run("nano 1", {"model": "gpt-2", "knob": "0.1", "note 1": "x"}, CURVES)
    store.run("nano 2", {"model": "mlp", "knob": "0.2"}, CURVES)
    store.run("other", {"model": "gpt-2", "knob": "0.3"}, CURVES)
    ingest(store, kb, text)
    with connect(kb, read_only=True) as connection:
        sql = "SELECT experiment, name, value_number FROM hyperparameters JOIN runs USING (run_id)"
        found = connection.execute(sql + " WHERE name <> 'model' ORDER BY ALL").fetchall()
    assert found == [("nano 1", "weight_decay", 0.1), ("nano 2", "dropout", 0.2), ("other", "dropout", 0.3)]


def test_a_correction_may_name_what_is_recorded_by_another_name(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    store.run("a", {"foo": "1", "bar": "1"}, CURVES)
    ingest(store, kb, '[hyperparameters]\nfoo = "bar"\n')
    assert values(kb)["bar"] == "1.0"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[hyperparameters", "Cannot read the corrections"),
        ("[names]\na = 'b'", "there is no 'names' at the top. Known: hyperparameters, runs."),
        ("[[runs]]\nexp = 'b'", "there is no 'exp' in [[runs]]"),
        ("[runs]\ntask = 'b'", "write [[runs]], with two brackets."),
        ("[[runs]]\ntask = 3", "'task' has to be a text."),
        ("[[runs]]\nobjective = 'val_loss'", "has no direction"),
        ("[hyperparameters]\na = ['b']", "'hyperparameters.a' has to be a text."),
    ],
)
def test_a_file_that_is_not_understood_says_where(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        corrections.read(file)
    assert says in str(error.value)
    assert "mine.toml" in str(error.value)


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert corrections.read(None) == Corrections()
    with pytest.raises(UsageError, match=r"Cannot read the corrections in 'none\.toml': No such file"):
        corrections.read(Path("none.toml"))


def test_what_the_documentation_shows_is_understood() -> None:
    example = (ROOT / "docs" / "names.md").read_text("utf-8").partition("```toml\n")[2].partition("```")[0]
    found = stated(example)
    assert (found.runs[0].task, found.runs[0].experiment) == ("shakespeare-gpt", "nano*")
    assert found.hyperparameters == {"net_lr": "learning_rate", "note*": ""}
    assert textwrap.indent(example, "    ") in (corrections.__doc__ or "")
