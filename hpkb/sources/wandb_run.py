"""What the records of a W&B run say of it besides its history: settings, summary, definitions, machine and end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpkb.errors import SourceError
from hpkb.sources.nested import flattened
from hpkb.sources.run_files import Described
from hpkb.sources.wandb_history import number
from hpkb.sources.wandb_records import records
from hpkb.sources.wandb_states import of_exit

Parse = Callable[[bytes], Any]
_HISTORY, _SUMMARY = 0x12, 0x1A  # the first bytes of these kinds of record, behind the record's number
_REPEATS_HISTORY = b"_runtime"  # is in the summaries that wandb writes at every step
_PASSED_OVER = (0x22, 0x3A, 0x6A)  # output, system metrics, raw output


@dataclass
class Said:
    """What was found so far: wandb's own messages, and from them the configuration and the summary's numbers."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)
    environment: Any = None
    definitions: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    runtime: float = 0
    is_preempted: bool = False
    last_history: Any = None


def parser() -> Parse:
    """Returns what turns a record's bytes into wandb's own message; raises SourceError without wandb."""
    try:
        from wandb.proto import wandb_internal_pb2
    except ImportError as error:
        what_next = "Try: pip install 'hpkb[wandb]'"
        raise SourceError(f"W&B folders cannot be read without wandb ({error}). {what_next}") from None
    parse: Parse = wandb_internal_pb2.Record.FromString
    return parse


def histories(file: Path, counts: Counter[str]) -> Iterator[bytes]:
    """Yields the history records of a file; counts what is damaged."""
    return (record for record in records(file, counts) if _first_tag(record) == _HISTORY)


def header(file: Path, parse: Parse, counts: Counter[str]) -> Any:
    """Returns the message that says whose file it is, None where the file ends before; counts what is damaged."""
    rare = _rare(records(file, counts), parse)
    return next((record.run for record in rare if record.WhichOneof("record_type") == "run"), None)


def has_end(file: Path, parse: Parse, last_blocks: int) -> bool:
    """Returns whether the last blocks of a file say how the run ended."""
    rare = _rare(records(file, Counter(), last_blocks), parse)
    return any(r.WhichOneof("record_type") == "exit" for r in rare)


def read(files: Iterable[Path], parse: Parse) -> Said:
    """Returns what the files of a run say; where it was resumed, only the last of them says how it ended."""
    said = Said()
    for file in files:
        said.exit_code, said.is_preempted = None, False
        last = b""
        for record in records(file, Counter()):  # damage is counted where the history is read
            tag = _first_tag(record)
            if tag == _HISTORY:
                last = record
            elif tag not in _PASSED_OVER and not (tag == _SUMMARY and _REPEATS_HISTORY in record):
                _take(said, parse(record))
        said.last_history = parse(last).history if last else said.last_history
    return said


def describe(said: Said, is_abandoned: bool) -> Described:
    """Returns what is known of the run. One that has no end is running or, where it is abandoned, has crashed."""
    run = said.run
    started = run.start_time.ToNanoseconds() / 1e9 if run.HasField("start_time") else None
    status, reason = _status(said, is_abandoned)
    ends = (_last_time(said.last_history), started + said.runtime if started and said.runtime else None)
    return Described(
        run_name=run.display_name or None,
        status=status,
        started_at=started,
        ended_at=None if status == "RUNNING" else max((end for end in ends if end), default=None),
        end_reason=reason,
        parameters=flattened({key: value for key, value in said.config.items() if key != "_wandb"}),
        hardware=_hardware(run, said.environment),
    )


def _rare(found: Iterable[bytes], parse: Parse) -> Iterator[Any]:
    """The messages of those records that are not written at every step."""
    often = (_HISTORY, _SUMMARY, *_PASSED_OVER)
    return (parse(record) for record in found if _first_tag(record) not in often)


def _first_tag(record: bytes) -> int:
    """The byte behind the record's number: what kind of record it is, for the frequent kinds."""
    position = 0
    if record[:1] == b"\x08":
        position = 1
        while position < len(record) and record[position] > 127:
            position += 1
        position += 1
    return record[position] if position < len(record) else 0


def _take(said: Said, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        said.run = said.run or record.run
        _update_config(said.config, record.run.config)
        _update_summary(said.summary, record.run.summary)
    elif kind == "config":
        _update_config(said.config, record.config)
    elif kind == "summary":
        _update_summary(said.summary, record.summary)
    elif kind == "metric":
        said.definitions.append(record.metric)
    elif kind == "environment":
        said.environment = said.environment or record.environment
    elif kind == "preempting":
        said.is_preempted = True
    elif kind == "exit":
        said.exit_code, said.runtime = record.exit.exit_code, record.exit.runtime


def _update_config(config: dict[str, Any], change: Any) -> None:
    for item in change.update:
        *path, name = _path(item)
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[name] = json.loads(item.value_json)
    for item in change.remove:
        config.pop(".".join(_path(item)), None)


def _update_summary(summary: dict[str, float], change: Any) -> None:
    for item in change.update:
        key, value = ".".join(_path(item)), number(item.value_json)
        if value is not None and not key.startswith("_"):
            summary[key] = value
    for item in change.remove:
        summary.pop(".".join(_path(item)), None)


def _path(item: Any) -> list[str]:
    return list(item.nested_key) or [item.key]


def _status(said: Said, is_abandoned: bool) -> tuple[str, str | None]:
    if said.exit_code is not None:
        return of_exit(said.exit_code)
    if said.is_preempted:
        return "KILLED", "preempted"
    return ("KILLED", "crashed") if is_abandoned else ("RUNNING", None)


def _last_time(history: Any) -> float | None:
    items = history.item if history else ()
    return next((number(item.value_json) for item in items if _path(item) == ["_timestamp"]), None)


def _hardware(run: Any, seen: Any) -> dict[str, str]:
    """The facts about machine, code and environment, under the names that capture gives them."""
    found = {"hpkb.code.commit": run.git.commit}
    if seen is not None:
        found |= {
            "hpkb.env.python": seen.python.removeprefix("CPython "),
            "hpkb.env.cuda": seen.cuda_version,
            "hpkb.hw.gpu.name": seen.gpu_type,
            "hpkb.hw.gpu.count": str(seen.gpu_count or ""),
            "hpkb.hw.cpu.cores": str(seen.cpu_count_logical or seen.cpu_count or ""),
            "hpkb.code.commit": seen.git.commit or run.git.commit,
            "hpkb.code.script": seen.code_path or seen.program,
        }
    return {name: text for name, text in found.items() if text}
