"""What the job was told: command line and configuration files, put together until the training begins.

What a parser returns is recorded at once, as `cli.NAME`. Configurations wait, because a script may still lay one over
another; they are recorded, as `config.NAME`, when the training begins or the job ends. A name that two files give
different values to stays out: which of them was meant only the script knows.
"""

from __future__ import annotations

import os
import sys

from .flatten import flattened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from .session import Session

_SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".py")
_LARGEST = 1 << 20  # bytes of a configuration file


class Settings:
    """The settings that one session has seen."""

    def __init__(self, live: Session) -> None:
        self.live = live
        self.parsed = False  # whether a parser has told what the command line means
        self.left: list[str] = []  # arguments that a parser did not know
        self.concluded = False
        self.complete = False  # whether arguments that no parser told of have been looked for
        self.paths: set[str] = set()  # configuration files that the arguments name
        self._configurations: dict[str, dict[str, Any]] = {}
        self._contents: dict[str, str] = {}
        for argument in getattr(sys, "argv", ())[1:]:
            self._look_for_path(argument)
            self._look_for_path(argument.partition("=")[2])

    def told(self, values: Any, origin: str) -> None:
        """Records what a parser made of the command line, and looks for configuration files in it."""
        self.parsed = True
        flat = flattened("cli", values)
        for value in flat.values():
            self._look_for_path(value)
        self.live.params(flat, origin, opens=self.live.own_script)

    def configured(self, source: str, content: Any) -> None:
        """Keeps the configuration from one source until the training begins."""
        if not self.concluded and isinstance(content, dict):
            self._configurations[source] = flattened("config", content)

    def replaced(self, source: str) -> None:
        """Forgets a configuration that has become a part of another."""
        self._configurations.pop(source, None)

    def forget_files(self) -> None:
        """Forgets the files that a parser has read itself: what it returns has their values, with their types."""
        for path in self.paths:
            self.replaced(path)

    def conclude(self, opens: bool = False) -> None:
        """Records the configurations; later ones are no longer the run's."""
        if self.concluded:
            return
        self.concluded = True
        merged: dict[str, Any] = {}
        contested: set[str] = set()
        for flat in self._configurations.values():
            contested.update(name for name, value in flat.items() if name in merged and merged[name] != value)
            merged.update(flat)
        values = {name: value for name, value in merged.items() if name not in contested}
        self.live.params(values, "configuration", opens)

    def source_of(self, stream: Any) -> str | None:
        """Returns which file of the arguments an open file or a text is, None where it is none."""
        if not self.paths or self.concluded:
            return None
        if isinstance(stream, (bytes, bytearray)):
            stream = stream.decode("utf-8", "replace")
        if isinstance(stream, str):
            return next((path for path in self.paths if self._content(path) == stream), None)
        name = getattr(stream, "name", None)
        path = os.path.abspath(name) if isinstance(name, str) else ""
        return path if path in self.paths and self._content(path) is not None else None

    def _content(self, path: str) -> str | None:
        """Returns what the file holds, None where it is too large or gone."""
        if path not in self._contents:
            try:
                if os.path.getsize(path) > _LARGEST:
                    return None
                with open(path, encoding="utf-8", errors="replace") as file:
                    self._contents[path] = file.read()
            except OSError:
                return None
        return self._contents[path]

    def _look_for_path(self, value: Any) -> None:
        if isinstance(value, str) and value.endswith(_SUFFIXES) and os.path.isfile(value):
            self.paths.add(os.path.abspath(value))
            if value.endswith(".json"):
                from .configuration_files import watch_json

                watch_json()


_settings: Settings | None = None


def settings_of(live: Session) -> Settings:
    """Returns the settings of a session, begun where it is new."""
    global _settings
    if _settings is None or _settings.live is not live:
        _settings = Settings(live)
    return _settings


def tell(live: Session, values: Mapping[str, Any], origin: str) -> None:
    """Records what a parser made of the command line."""
    settings_of(live).told(values, origin)
