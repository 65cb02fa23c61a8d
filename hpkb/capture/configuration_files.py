"""Configuration files that the arguments name, seen as the job reads them with yaml, json, tomllib or OmegaConf."""

from __future__ import annotations

import sys

from .patch import call_after
from .settings import settings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session

_json_watched = False


def watch_yaml(yaml: Any) -> None:
    """Hooks PyYAML, of which every way of loading one document goes through `load`."""
    call_after(yaml, "load", _read)


def watch_toml(toml: Any) -> None:
    """Hooks tomllib and the packages that it was made from."""
    call_after(toml, "load", _read)
    call_after(toml, "loads", _read)


def watch_json() -> None:
    """Hooks `json.loads`, which `json.load` calls too; only in a job that was given a JSON file."""
    global _json_watched
    if not _json_watched:
        _json_watched = True
        import json

        call_after(json, "loads", _read)


def _read(live: Session, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    settings = settings_of(live)
    source = settings.source_of(args[0] if args else next(iter(kwargs.values()), None))
    if source is not None:
        settings.configured(source, result)


def variables_of_scripts(paths: set[str]) -> dict[str, Any]:
    """Returns what configuration files in Python set in the main program, as it is now: numbers and texts only.

    Such a file is executed among the script's own variables (`exec(open(path).read())`), so a name counts only where
    the main program has it.
    """
    import ast

    main = vars(sys.modules["__main__"])
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            lines = ast.parse(file.read()).body
        targets = [target for line in lines if isinstance(line, ast.Assign) for target in line.targets]
        for name in (target.id for target in targets if isinstance(target, ast.Name)):
            if type(main.get(name)) in (bool, int, float, str) and not name.startswith("_"):
                found[name] = main[name]
    return found
