"""Names and values as MLflow takes them, and the names as they were."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MAX_KEY = 250  # characters, of a param, a metric and a tag
MAX_PARAM = 6000  # characters; MLflow's client cuts there
MAX_ARTIFACT = 4_000_000  # characters of a text that becomes a file
MAX_TAG = 5000  # characters; servers before 2.17 refuse more
CUT = " … [cut by hpkb]"

_ACCEPTED = re.compile(r"[/\w.\- :]+")
_REFUSED = re.compile(r"[^/\w.\- :]")
_ESCAPE = re.compile(r"_x([0-9a-f]{2,6})_")
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9a-f])")
_EMPTY = "_x110000_"  # one beyond the last character there is
_LONG = re.compile(r"_xk([0-9a-f]{16})_$")


@lru_cache(maxsize=4096)  # the same few names come with every step
def encode_key(name: str) -> str:
    """The name as MLflow accepts it: unchanged where it can be, else each refused character as `_x40_` (for `@`).

    `decode_key` is the inverse. A name that is too long keeps its beginning and a digest; `long_key` says under
    which tag the whole name is kept.
    """
    if _ACCEPTED.fullmatch(name) and _is_plain_path(name) and not _ESCAPE.search(name):
        return _shortened(name, name)
    key = _REFUSED.sub(_escaped, _LOOKS_ESCAPED.sub("_x5f_", name)) or _EMPTY
    if not _is_plain_path(key):
        key = re.sub(r"/|^\.+", lambda found: "".join(f"_x{ord(c):02x}_" for c in found[0]), key)
    return _shortened(key, name)


def decode_key(key: str, long_names: Mapping[str, str] | None = None) -> str:
    """The name that `encode_key` was given. `long_names` maps the digest of `long_key` to the whole name."""
    if (long := _LONG.search(key)) and long_names and long[1] in long_names:
        return long_names[long[1]]
    return _ESCAPE.sub(_character, key)


def long_key(name: str) -> str | None:
    """The digest under which a name that is too long for a key is kept whole (tag `hpkb.key.DIGEST`), or None."""
    found = _LONG.search(encode_key(name))
    return found[1] if found else None


def param_text(value: Any) -> str:
    """A parameter's value as text, cut with a mark where MLflow would cut it without one."""
    return _cut(_text(value), MAX_PARAM)


def whole_text(value: Any) -> str:
    """A parameter's value as text for an artifact, where it is too long for a param."""
    return artifact_text(_text(value))


def tag_text(value: Any) -> str:
    """A tag's value as text, cut with a mark at the length that every MLflow server takes."""
    return _cut(str(value), MAX_TAG)


def artifact_text(text: str) -> str:
    """The text of an artifact, cut with a mark where it is longer than a store should be given."""
    return _cut(text, MAX_ARTIFACT)


def artifact_path(name: str) -> str:
    """A path below a run's artifacts that no store refuses, and that leads nowhere else."""
    parts = [re.sub(r"[^\w.\- ]", "_", part) for part in name.split("/") if part.strip(". ")]
    return "/".join(parts)[-MAX_KEY:].lstrip("/") or "unnamed"


def same_value(first: str, second: str) -> bool:
    """Whether two parameter values say the same: `1e-3` and `0.001` do."""
    if first == second:
        return True
    try:
        return float(first) == float(second)
    except ValueError:
        return False


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def _is_plain_path(name: str) -> bool:
    return posixpath.normpath(name) == name and not name.startswith(("..", "/")) and name != "."


def _shortened(key: str, name: str) -> str:
    if len(key) <= MAX_KEY:
        return key
    mark = f"_xk{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}_"
    return key[: MAX_KEY - len(mark)].rstrip("/.") + mark


def _escaped(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):02x}_"


def _character(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 else ""


def _cut(text: str, limit: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT
