"""Hydra and OmegaConf: the configuration that the job was composed, with what can be resolved of it.

Interpolations are followed here rather than by OmegaConf, whose resolvers may be functions of the job: one that
draws a random number must not be called once more.
"""

from __future__ import annotations

import os
import re
import weakref

from .callers import called_by_job
from .patch import call_after
from .redact import HIDDEN, names_secret
from .settings import settings_of
from .tracebacks import leave_out_this_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session

_MISSING = "???"
_PIECE = re.compile(r"\$\{([^${}]*)\}")
_PATH = re.compile(r"\.*[\w-]+(?:\.[\w-]+)*")
_DEEPEST = 10  # interpolations of interpolations


class _Unknown(Exception):
    """What an interpolation stands for cannot be told without running the job's code."""


def resolved(container: Any, root: Any) -> dict[str, Any]:
    """Returns the mapping `container` of `root` without what is missing or not known."""
    return _resolved_mapping(container, root, ())


def _resolved_mapping(node: dict[Any, Any], root: Any, path: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        try:
            found[str(key)] = _resolved_value(value, root, (*path, key), _DEEPEST)
        except _Unknown:
            continue
    return found


def _resolved_value(value: Any, root: Any, path: tuple[Any, ...], left: int) -> Any:
    if isinstance(value, dict):
        return _resolved_mapping(value, root, path)
    if isinstance(value, list):
        return [_resolved_value(item, root, (*path, i), left) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    if value == _MISSING or left == 0:
        raise _Unknown
    if "${" not in value:
        return value
    whole = _PIECE.fullmatch(value)
    if whole:
        return _looked_up(whole[1], root, path, left)
    text = _PIECE.sub(lambda piece: str(_looked_up(piece[1], root, path, left)), value)
    return text if text.count("${") == 0 else _resolved_value(text, root, path, left - 1)


def _looked_up(reference: str, root: Any, path: tuple[Any, ...], left: int) -> Any:
    """Returns what `${reference}` stands for at `path`: another node or a variable of the environment."""
    reference = reference.strip()
    if reference.startswith("oc.env:"):
        name, comma, default = reference[len("oc.env:") :].partition(",")
        text = os.environ.get(name.strip(), default.strip() if comma else None)
        if text is None:
            raise _Unknown
        return HIDDEN if names_secret(name) else text
    if not _PATH.fullmatch(reference):
        raise _Unknown
    up = len(reference) - len(reference.lstrip("."))
    keys = (*(path[: len(path) - up] if up else ()), *reference[up:].split("."))
    node = root
    for key in keys:
        if isinstance(node, list) and str(key).isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            raise _Unknown
    return _resolved_value(node, root, keys, left - 1)


def watch_hydra(utils: Any) -> None:
    """Hooks `run_job` of `hydra.core.utils`, through which each job of `hydra.main` is run."""
    original = utils.run_job

    def run_job(*args: Any, **kwargs: Any) -> Any:
        from .session import current

        live = current()
        if live is not None:
            try:
                _composed(live, next(v for v in (*args, *kwargs.values()) if type(v).__name__ == "DictConfig"))
            except Exception as error:
                live.failed("Hydra's configuration", error)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise

    run_job.__wrapped__ = original  # type: ignore[attr-defined]
    utils.run_job = run_job


def watch_compose(module: Any) -> None:
    """Hooks `hydra.compose`."""
    call_after(module, "compose", lambda live, config, _args, _kwargs: _composed(live, config))


def watch_omegaconf(module: Any) -> None:
    """Hooks OmegaConf: what it reads from the command line or a file of the arguments, and what that is merged into."""
    owner = module.OmegaConf
    for name, then in (("from_cli", _from_cli), ("load", _loaded), ("merge", _merged), ("unsafe_merge", _merged)):
        if hasattr(owner, name):
            call_after(owner, name, then)
            setattr(owner, name, staticmethod(getattr(owner, name)))


_followed: dict[int, tuple[weakref.ref[Any], str]] = {}  # configurations of which it is known where they are from


def _composed(live: Session, config: Any) -> None:
    root = _container(config)
    own = {key: value for key, value in root.items() if key != "hydra"}
    settings = settings_of(live)
    settings.parsed = True
    settings.configured("hydra", resolved(own, root))
    settings.conclude(opens=live.own_script)


def _from_cli(live: Session, config: Any, _args: Any, _kwargs: Any) -> None:
    if called_by_job(("omegaconf",)):
        settings_of(live).parsed = True
        _follow(live, config, "the command line")


def _loaded(live: Session, config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    settings = settings_of(live)
    file = args[0] if args else next(iter(kwargs.values()), None)
    path = os.path.abspath(file) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", "")
    if path in settings.paths:
        _follow(live, config, path)


def _merged(live: Session, config: Any, args: tuple[Any, ...], _kwargs: Any) -> None:
    known = [_followed[id(part)] for part in args if id(part) in _followed]
    sources = [source for (alive, source), part in zip(known, (p for p in args if id(p) in _followed))
               if alive() is part]  # fmt: skip
    if sources:
        for source in sources:
            settings_of(live).replaced(source)
        _follow(live, config, " and ".join(sources))


def _follow(live: Session, config: Any, source: str) -> None:
    root = _container(config)
    if isinstance(root, dict):
        _followed[id(config)] = (weakref.ref(config), source)
        settings_of(live).configured(source, resolved(root, root))


def _container(config: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=False)
