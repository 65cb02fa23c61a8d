"""The numbers that a script prints, as metrics: `name: value` and `name=value` in its completed lines.

Standard output and error stay the very objects that they were; only their `write` is told to capture too, after it
has written. Words that say where the training stands (epoch, step) are positions, not metrics.
"""

from __future__ import annotations

import sys

from .metric_names import MetricNames, sending
from .session import current
from .tracebacks import leave_out_this_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any

    from .session import Session

_LONGEST = 2000  # characters of a line that is read
_NAMES = 300  # metrics of one stream: a script that prints a table of its files is not to make a curve of each
_CLOCKS = ("global_step", "step", "steps", "iteration", "iter", "it", "epoch")  # the first that a line has counts
_POSITIONS = frozenset([*_CLOCKS, "epochs", "iters", "iterations", "batch", "batches", "eta"])


def watch_output() -> None:
    """Hooks the two streams that the process has now."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _watch(stream)


def _watch(stream: Any) -> None:
    write = stream.write
    lines = Lines()

    def tee(text: str, /) -> Any:
        try:
            written = write(text)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        live = current()
        if live is not None and not sending.depth:
            try:
                lines.feed(live, text)
            except Exception as error:
                live.failed("a printed metric", error)
        return written

    tee.__name__ = "write"
    try:
        stream.write = tee
    except (AttributeError, TypeError):  # a stream that lets nothing be set: its output is not read
        pass


class Lines:
    """Puts lines together from pieces. Of a line that was drawn over (progress bars) the last state counts."""

    def __init__(self) -> None:
        self._partial = ""
        self._counts: dict[str, int] = {}
        self._clock: int | None = None

    def feed(self, live: Session, text: str) -> None:
        """Takes what was written and records the metrics of the lines that it completes."""
        if "\n" not in text:
            self._partial = (self._partial + text)[-_LONGEST - 1 :]
            return
        *complete, self._partial = (self._partial + text).split("\n")
        for line in complete:
            if (":" in line or "=" in line) and len(line) <= _LONGEST * 10:
                line = line.rstrip("\r").rpartition("\r")[2]
                if len(line) <= _LONGEST and not line.startswith("hpkb: ") and not _is_echo(line):
                    self._record(live, line)

    def _record(self, live: Session, line: str) -> None:
        metrics, positions = parse(line)
        if not metrics or not (live.own_script or live.is_open):
            return
        names = live.part(MetricNames)
        metrics = {names.of_printed(name): value for name, value in metrics.items()}
        step = live.step or self._own_step(next(iter(metrics)), positions)
        known = self._counts
        metrics = {name: value for name, value in metrics.items() if name in known or len(known) < _NAMES}
        known.update((name, known.get(name, -1) + 1) for name in metrics)
        if metrics:
            live.points(step, metrics)

    def _own_step(self, first: str, positions: dict[str, int]) -> int:
        """Returns the step of a script without an optimizer: what its lines said last, else how often they came."""
        self._clock = next((positions[name] for name in _CLOCKS if name in positions), self._clock)
        return self._counts.get(first, -1) + 1 if self._clock is None else self._clock


def _is_echo(line: str) -> bool:
    """Whether Ray repeats what one of its workers has printed: `(RayTrainWorker pid=123) loss: 0.5`."""
    return "(" in line[:8] and " pid=" in line[:100]


def parse(line: str) -> tuple[dict[str, float], dict[str, int]]:
    """Returns the metrics of a line and its positions, both by name: lower case, words joined by underscores.

    What stands in the brackets of a call (`Linear(in_features=64)`) is no metric, nor is a number that goes on:
    `cuda:0`, `12:30`, `3/10`, `1.2.3`. A loss or an accuracy may do without the sign: `val loss 0.9204`. Of a name
    that occurs twice the first counts.
    """
    pair, spoken, position, call = _patterns()
    positions: dict[str, int] = {}
    for found in position.finditer(line):
        positions.setdefault(found[1].lower().replace(" ", "_"), int(found[2]))
    metrics: dict[str, float] = {}
    line = _without_calls(line, call)
    for found in (*pair.finditer(line), *spoken.finditer(line)):
        name = _name(found)
        if name and name not in _POSITIONS:
            metrics.setdefault(name, float(found["value"]))
    return metrics, positions


def _without_calls(line: str, call: re.Pattern[str]) -> str:
    while True:
        shorter = call.sub("", line)
        if shorter == line:
            break
        line = shorter
    return line.partition("Namespace(")[0]


def _name(found: re.Match[str]) -> str:
    """Returns the pair's name; '' for a bare word glued to a whole number by a colon (`cuda:0`)."""
    if found["glue"] == ":" and found["value"].lstrip("+-").isdigit():
        return ""
    words = found["name"].lower().replace("-", "_").split()
    while len(words) > 1 and words[0] in _POSITIONS:
        del words[0]
    return "_".join(words).strip("._/")


_compiled: list[re.Pattern[str]] = []


def _patterns() -> list[re.Pattern[str]]:
    """Returns the patterns of a pair, one without its sign, a position and a call; made when a line needs them."""
    if not _compiled:
        _compiled.extend(_compile())
    return _compiled


def _compile() -> tuple[re.Pattern[str], ...]:
    import re

    word = r"[A-Za-z_][\w./-]{0,79}"
    number = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|(?:nan|inf(?:inity)?)\b)"
    pair = re.compile(
        rf"(?<![\w./\\:@-])['\"]?(?P<name>{word}(?: {word}){{0,2}})['\"]?(?P<glue> ?[:=]\s*)"
        rf"(?P<value>{number})(?![\w:/]|\.\w|-\d)",
        re.IGNORECASE,
    )
    spoken = re.compile(
        r"(?<![\w./\\:@-])(?P<name>(?:[A-Za-z_]\w*[ _]){0,2}(?:loss|accuracy|acc|perplexity|ppl))(?P<glue> +)"
        r"(?P<value>[-+]?(?:\d+\.\d*(?:[eE][-+]?\d+)?|(?:nan|inf)\b))(?![\w:/%]|\.\w)",
        re.IGNORECASE,
    )
    position = re.compile(
        r"\b(global[ _]step|steps?|iteration|iter|it|epoch)\b['\"]?[ \t]*[:=#]?[ \t]*\[?[ \t]*(\d+)", re.IGNORECASE
    )
    return pair, spoken, position, re.compile(r"\b[A-Za-z_]\w*\([^()]*\)")
