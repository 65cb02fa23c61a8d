"""The splits of one session: read beside the training, told once each, and held against each other.

A round is the training data of one model and what it is evaluated on; cross-validation has several, and only the
splits of one round are compared. An evaluation of training data over again is no split of its own.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Iterator, Optional  # torch has imported it by now

from .balance import balance_of
from .digest import Content, Keys, content_of, indices_digest, keys_of, without_data
from .examples import Examples, Gone, base_of, examples_of
from .overlap import Chosen, Overlap
from .reader import Reader
from .session import Session

_TOLD = 8  # splits told of one process; cross-validation makes many
_READS = 64  # data sets looked at; a script may make new ones without end
_AT_ONCE = 16 << 20  # bytes that are read in the job's own thread, in about 8 ms
_ITEMS_AT_ONCE = 2000
_KEPT = 4  # data sets whose keys are kept for the next split of them
_KEPT_EXAMPLES = 1_000_000
_ORDER = ("training", "validation", "test")


class Seen:
    """One split on its way: where it is used, and what has been found of it by now."""

    def __init__(self, torch: Any, loader: Any, indices: Any, role: str, named: Optional[str], facts: Any) -> None:
        self.role, self.named, self.facts = role, named, facts
        base, self.indices = base_of(torch, loader.dataset, indices)
        self.dataset = type(loader.dataset).__name__
        self.examples: Examples = examples_of(torch, base, loader)
        self.chosen = Chosen(torch, _token(base), self.examples.n, self.indices)
        self.facts["indices"] = indices_digest(self.indices)
        self.identity = (self.examples.identity, self.facts["indices"])
        self.facts["balance"] = balance_of(torch, base, self.indices)
        self.content: Optional[Content] = None

    @property
    def small(self) -> bool:
        """Whether it is read in no time."""
        columns = self.examples.every_column
        size = sum(column.length * (column.row_bytes + 16) for column in columns)
        return size <= _AT_ONCE and sum(column.length for column in columns if column.of_items) <= _ITEMS_AT_ONCE

    def let_go(self, at_once: bool = False) -> None:
        """Holds the data no more, or only if their time is over."""
        for column in self.examples.every_column:
            column.let_go(at_once)


_tokens: dict[int, tuple[Any, object]] = {}  # by the identity of a data set, valid while it lives


def _token(base: Any) -> object:
    """Returns an object that stands for a data set, the same one as long as it lives."""
    base = getattr(base, "_data", base) if hasattr(base, "_fingerprint") else base  # tables share their data
    known = _tokens.get(id(base))
    if known is not None and known[0]() is base:
        return known[1]
    for place in [place for place, (held, _) in _tokens.items() if held() is None]:
        del _tokens[place]
    token = object()
    try:
        _tokens[id(base)] = (weakref.ref(base), token)
    except TypeError:  # a list: nobody can tell whether it is still the same one
        pass
    return token


class Round:
    """Training data and what is evaluated beside them."""

    def __init__(self) -> None:
        self.training: list[Seen] = []
        self.evaluation: list[Seen] = []
        self.told: list[Seen] = []


class Splits:
    """All splits of a session; what is read in the background arrives in a thread of its own."""

    def __init__(self, live: Session, torch: Any) -> None:
        self._live = live
        self._torch = torch
        self._reader = Reader(live, torch, self._let_go)
        self._lock = threading.RLock()
        self._round = Round()
        self._pending: list[tuple[Round, Seen]] = []  # in the order in which they were used
        self._kept: list[tuple[Any, list[Any], Keys]] = []
        self._told: set[tuple[str, str]] = set()
        self._training: set[str] = set()  # digests
        self._overlaps: dict[str, Overlap] = {}
        self._compared: set[tuple[str, str, str]] = set()
        self._reads = 0
        live.closing.append(self.close)

    def add(self, loader: Any, indices: Any, role: str, named: Optional[str], facts: dict[str, Any]) -> None:
        """Takes note of a loader that is used in a role; raises TypeError for data without length."""
        self._reads += 1
        if self._reads > _READS or len(self._told) >= _TOLD:
            return
        seen = Seen(self._torch, loader, indices, role, named, facts)
        known = self._round.training if role == "training" else self._round.evaluation
        if any(other.identity == seen.identity and other.role == role for other in known):
            self._reads -= 1
            return
        if role == "training" and self._round.training and self._round.evaluation:
            self._round = Round()
            known = self._round.training
        known.append(seen)
        self._pending.append((self._round, seen))  # without the lock, which the thread may hold for long
        reading = self._read(seen)
        if self._reader.idle and (seen.small or self._keys_known(seen.examples) is not None):
            for _ in reading:
                pass
        else:
            self._reader.add(reading)

    def settle(self) -> None:
        """Tells what is ready to be told; the thread does it later where it is about to."""
        if self._lock.acquire(blocking=False):
            try:
                self._tell_ready(final=False)
            finally:
                self._lock.release()

    def close(self) -> None:
        """Reads to the end what is being read, and tells the rest with what is known of it."""
        if not self._pending:
            return
        self._reader.finish()
        with self._lock:
            for _, seen in self._pending:
                seen.let_go(at_once=True)
                seen.content = seen.content or without_data(seen.examples, seen.indices)
            self._tell_ready(final=True)

    def _read(self, seen: Seen) -> Iterator[float]:
        try:
            keys = self._keys_known(seen.examples)
            if keys is None:
                keys = yield from keys_of(self._torch, seen.examples)
                self._keep(seen.examples, keys)
            seen.chosen.compare_by(keys, seen.examples.signature)
            content = content_of(keys, seen.indices)
        except Gone:
            content = without_data(seen.examples, seen.indices)
        finally:
            seen.let_go(at_once=True)
        with self._lock:
            seen.content = content
            self._tell_ready(final=False)

    def _let_go(self) -> None:
        for _, seen in list(self._pending):
            seen.let_go()

    def _keys_known(self, examples: Examples) -> Optional[Keys]:
        self._kept = [kept for kept in self._kept if all(alive() for alive in kept[1])]
        return next((keys for identity, _, keys in self._kept if identity == examples.identity), None)

    def _keep(self, examples: Examples, keys: Keys) -> None:
        if examples.n <= _KEPT_EXAMPLES and examples.every_column:
            alive = [column.still_there() for column in examples.every_column]
            self._kept = [*self._kept[1 - _KEPT :], (examples.identity, alive, keys)]

    def _tell_ready(self, final: bool) -> None:
        """Tells training data as they come, others after the first step, and not before the training data."""
        for entry in list(self._pending):
            round_, seen = entry
            is_training = seen.role == "training"
            if seen.content is None or not (is_training or final or self._live.step):
                continue
            if not is_training and any(other.content is None for other in round_.training):
                continue
            self._pending.remove(entry)
            if is_training:
                self._training.add(seen.content.digest)
            if is_training or not self._over_again(round_, seen):
                self._tell(round_, seen)

    def _over_again(self, round_: Round, seen: Seen) -> bool:
        """Whether the training data are evaluated: the same, or a part of them that no name calls anything else."""
        assert seen.content is not None
        if seen.content.digest in self._training:
            return True
        found = [other.chosen.overlap(seen.chosen) for other in round_.training]
        counts = [n for overlap in found if not overlap.sampled for n in overlap[:2]]
        return seen.content.n in counts and seen.named not in ("validation", "test")

    def _tell(self, round_: Round, seen: Seen) -> None:
        assert seen.content is not None
        n, digest, digest_of = seen.content
        if (seen.role, digest) not in self._told and len(self._told) < _TOLD:
            self._told.add((seen.role, digest))
            fields = {name: value for name, value in seen.facts.items() if value is not None}
            self._live.split(seen.role, seen.dataset, n, digest, digest_of, **fields)
        self._compare(round_, seen)
        round_.told.append(seen)

    def _compare(self, round_: Round, seen: Seen) -> None:
        for other in round_.told:
            if other.role == seen.role:
                continue
            first, second = sorted((other, seen), key=lambda split: _ORDER.index(split.role))
            pair = (f"{first.role}+{second.role}", str(first.content), str(second.content))
            if pair not in self._compared:
                self._compared.add(pair)
                self._found(pair[0], first.chosen.overlap(second.chosen))

    def _found(self, pair: str, overlap: Overlap) -> None:
        if not str(overlap):
            return
        joined = self._overlaps[pair] = overlap.joined(self._overlaps[pair]) if pair in self._overlaps else overlap
        self._live.note("overlap", splits=pair, **joined._asdict())
        shared = {name: found for name, found in self._overlaps.items() if any(found[:2])}
        tags = {"hpkb.split.overlap": "; ".join(f"{name}: {found}" for name, found in shared.items()) or "none"}
        if any(name.startswith("training+") for name in shared):
            tags["hpkb.split.leakage"] = "true"
        self._live.tags(tags)
