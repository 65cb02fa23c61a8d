"""Nested settings as flat parameters, without secrets: `{"model": {"width": 8}}` becomes `config.model.width = 8`."""

from __future__ import annotations

from .redact import parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

_MOST = 500  # parameters of one source
_DEEPEST = 10  # levels
_LONGEST = 1000  # items of a list

_SPOKEN_FOR = frozenset(  # modules whose objects say in their text what they are
    ["builtins", "pathlib", "datetime", "decimal", "fractions", "uuid", "torch", "jsonargparse", "ipaddress", "re"]
)


def flattened(prefix: str, content: Any) -> dict[str, Any]:
    """Returns the settings that `content`, a mapping, a namespace or a dataclass, holds, by name: at most 500."""
    found: dict[str, Any] = {}
    for name, value in _leaves(prefix, content, 0):
        if len(found) == _MOST:
            break
        found[name] = parameter(name, value)
    return found


def fields(content: Any) -> dict[str, Any] | None:
    """Returns what a mapping, a namespace or a dataclass instance holds, None for anything else."""
    if isinstance(content, dict):
        return content
    if isinstance(content, type):
        return None
    names = getattr(content, "__dataclass_fields__", None)
    inside: dict[str, Any] = getattr(content, "__dict__", {})
    if names is not None:
        return {name: inside[name] for name in names if name in inside}
    kind = type(content)
    if kind.__name__.endswith("Namespace") and kind.__module__ in ("argparse", "types", "jsonargparse._namespace"):
        return inside
    return None


def _leaves(name: str, content: Any, depth: int) -> Iterator[tuple[str, Any]]:
    inside = fields(content) if depth < _DEEPEST else None
    if inside is None or (depth and not inside):
        known, value = _plain(content)
        if known:
            yield name, value
        return
    for key, value in list(inside.items()):
        if isinstance(key, (str, int)) and not str(key).startswith("_"):
            yield from _leaves(f"{name}.{key}", value, depth + 1)


def _plain(content: Any, depth: int = 0) -> tuple[bool, Any]:
    """Returns (whether the value can be told, the value): no object whose text is its address or costs something."""
    if content is None or type(content) in (bool, int, float, str):
        return True, content
    if isinstance(content, type):
        return True, f"{content.__module__}.{content.__qualname__}"
    if hasattr(type(content), "_member_map_"):  # an enumeration
        return _plain(content.value) if type(content.value) in (bool, int, float, str) else (True, content.name)
    if isinstance(content, (list, tuple, set, frozenset, dict)):
        if depth == _DEEPEST or len(content) > _LONGEST:
            return False, None
        some = content.values() if isinstance(content, dict) else content
        return all(_plain(item, depth + 1)[0] for item in some), content
    module = type(content).__module__.partition(".")[0]
    if module == "numpy" and getattr(content, "shape", None) == () and hasattr(content, "item"):
        return True, content.item()
    if isinstance(getattr(content, "name", None), str) and hasattr(content, "close"):  # an open file
        return True, content.name
    if callable(content) or hasattr(content, "is_cuda"):  # a parser's action; the text of a tensor waits for its GPU
        return False, None
    return module in _SPOKEN_FOR or isinstance(content, (str, int, float)), content
