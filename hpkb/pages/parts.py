"""What the pages are made of: frozen dataclasses between the knowledge base and the templates.

Every `href` is below the handbook's root; a page puts its own way to the root before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Number = float | str | None


@dataclass(frozen=True)
class Words:
    """What a miner's partial says of it: its title, what would settle its open questions, its main quantity.

    `rank` is its place among the things to read first, the lowest first.
    """

    title: str
    settle: str
    quantity: str
    rank: int


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere."""

    text: str
    href: str


@dataclass(frozen=True)
class Listed:
    """Where a run is listed for the charts: a file below the handbook's root, its number there, what it says of it."""

    file: str
    number: int
    objective: float | None
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Figure:
    """One chart: its drawing, and which entries of the key belong below it."""

    svg: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """The runs of one task behind a finding: all of the task's runs with an outcome, or those of `run_ids`.

    `task` leads to where they are listed. The ids are raw, in the order of the alphabet.
    """

    task: Link
    total: int
    everything: bool
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class FindingView:
    """One finding with its links; the numbers are the finding's own. `href` leads to its place among the evidence."""

    id: str
    anchor: str
    href: str
    miner: str
    title: str
    task: Link | None
    hyperparameters: tuple[Link, ...]
    claim: str
    verdict: str
    quantity: str
    estimate: Number
    low: Number
    high: Number
    confidence: float
    unit: str
    p_value: float | None
    q_value: float | None
    comparisons: int
    n_runs: int
    n_configurations: int
    n_tasks: int
    n_seeds: int
    infeasible_share: float
    caveats: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    figure: Figure | None
    page: str  # of its question
    condition: str = ""  # the part of the runs that it is about, empty for all


@dataclass(frozen=True)
class Setting:
    """One value of a recommended configuration and the range in which it stays as good."""

    name: Link
    value: Number
    low: Number
    high: Number


@dataclass(frozen=True)
class Regret:
    """What a configuration costs where it was not derived: 0 the best of the pool, 1 its median."""

    mean: float | None
    low: float | None
    high: float | None
    worst: float | None
    worst_task: Link | None
    n_tasks: int


@dataclass(frozen=True)
class Recommended:
    """One recommended configuration."""

    rank: int
    settings: tuple[Setting, ...]
    regret: Regret | None
    worth: int | None
    evidence: tuple[FindingView, ...]
    family: Regret | None = None  # with the whole family of a task left out
    families_by: str = ""

    def setting(self, name: str) -> Setting | None:
        """Returns the setting of that name, or None."""
        return next((s for s in self.settings if s.name.text == name), None)


@dataclass(frozen=True)
class Rule:
    """A formula that ties one value to another."""

    hyperparameter: str
    formula: str
    exponents: tuple[tuple[str, float | None, float | None], ...]
    words: str = ""  # what it says at a few values


@dataclass(frozen=True)
class Trials:
    """How many random trials are worth their cost on some hyperparameters; `high` is None beyond what was tried."""

    names: tuple[Link, ...]
    trials: int
    low: int
    high: int | None


@dataclass(frozen=True)
class Searched:
    """What to search of one hyperparameter: a range, or levels."""

    name: Link
    low: Number
    high: Number
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Default:
    """The recommendation for one task, or over all of them where `task` is None."""

    task: Link | None
    verdict: str
    reason: str
    objective: str
    n_tasks: int
    n_runs: int
    configurations: tuple[Recommended, ...]
    rules: tuple[Rule, ...]
    library: Regret | None
    figure: Figure | None
    search: tuple[Searched, ...] = ()  # where no value is recommended
    set_aside: tuple[Link, ...] = ()  # tasks that the others do not predict
    library_words: str = ""  # the library's values, or why they cannot be placed
    trials: tuple[Trials, ...] = ()
    trials_unknown: str = ""


@dataclass(frozen=True)
class SeedRun:
    """One run of a configuration."""

    seed: int | None
    objective: float | None
    text: str
    infeasible: bool
    href: str


@dataclass(frozen=True)
class Configuration:
    """One configuration with the values that vary within the task and its runs, seed by seed.

    `mean` and `sd` of the objective over its runs; `sd` is None where there is one run.
    """

    values: tuple[str, ...]
    runs: tuple[SeedRun, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True)
class RunRow:
    """One row of the table of runs. `key` is its raw id; `state` is finished, infeasible, or why it takes no part."""

    key: str
    anchor: str
    run_id: str
    name: str
    started: str
    state: str
    reason: str
    seed: int | None
    objective: float | None
    objective_text: str
    values: tuple[str, ...]
    numbers: tuple[float | None, ...]
    ui: str
    has_outcome: bool


@dataclass(frozen=True)
class Store:
    """Where some runs are kept: the link to its MLflow UI, or the command that starts one."""

    uri: str
    ui: str
    command: str


@dataclass(frozen=True)
class Compared:
    """What a question compared on one task: the most runs, configurations and seeds that a finding of it rests on."""

    task: Link
    n_runs: int
    n_configurations: int
    n_seeds: int
    n_findings: int
    evidence: str  # the task's page of evidence
    hyperparameters: tuple[Link, ...]


@dataclass(frozen=True)
class Unknown:
    """What a question could not tell, and what would settle it."""

    question: Link
    settle: str
    findings: tuple[FindingView, ...]


@dataclass(frozen=True)
class Moved:
    """One value of a default that is another than in the last edition; None where it had none, or has none now.

    `name` is None where it is the verdict that changed.
    """

    task: Link | None
    name: Link | None
    before: Number
    after: Number


@dataclass(frozen=True)
class Turned:
    """One claim that changed since the last edition.

    `how` is fell, rose, rejected (it was open), open (it was rejected), moved (its estimate left its old interval), new
    or gone. `finding` is None where it is gone; `before` is the old claim, empty where there was none.
    """

    how: str
    task: Link | None
    claim: str
    before: str
    finding: FindingView | None
    figures: tuple[str, str]  # the estimate with its interval, then and now


@dataclass(frozen=True)
class Proposed:
    """One experiment that `hpkb suggest` would run next: what it changes, what it settles, its arguments."""

    rank: int
    changes: tuple[tuple[Link, Number], ...]
    seed: int | None
    is_repeat: bool
    design: str
    settles: str
    finding: FindingView | None
    arguments: str


@dataclass(frozen=True)
class Gap:
    """What to run next on one task, from `hpkb suggest`."""

    task: Link
    state: str
    baseline: tuple[tuple[Link, Number], ...]
    origin: str
    experiments: tuple[Proposed, ...]
    left_out: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class RunSet:
    """Some runs of one task that findings rest on; several findings may rest on the same."""

    anchor: str
    total: int
    of: int
    runs: tuple[RunRow, ...]


@dataclass(frozen=True)
class Exclusion:
    """How many runs of a task take no part, and why."""

    task: Link
    reason: str
    n_runs: int


@dataclass(frozen=True)
class NameReading:
    """A hyperparameter and the recorded names that its values come from, each with the number of its runs."""

    name: Link
    recorded: tuple[tuple[str, int], ...]
