"""What the script was told on its command line: the results of argparse, with their defaults, as `cli.NAME`."""

from __future__ import annotations

import functools  # argparse has imported it by now

from .redact import parameter
from .session import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session


def watch_arguments(argparse: Any) -> None:
    """Hooks `parse_known_args`, through which every way of parsing goes, and tells of the outermost call only."""
    original = argparse.ArgumentParser.parse_known_args
    depth = 0

    @functools.wraps(original)
    def parse_known_args(*args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        depth += 1  # a subcommand's parser is called by its parent's
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            raise
        finally:
            depth -= 1
        live = current()
        if live is not None and depth == 0:
            try:
                _record(live, result[0])
            except Exception as error:
                live.failed("the command line", error)
        return result

    argparse.ArgumentParser.parse_known_args = parse_known_args


def _record(live: Session, namespace: Any) -> None:
    values = {
        f"cli.{name}": parameter(name, value)
        for name, value in vars(namespace).items()
        if not name.startswith("_") and not callable(value)
    }
    live.params(values, "argparse", opens=live.own_script)
