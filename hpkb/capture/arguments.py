"""What the script was told on its command line: the results of argparse and its like, with their defaults."""

from __future__ import annotations

import re
import sys

from .callers import called_by_job, installed
from .nesting import Nesting
from .patch import call_after_outermost
from .settings import settings_of, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from .session import Session

_NAME = r"[A-Za-z][\w.-]*"
_ASSIGNMENT = re.compile(rf"(?:--?|\+\+?)?({_NAME})=(.*)", re.DOTALL)
_OPTION = re.compile(rf"--({_NAME})")
_NEGATIVE = re.compile(r"-\.?\d[\d.eE+-]*")
_KNOB = re.compile(  # settings of a library that are told even where they have its own default
    r"learning_rate|batch_size|num_train_epochs|max_steps|weight_decay|warmup|adam_|^optim$|max_grad_norm|lr_scheduler"
    r"|accumulation_steps|label_smoothing|^seed$|data_seed|^bf16$|^fp16$|^tf32$|drop_last|num_workers|gradient_checkp"
)


def watch_arguments(argparse: Any) -> None:
    """Hooks `parse_known_args`, through which every way of parsing goes; a subcommand's parser is called by another."""
    call_after_outermost(argparse.ArgumentParser, "parse_known_args", Nesting(), _parsed, "the command line")


def _parsed(live: Session, result: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    _record(live, args[0], *result)


def _record(live: Session, parser: Any, namespace: Any, left: list[str]) -> None:
    packages = {kind.__module__.partition(".")[0] for kind in type(parser).__mro__ if kind is not object}
    if not called_by_job(packages):
        return
    tell(live, _without_foreign_defaults(parser, vars(namespace)), "argparse")
    settings_of(live).left = list(left)


def _without_foreign_defaults(parser: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values less the many that a library's dataclass (`TrainingArguments`) has and nobody has changed."""
    foreign = {name for kind in getattr(parser, "dataclass_types", ()) for name in foreign_fields(kind)}
    return {
        name: value
        for name, value in values.items()
        if name not in foreign or _KNOB.search(name) or value != parser.get_default(name)
    }


def foreign_fields(kind: Any) -> set[str]:
    """Returns the fields of a dataclass that it has from installed packages."""
    found: set[str] = set()
    inherited: dict[str, Any] = {}
    for part in reversed(kind.__mro__):
        fields = vars(part).get("__dataclass_fields__", inherited)
        own = {name for name, field in fields.items() if inherited.get(name) is not field}
        file = getattr(sys.modules.get(part.__module__), "__file__", None)
        found = found | own if installed(file) else found - own
        inherited = fields
    return found


def is_knob(name: str) -> bool:
    """Whether a library's setting of that name decides how it trains."""
    return _KNOB.search(name) is not None


def plain_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns what `--name=value`, `name=value` and `--name value` say; nothing of other forms."""
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        assignment, option = _ASSIGNMENT.fullmatch(argument), _OPTION.fullmatch(argument)
        if assignment:
            found[_identifier(assignment[1])] = _literal(assignment[2])
        elif option:
            follows = bool(rest) and (not rest[0].startswith("-") or _NEGATIVE.fullmatch(rest[0]) is not None)
            if follows and len(rest) > 1 and not rest[1].startswith("-") and "=" not in rest[1]:
                continue  # several values, or a flag and the script's own arguments
            found[_identifier(option[1])] = _literal(rest.pop(0)) if follows else True
    return found


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _literal(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
