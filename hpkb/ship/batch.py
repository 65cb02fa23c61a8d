"""What spool records become in MLflow: params, tags, points and splits, gathered until they fill a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpkb.capture import redact
from hpkb.curve_file import SCATTER
from hpkb.names import canonical, lookup
from hpkb.ship.keys import (
    CUT,
    artifact_path,
    artifact_text,
    encode_key,
    long_key,
    param_text,
    same_value,
    tag_text,
    whole_text,
)
from hpkb.ship.store import MAX_METRICS, MAX_PARAMS, Point, Recorded, Split
from hpkb.ship.thinning import Sample

LONG_NAME = "hpkb.key."
COMMIT = "hpkb.code.commit"
_LENGTHS = ("steps", "epochs")
_ROOM = 50  # points that one more step may bring
MAX_ARTIFACTS = 8  # of up to a few MB each


@dataclass
class Batch:
    """Records on their way to one MLflow run.

    `known` are the params and tags that the run has or will have with this batch; the first value of a param keeps
    its name, another one goes under `NAME.2`.
    """

    known_params: dict[str, str]
    known_tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    resumed: bool = False  # then another value goes under `NAME.resumed.1`
    artifacts: dict[str, str] = field(default_factory=dict)  # texts, by their path among the run's artifacts

    @classmethod
    def after(cls, recorded: Recorded) -> Batch:
        """An empty batch for a run that has these params and tags already."""
        return cls(dict(recorded.params), dict(recorded.tags))

    @property
    def full(self) -> bool:
        """Whether there is enough for a request of any kind; what is too much for one goes in several."""
        several = max(len(self.params), len(self.tags)) >= MAX_PARAMS or len(self.artifacts) >= MAX_ARTIFACTS
        return several or len(self.points) > MAX_METRICS - _ROOM

    def clear(self) -> None:
        """Forgets what has been acknowledged; what the run has stays known."""
        for part in (self.params, self.tags, self.points, self.splits, self.artifacts):
            part.clear()

    def add_sample(self, name: str, sample: Sample) -> None:
        """Adds a point of a curve, and the scatter of the window that it stands for."""
        timestamp = int(sample.time * 1000)
        self.points.append(Point(self._key(name), sample.value, timestamp, sample.step))
        if sample.sd is not None:
            self.points.append(Point(self._key(name + SCATTER), sample.sd, timestamp, sample.step))

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record of another type; one of no meaning to MLflow adds nothing."""
        if record.get("type") == "params":
            self.add_params(as_given(record["values"]) if record.get("origin") == "user" else record["values"])
        elif record.get("type") == "tags":
            self.add_tags(record["values"])
        elif record.get("type") == "split":
            self._add_split(record)
        elif record.get("type") == "artifact":
            self.artifacts[artifact_path(str(record["path"]))] = artifact_text(str(record["text"]))

    def add_params(self, values: Mapping[str, Any]) -> None:
        """Adds params under their names, or under `NAME.N` where the run has another value of that name."""
        for name, value in values.items():
            text = _without_secret(name, param_text(value))
            if text.endswith(CUT):
                self.artifacts[artifact_path(f"params/{name}.txt")] = _without_secret(name, whole_text(value))
            key = self._key_for(name, text)
            if key not in self.known_params:
                self.known_params[key] = self.params[key] = text

    def _key_for(self, name: str, text: str) -> str:
        """The key under which the run has this value, or is to have it."""
        key, n = self._key(name), 1
        while self._has_another(key, text):
            n += 1
            key = self._key(f"{name}.{n}")
        if n == 1 or key in self.known_params or not self.resumed:
            return key
        n, key = 1, self._key(f"{name}.resumed.1")
        while self._has_another(key, text):
            n += 1
            key = self._key(f"{name}.resumed.{n}")
        return key

    def _has_another(self, key: str, text: str) -> bool:
        return key in self.known_params and not same_value(self.known_params[key], text)

    def add_canonical(self) -> None:
        """Adds what the script called its own way under the canonical name, where nothing better is known by now.

        What an optimizer was really set to comes under the canonical name itself and is there before the end. Not
        added is what other settings overrule: a length that is no length (-1), epochs beside a number of steps, and
        the examples of a batch where several batches or processes make one step.
        """
        told: dict[str, str] = {}
        for key, text in self.known_params.items():
            prefix, _, rest = key.partition(".")
            found = lookup(rest) if prefix in ("cli", "config") and text != "None" else None
            if found is None or found.role == "measured" or found.name in self.known_params:
                continue
            if found.name not in _LENGTHS or _positive(text):
                told.setdefault(found.name, text)
        if "steps" in told or "steps" in self.known_params:
            told.pop("epochs", None)
        if any(self.known_params.get(name, "1") != "1" for name in ("accumulation_steps", "world_size")):
            told.pop("batch_size", None)
        self.add_params(told)

    def add_tags(self, values: Mapping[str, Any]) -> None:
        """Adds tags; the last value of a name holds. The commit is given to MLflow's own tag as well."""
        for name, value in values.items():
            self._tag(self._key(name), tag_text(value))
            if name == COMMIT:
                self._tag("mlflow.source.git.commit", tag_text(value))

    def _add_split(self, record: Mapping[str, Any]) -> None:
        role, digest = str(record["role"]), str(record["digest"])
        n = None if record.get("n") is None else int(record["n"])
        self.splits.append(Split(role, str(record.get("dataset")), digest, n, str(record.get("digest_of", "all"))))
        tag = f"hpkb.split.{role}"
        if self.known_tags.get(f"{tag}.digest", digest) == digest:  # the tags tell of a role's first set
            facts = {name: record.get(name) for name in ("n", "indices", "sampler", "balance", "digest_of")}
            told = {f"{tag}.{name}": value for name, value in facts.items() if value is not None}
            self.add_tags({f"{tag}.digest": digest} | told)

    def _key(self, name: str) -> str:
        key = encode_key(name)
        if key != name and (digest := long_key(name)):
            self._tag(f"{LONG_NAME}{digest}", tag_text(name))
        return key

    def _tag(self, key: str, value: str) -> None:
        if self.known_tags.get(key) != value:
            self.known_tags[key] = self.tags[key] = value


def _positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def as_given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The params that a person gave, an alias (`lr`) under `config.NAME`: what was really set may differ from it."""
    return {name if canonical(name) == name else f"config.{name}": value for name, value in values.items()}


def _without_secret(name: str, text: str) -> str:
    """The value, or `***` for a text that is a secret by its name or its look; a number is none (`key_dim`)."""
    try:
        float(text)
    except ValueError:
        return redact.value(name, text)
    return text
