"""Runs a function right after a module has been imported by the job, without importing it."""

from __future__ import annotations

import sys

from .tracebacks import leave_out_this_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Callable, Sequence


class _Watcher:
    """A meta-path finder that finds nothing itself: it lends the real loader an `exec_module` for one call.

    The loader, the spec and the module stay the ones that Python would have made without it.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callable[[ModuleType], None]]] = {}
        self._searching: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.waiting or name in self._searching:
            return None
        self._searching.add(name)
        try:
            spec = self._real_spec(name, path, target)
        finally:
            self._searching.discard(name)
        if spec is not None and spec.loader is not None:
            self._listen(name, spec.loader)
        return spec

    def _real_spec(self, name: str, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _listen(self, name: str, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            try:
                del loader.exec_module  # back to the class's own
                execute(module)
            except BaseException as error:
                leave_out_this_frame(error)
                raise
            self._imported(name, module)

        try:
            loader.exec_module = exec_module
        except (AttributeError, TypeError):  # a loader in C or a class: such a module is not watched
            pass

    def _imported(self, name: str, module: ModuleType) -> None:
        functions = self.waiting.pop(name, [])
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        for then in functions:
            _call(name, then, module)


_watcher = _Watcher()


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Calls `then(module)` after the module's first import; at once where that has been."""
    module = sys.modules.get(name)
    if module is not None:
        _call(name, then, module)
        return
    _watcher.waiting.setdefault(name, []).append(then)
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)


def _call(name: str, then: Callable[[ModuleType], None], module: ModuleType) -> None:
    try:
        then(module)
    except Exception as error:
        from .session import current

        live = current()
        if live is not None:
            live.failed(f"what the job does with {name}", error)
