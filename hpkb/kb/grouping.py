"""Which runs are one task, where nobody says so: their experiment, their data and the family of their model.

Runs of one experiment are compared unless they say that they have other data, another problem or a model of another
class. What a run does not say counts as what all others that are else alike say. Runs of several experiments are one
task only where that is sure: the same digest of the training data, the same class of model, the same objective. A
data set that merely has the same name may be another part or another preparation of it there.

Depth, width and normalisation make no family: they are what sweeps ask about.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hpkb.kb.same_data import Sample, Split, same_data

_FEWEST_PATHS = 3  # other paths in each of so many runs name the runs
_MANY = 3  # experiments that a name does not list
_PATH = re.compile(r"^(/|\./|\.\./|~|[A-Za-z]:[\\/]|[a-z0-9]+://)|[\\/].*[\\/]")
_GENERAL = frozenset(
    "data dataset datasets train training images raw processed input inputs files main".split()
)


@dataclass(frozen=True)
class Evidence:
    """What some runs, alike in all of it, say of their task. `problem` is what is asked of the data, beside the model.

    `draws` are the seeds and folds that a random split may follow, `objective` what the experiment would be judged by.
    """

    experiment: str
    dataset: str | None
    problem: str | None
    model: str | None
    splits: tuple[Split, ...]
    draws: tuple[tuple[str, str], ...]
    n_runs: int
    objective: str | None


@dataclass(frozen=True)
class Grouping:
    """The name of a task, and what put its runs together."""

    task: str
    grouped_by: str


@dataclass(frozen=True)
class _Cell:
    """What tells a task within an experiment; `data` is a digest, or the name of the data where none is known."""

    experiment: str
    data: str | None
    problem: str | None
    model: str | None


def group(evidence: Sequence[Evidence], taken: frozenset[str] = frozenset()) -> list[Grouping]:
    """Returns the task of each piece of evidence. `taken` are the names of tasks that somebody has given.

    The order of the evidence makes no difference.
    """
    of_experiment: dict[str, list[int]] = defaultdict(list)
    for i, piece in enumerate(evidence):
        of_experiment[piece.experiment].append(i)
    cells: list[_Cell | None] = [None] * len(evidence)
    for members in of_experiment.values():
        for i, cell in zip(members, _cells([evidence[i] for i in members]), strict=True):
            cells[i] = cell
    found = [cell for cell in cells if cell is not None]
    roots = _across_experiments(evidence, found)
    names = _names(_described(evidence, found, roots), taken)
    return [names[roots[cell]] for cell in found]


def plain_value(text: str | None) -> str | None:
    """Returns what a recorded data set, problem or model is called: of a path, the last part that says something."""
    words = (text or "").strip()
    if words.lower() in ("", "none", "null", "nan", "true", "false") or "\n" in words or len(words) > 200:
        return None
    if not _PATH.search(words):
        return words
    parts = [part for part in re.split(r"[\\/]+", words) if part not in ("", ".", "..", "~")]
    while parts and parts[-1].partition(".")[0].lower() in _GENERAL:
        parts.pop()
    return parts[-1] if parts else None


def _cells(evidence: Sequence[Evidence]) -> list[_Cell]:
    """The cell of each piece of evidence of one experiment."""
    told = [_told(evidence, "dataset"), _told(evidence, "problem"), _told(evidence, "model")]
    samples = [Sample(e.splits, _key(told[0][i]), e.draws, e.n_runs) for i, e in enumerate(evidence)]
    digests = same_data(samples)
    of_name: dict[str, set[str]] = defaultdict(set)
    for sample, digest in zip(samples, digests, strict=True):
        if digest and sample.name:
            of_name[sample.name].add(digest)
    cells = []
    for i, (sample, digest) in enumerate(zip(samples, digests, strict=True)):
        known = of_name.get(sample.name or "", set())
        data = digest or (next(iter(known)) if len(known) == 1 else sample.name)
        cells.append(_Cell(evidence[i].experiment, data, _key(told[1][i]), _key(told[2][i])))
    return _filled(cells)


def _told(evidence: Sequence[Evidence], field: str) -> list[str | None]:
    """What each says in a field; nothing where paths, another one for each run, only say where its files lie."""
    raw = [getattr(piece, field) for piece in evidence]
    values = [plain_value(text) for text in raw]
    n_runs = sum(piece.n_runs for piece, value in zip(evidence, values, strict=True) if value)
    paths = all(_PATH.search(text.strip()) for text, value in zip(raw, values, strict=True) if value)
    if paths and n_runs >= _FEWEST_PATHS and len({value for value in values if value}) == n_runs:
        return [None] * len(values)
    return values


def _key(value: str | None) -> str | None:
    """Under what a value is compared: CIFAR-10 and cifar_10 are one."""
    return None if value is None else re.sub(r"[\s_-]+", "", value.casefold()) or value


def _filled(cells: Sequence[_Cell]) -> list[_Cell]:
    """The cells with what they do not say, where all others that are else alike say the same."""
    filled, before = {cell: cell for cell in cells}, None
    while filled != before:  # what one field says now may tell another one
        before = dict(filled)
        for field in ("data", "model", "problem"):
            present = {cell for cell in filled.values() if getattr(cell, field) is not None}
            for cell, now in filled.items() if present else ():
                if getattr(now, field) is None:
                    said = {getattr(other, field) for other in _like(now, present)}
                    filled[cell] = replace(now, **{field: said.pop()}) if len(said) == 1 else now
    return [filled[cell] for cell in cells]


def _like(cell: _Cell, others: Iterable[_Cell]) -> list[_Cell]:
    """The others that say all that the cell says; where there are none, those that say nothing else."""
    may_be = [other for other in others if all(o in (None, c) or c is None for c, o in _pairs(cell, other))]
    return [other for other in may_be if all(o == c or c is None for c, o in _pairs(cell, other))] or may_be


def _pairs(cell: _Cell, other: _Cell) -> tuple[tuple[str | None, str | None], ...]:
    return (cell.data, other.data), (cell.problem, other.problem), (cell.model, other.model)


def _across_experiments(evidence: Sequence[Evidence], cells: Sequence[_Cell]) -> dict[_Cell, _Cell]:
    """Leads from each cell to the first one that is the same task in whatever experiment."""
    sharing: dict[Hashable, set[_Cell]] = defaultdict(set)
    for piece, cell in zip(evidence, cells, strict=True):
        for split in piece.splits:
            if split.role == "training" and cell.model and piece.objective:
                sharing[split.digest, cell.problem, cell.model, piece.objective].add(cell)
    roots = {cell: cell for cell in cells}
    for members in sharing.values():
        joined = {roots[cell] for cell in members}
        first = min(joined, key=_order)
        roots = {cell: first if root in joined else root for cell, root in roots.items()}
    return roots


def _order(cell: _Cell) -> tuple[str, ...]:
    return cell.experiment, cell.data or "", cell.problem or "", cell.model or ""


@dataclass(frozen=True)
class _Described:
    """A task before it has a name: its experiments, whether it is all that is in its only one, and its parts.

    `parts` say in words what its data, problem and model are, `telling` which of them the experiment needs to tell it
    from others; `finer` tells tasks of the same parts apart.
    """

    experiments: tuple[str, ...]
    whole: bool
    parts: Mapping[str, str]
    telling: tuple[str, ...]
    finer: str


def _described(
    evidence: Sequence[Evidence], cells: Sequence[_Cell], roots: Mapping[_Cell, _Cell]
) -> dict[_Cell, _Described]:
    members: dict[_Cell, list[int]] = defaultdict(list)
    in_experiment: dict[str, set[_Cell]] = defaultdict(set)
    for i, cell in enumerate(cells):
        members[roots[cell]].append(i)
        in_experiment[cell.experiment].add(cell)
    found = {}
    for root, own in members.items():
        experiments = tuple(sorted({cells[i].experiment for i in own}))
        beside = set().union(*(in_experiment[experiment] for experiment in experiments))
        telling = tuple(
            name for name in ("data", "problem", "model") if len({getattr(c, name) for c in beside}) > 1
        )
        whole = len(experiments) == 1 and len(beside) == 1
        pieces = [evidence[i] for i in own]
        found[root] = _Described(experiments, whole, _parts(pieces), telling, _finer(pieces))
    return found


def _parts(pieces: Sequence[Evidence]) -> dict[str, str]:
    named: tuple[tuple[str, Callable[[Evidence], str | None]], ...] = (
        ("data", lambda piece: piece.dataset), ("problem", lambda piece: piece.problem),
        ("model", lambda piece: piece.model),
    )  # fmt: skip
    found = {}
    for name, said in named:
        counts: Counter[str] = Counter()
        for piece in pieces:
            if value := plain_value(said(piece)):
                counts[value] += piece.n_runs
        if counts:
            found[name] = min(counts, key=lambda value: (-counts[value], value))
    return found


def _finer(pieces: Sequence[Evidence]) -> str:
    """What tells data of one name apart: how many examples train, and a digest."""
    splits = [split for piece in pieces for split in piece.splits]
    if not splits:
        return ""
    training = [split for split in splits if split.role == "training"] or splits
    sizes = {split.n_examples for split in training if split.n_examples}
    size = f"{max(sizes):,} examples, " if sizes else ""
    return f"{size}digest {min(split.digest for split in training)[:8]}"


def _names(described: Mapping[_Cell, _Described], taken: frozenset[str]) -> dict[_Cell, Grouping]:
    """The name of each task: the shortest of its spellings that no other task has."""
    spelled = {cell: _spellings(task) for cell, task in described.items()}
    level = dict.fromkeys(spelled, 0)
    while True:
        names = {cell: spelled[cell][level[cell]] for cell in spelled}
        counts = Counter(names.values())
        clashing = [
            cell for cell, name in names.items()
            if (counts[name] > 1 or name in taken) and level[cell] + 1 < len(spelled[cell])
        ]  # fmt: skip
        if not clashing:
            return {
                cell: Grouping(name, _grouped_by(described[cell])) for cell, name in _numbered(names).items()
            }
        for cell in clashing:
            level[cell] += 1


def _numbered(names: Mapping[_Cell, str]) -> dict[_Cell, str]:
    """The names with a number after those that still are not the only ones: two tasks never become one by a name."""
    seen: Counter[str] = Counter()
    found = {}
    for cell in sorted(names, key=_order):
        seen[name := names[cell]] += 1
        found[cell] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return found


def _spellings(task: _Described) -> tuple[str, ...]:
    """Names from the shortest on. An experiment that is one task keeps its name, even if somebody gave it to a task."""
    first, *others = task.experiments
    experiments = " + ".join([first, f"{len(others)} more"] if len(others) >= _MANY else task.experiments)
    if task.whole:
        return (experiments,)
    unknown = {"data": "data unknown", "problem": "problem unknown", "model": "model unknown"}
    telling = {name: task.parts.get(name) or (task.finer if name == "data" else "") or unknown[name]
               for name in task.telling}  # fmt: skip
    parts = {**{name: part for name, part in task.parts.items() if name != "problem"}, **telling}
    words = [parts[name] for name in ("data", "problem", "model") if name in parts]
    with_experiment = " · ".join([experiments, *words])
    short = " · ".join(words) if "data" in task.parts else with_experiment
    finer = f"{with_experiment} · {task.finer}" if task.finer and task.finer not in words else with_experiment
    return tuple(dict.fromkeys((short, with_experiment, finer)))


def _grouped_by(task: _Described) -> str:
    words = {"data": "data set", "problem": "problem", "model": "model"}
    if len(task.experiments) > 1:
        return "digest of the data, model and objective"
    parts = ["experiment", *(words[name] for name in task.telling)]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
