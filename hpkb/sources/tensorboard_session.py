"""What the events of a run say of it besides scalars: HParams, how the session ended, times, restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpkb.sources.event_records import Checksum, records
from hpkb.sources.event_scalars import Restart
from hpkb.sources.optuna_values import text_of

_HPARAMS = b"_hparams_/session_"
_SESSION_LOG = 0x3A  # the first byte of this kind of event, behind time and step
_START_OF_STEP = 0x10
_EXACT = 2.0**53


@dataclass
class Session:
    """What was found. `status` is TensorBoard's number for it, None where no end is recorded."""

    hparams: dict[str, str] = field(default_factory=dict)
    has_started: bool = False
    status: int | None = None
    first_time: float | None = None
    last_time: float | None = None
    restarts: list[Restart] = field(default_factory=list)


def read(files: Iterable[Path], crc: Checksum, event_of: Any) -> Session:
    """Returns what the files of a run say; `event_of` makes an event of its bytes."""
    session, number = Session(), 0
    times = []
    for file in files:
        first = last = b""
        for record in records(file, crc, Counter()):  # damage is counted where the points are read
            number += 1
            first, last = first or record, record
            if _HPARAMS in record:
                _take_hparams(session, event_of(record))
            elif _kind(record) == _SESSION_LOG:
                _take_restart(session, event_of(record), number)
        times += [event_of(record).wall_time for record in (first, last) if record]
    known = [time for time in (session.first_time, session.last_time, *times) if time]
    session.first_time, session.last_time = min(known, default=None), max(known, default=None)
    return session


def _kind(record: bytes) -> int:
    """The byte behind time and step; 0 where the event is not written in the usual order."""
    position = 9
    if record[position : position + 1] == bytes([_START_OF_STEP]):
        position += 1
        while position < len(record) and record[position] > 127:
            position += 1
        position += 1
    return record[position] if position < len(record) else 0


def _take_hparams(session: Session, event: Any) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for summary in event.summary.value:
        if summary.metadata.plugin_data.plugin_name != "hparams":
            continue
        said = HParamsPluginData.FromString(summary.metadata.plugin_data.content)
        if said.HasField("session_start_info"):
            session.has_started = True
            start = said.session_start_info
            session.hparams |= {name: _text(start.hparams[name]) for name in sorted(start.hparams)}
            session.first_time = start.start_time_secs or session.first_time
        elif said.HasField("session_end_info"):
            session.status = said.session_end_info.status
            session.last_time = said.session_end_info.end_time_secs or session.last_time


def _take_restart(session: Session, event: Any, number: int) -> None:
    log = event.session_log
    if log.status == log.START:
        session.restarts.append((number, event.step))


def _text(value: Any) -> str:
    """A value of an HParam as text; whole numbers, which are kept as doubles, without a fraction."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number == number // 1 and abs(number) < _EXACT else repr(number)
    if kind in ("list_value", "struct_value"):
        from google.protobuf.json_format import MessageToDict

        return text_of(MessageToDict(value))
    return "None" if kind in (None, "null_value") else str(getattr(value, kind))
