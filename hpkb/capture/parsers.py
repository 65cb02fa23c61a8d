"""Command lines that other libraries than argparse read: click, typer, absl, fire, jsonargparse, HfArgumentParser."""

from __future__ import annotations

import functools
import sys

from .arguments import foreign_fields, is_knob
from .callers import called_by_job, installed
from .flatten import fields
from .patch import call_after
from .session import current
from .settings import settings_of, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session


def watch_click(core: Any) -> None:
    """Hooks commands: each one's context has its parameters, defaults included, once it has parsed its part."""
    call_after(core.Command, "parse_args", _clicked)


def _clicked(live: Session, _left: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    command = args[0]
    context = args[1] if len(args) > 1 else kwargs["ctx"]
    code = getattr(_innermost(command.callback), "__code__", None)
    if context.resilient_parsing or (code is not None and installed(code.co_filename)):
        return
    hidden = {parameter.name for parameter in command.params if getattr(parameter, "hide_input", False)}
    values = {name: "***" if name in hidden else value for name, value in context.params.items()}
    if context.parent is not None:
        values.setdefault("command", command.name if context.parent.parent is None else context.command_path)
    tell(live, values, "click")


def _innermost(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def watch_absl(module: Any) -> None:
    """Hooks the parsing of flags, which `app.run` does first."""
    call_after(module.FlagValues, "__call__", _flags_parsed)


def _flags_parsed(live: Session, _left: Any, args: tuple[Any, ...], _kwargs: Any) -> None:
    """Tells the flags that the job's own modules define; absl names the main program by its path, not as a module."""
    values = {}
    for module, flags in args[0].flags_by_module_dict().items():
        known = sys.modules.get(module)
        if known is None or not installed(getattr(known, "__file__", None)):
            values.update({flag.name: flag.value for flag in flags})
    if values and called_by_job(("absl",)):
        tell(live, values, "absl")


def watch_fire(core: Any) -> None:
    """Hooks components: the function that `_MakeParseFn` returns for one binds its arguments, right before the call."""
    original = core._MakeParseFn

    @functools.wraps(original)
    def _MakeParseFn(function: Any, metadata: Any) -> Any:
        parse = original(function, metadata)

        def parse_and_tell(args: Any) -> Any:
            parsed = parse(args)
            live = current()
            if live is not None:
                try:
                    _fired(live, function, *parsed[0])
                except Exception as error:
                    live.failed("the command line", error)
            return parsed

        return parse_and_tell

    core._MakeParseFn = _MakeParseFn


def _fired(live: Session, function: Any, args: Any, kwargs: Any) -> None:
    import inspect

    settings_of(live).parsed = True
    code = getattr(_innermost(getattr(function, "__init__", None) if isinstance(function, type) else function),
                   "__code__", None)  # fmt: skip
    if code is None or installed(code.co_filename):
        return
    signature = inspect.signature(function)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    values = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            values.update(values.pop(parameter.name))
        elif parameter.kind is parameter.VAR_POSITIONAL and not values[parameter.name]:
            del values[parameter.name]
    tell(live, values, "fire")


def watch_jsonargparse(module: Any) -> None:
    """Hooks its parsers, which are argparse's by name only: the values are what comes out at the end, nested."""
    call_after(module.ArgumentParser, "parse_args", _parsed_nested)


def _parsed_nested(live: Session, namespace: Any, _args: Any, _kwargs: Any) -> None:
    if called_by_job(("jsonargparse", "lightning", "pytorch_lightning")):
        settings_of(live).forget_files()
        tell(live, namespace, "jsonargparse")


def watch_transformers(module: Any) -> None:
    """Hooks what HfArgumentParser does with a file; its command line is argparse's."""
    call_after(module.HfArgumentParser, "parse_dict", _parsed_dict)


def _parsed_dict(live: Session, outputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Keeps what a JSON or YAML file says to dataclasses, their own defaults included."""
    if not called_by_job(("transformers", "trl")):
        return
    given = args[1] if len(args) > 1 else kwargs["args"]
    settings = settings_of(live)
    settings.parsed = True
    settings.forget_files()
    chosen = {name: value for output in outputs for name, value in _chosen_fields(output, given).items()}
    settings.configured("the dataclasses", chosen)


def _chosen_fields(output: Any, given: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass instance, of a library's many only those that matter or were given."""
    foreign = foreign_fields(type(output))
    values = (fields(output) or {}).items()
    return {name: value for name, value in values if name not in foreign or name in given or is_knob(name)}


def watch_tyro(module: Any) -> None:
    """Hooks `tyro.cli` where it returns a dataclass; one that calls a function ends with the training."""
    call_after(module, "cli", _dataclass_returned)


def _dataclass_returned(live: Session, result: Any, _args: Any, _kwargs: Any) -> None:
    if fields(result) and called_by_job(("tyro",)):
        tell(live, result, "dataclass")
