"""The designs: repeats, perturbations, values beyond an edge, factorials, fillings. Each yields its best runs first.

A design never looks at what another one proposes; `plan` takes out what is infeasible or was run, and puts them
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from hpkb.findings import Finding
from hpkb.names import rank_of
from hpkb.recommend.candidates import Value
from hpkb.suggest.factorial import factorial
from hpkb.suggest.known import Experiment, Known, evidence_of
from hpkb.suggest.space import Knob, fixed_knob
from hpkb.sweep import FloatArray

REPEATED = 3  # configurations that show the noise floor, with two more seeds each
MORE_SEEDS = 2
RECOMMENDED = "the task's recommended default"  # a baseline's origin
LIKELY = 0.5  # share of resamples from which an edge is worth a run although it is not settled
CANDIDATES = 256  # Sobol points from which a filling chooses


def words(name: str) -> str:
    """Returns a hyperparameter's name in a sentence."""
    return name.replace("_", " ")


def shown(value: Value) -> str:
    """Returns a value as a sentence has it."""
    return value if isinstance(value, str) else f"{value:.4g}"


def baseline(known: Known) -> Iterator[Experiment]:
    """Yields the baseline itself where it has not been run: everything else is compared with it."""
    if known.baseline and not known.rows_of(known.baseline):
        settles = f"What the baseline ({known.origin}) yields; every change is compared with it."
        yield Experiment(known.baseline, "perturb", settles)


def overall(known: Known) -> Iterator[Experiment]:
    """Yields what is recommended over all tasks, where the task itself has no default."""
    document = known.overall
    if known.origin == RECOMMENDED or not document or document["verdict"] != "recommended":
        return
    for configuration in document["configurations"]:
        values = dict(configuration["values"])
        regret = configuration["held_out_regret"]
        if all(known.space.knob(name) or name in known.space.fixed for name in values):
            settles = (
                f"Whether the default of all tasks is good here: on tasks that it was not derived from its regret was "
                f"{regret['mean']:.2f} (0 best, 1 median)."
            )
            yield Experiment({**known.baseline, **values}, "overall default", settles)


def noise_floor(known: Known) -> Iterator[Experiment]:
    """Yields repeats of the best configurations, where it is not known how far seeds move the result."""
    found = known.find("seed_sd")
    if found is not None and found.verdict == "supported":
        return
    for number in range(MORE_SEEDS):
        for values in known.best[:REPEATED]:
            seed = next(islice(known.free_seeds(values), number, None))
            settles = (
                f"How far seeds alone move {known.metric}: until that is known, no difference between two "
                "configurations means anything."
            )
            yield Experiment(values, "seeds", settles, seed, is_repeat=True, **evidence_of(found))


def close_calls(known: Known) -> Iterator[Experiment]:
    """Yields more seeds for the two best configurations, where they lie closer together than seeds let one tell."""
    found = known.find("minimum_detectable_difference")
    if (
        found is None
        or found.verdict != "supported"
        or not isinstance(found.estimate, float)
        or len(known.best) < 2
    ):
        return
    results = [known.result(values) for values in known.best[:2]]
    if results[0] is None or results[1] is None or abs(results[0] - results[1]) > found.estimate:
        return
    for number in range(MORE_SEEDS):
        for place, values in enumerate(known.best[:2]):
            settles = (
                f"Which of the two best is better: {results[0]:.4g} and {results[1]:.4g} lie closer together than the "
                f"{found.estimate:.2g} that three seeds each can tell (this is the {('best', 'second best')[place]})."
            )
            seed = next(islice(known.free_seeds(values), number, None))
            yield Experiment(values, "seeds", settles, seed, is_repeat=True, finding_id=found.id)


def beyond_edges(known: Known, settled: bool) -> Iterator[Experiment]:
    """Yields values beyond the end of a range at which the best one lies; `settled` or merely likely."""
    for name in known.names:
        knob = known.space.knob(name)
        found = known.find("boundary", name) or known.find("at_boundary", name)
        share = found.estimate if found and isinstance(found.estimate, float) else 0.0
        if knob is None or knob.scale == "category" or found is None or found.verdict == "rejected":
            continue
        if (found.verdict == "supported") == settled and share >= LIKELY:
            yield from _beyond(known, knob, found)


def _beyond(known: Known, knob: Knob, found: Finding) -> Iterator[Experiment]:
    optimum = known.find("optimum", knob.name)
    at = (
        optimum.estimate
        if optimum and isinstance(optimum.estimate, float)
        else known.baseline.get(knob.name, 0.0)
    )
    is_high = knob.share(at) > 0.5
    gaps = found.figure.get("gaps") or []
    if gaps:
        is_high = gaps[0]["high"] is None
    way, edge = (1, knob.high) if is_high else (-1, knob.low)
    doubt = "lies" if found.verdict == "supported" else "may lie"
    value = edge
    for _ in range(2):
        further = knob.step(value, way)
        if further is None:
            return
        value = further
        settles = (
            f"Whether a {'larger' if is_high else 'smaller'} {words(knob.name)} is better still: "
            f"the best value {doubt} at the edge of what was tried ({shown(edge)})."
        )
        yield Experiment({**known.baseline, knob.name: value}, "boundary", settles, **evidence_of(found))


def one_at_a_time(known: Known, n_seeds: int = 1) -> Iterator[Experiment]:
    """Yields the baseline with one value changed, each hyperparameter up and down, with `n_seeds` seeds."""
    changes = list(_changes(known))
    for number in range(n_seeds):
        if number and known.rows_of(known.baseline):
            seed = next(islice(known.free_seeds(known.baseline), number - 1, None))
            settles = f"The baseline ({known.origin}) with another seed, for the changes to be held against."
            found = known.find("seed_sd")
            yield Experiment(known.baseline, "perturb", settles, seed, is_repeat=True, **evidence_of(found))
        for name, value, found in changes:
            settles = (
                f"Whether {words(name)} by itself matters near the baseline: {shown(value)} in place of "
                f"{shown(known.baseline[name])} does if {known.metric} moves {known.differs()}."
            )
            values = {**known.baseline, name: value}
            own = next(islice(known.free_seeds(values), number, None)) if n_seeds > 1 else None
            yield Experiment(values, "perturb", settles, own, **evidence_of(found))


def _changes(known: Known) -> Iterator[tuple[str, Value, Finding | None]]:
    """Each hyperparameter's nearest values, the one that promises more first; all first ones before all second ones."""
    options: list[list[tuple[str, Value, Finding | None]]] = []
    for name in known.names:
        knob, at = known.space.knob(name), known.baseline.get(name)
        if knob is None or at is None:
            continue
        found = (
            known.find("attainable_loss", name)
            or known.find("optimum", name)
            or known.find("variance_share", name)
        )
        if knob.scale == "category" or isinstance(at, str):
            values: list[Value] = [level for level in knob.levels if level != at]
        else:
            values = [v for way in (1, -1) if (v := knob.step(at, way)) is not None]
        order = np.argsort(known.predicted([{**known.baseline, name: v} for v in values]), kind="stable")
        options.append([(name, values[i], found) for i in order])
    for place in range(max(map(len, options), default=0)):
        yield from (option[place] for option in options if place < len(option))


def never_varied(known: Known) -> Iterator[Experiment]:
    """Yields the baseline with a value changed that was the same in every run: each up, then each down."""
    for way in (1, -1):
        for name, text, knob in _unvaried(known):
            value = knob.step(float(text), way)
            if value is not None:
                settles = (
                    f"Whether {words(name)} matters: it was {text} in every run, so nothing is known of it."
                )
                yield Experiment({**known.baseline, name: value}, "perturb", settles)


def _unvaried(known: Known) -> list[tuple[str, str, Knob]]:
    """What never changed and could, in the order of the table of names, which has the usual suspects first."""
    found = [(name, text, fixed_knob(name, text)) for name, text in known.space.fixed.items()]
    return sorted(((n, t, k) for n, t, k in found if k is not None), key=lambda part: rank_of(part[0]))


def told_apart(known: Known) -> Iterator[Experiment]:
    """Yields what separates hyperparameters that always changed together: high with low, and low with high."""
    for found in known.findings:
        if found.quantity != "aliasing" or len(found.hyperparameters) < 2 or found.verdict == "rejected":
            continue
        knobs = [k for name in found.hyperparameters if (k := known.space.knob(name)) is not None]
        design = factorial(len(knobs), 2 ** min(len(knobs), 4))
        if design is None or len(knobs) < 2:
            continue
        joined = " and ".join(words(k.name) for k in knobs)
        settles = f"Which of {joined} does it: they always changed together, and here they do not."
        cells = [_quarters([known.space.safe(k) for k in knobs], row) for row in design.signs]
        for cell in _furthest(known, cells, knobs)[: max(2, len(cells) // 2)]:
            yield Experiment({**known.baseline, **cell}, "factorial", settles, finding_id=found.id)


def two_level(known: Known, n: int) -> tuple[list[Experiment], str]:
    """Returns a factorial over as many hyperparameters as n runs bear, with what it separates in a sentence.

    Those that are aliased come first, then those that decide most. The two levels are the baseline's value and the
    next one, so that one corner is the baseline and every effect is that of a change one could make.
    """
    aliased = {name for f in known.findings if f.quantity == "aliasing" for name in f.hyperparameters}
    names = sorted(known.names, key=lambda name: name not in aliased)
    nearest = {name: value for name, value, _ in reversed(list(_changes(known)))}
    baseline = dict(known.baseline)
    knobs = [k for name in names if (k := known.space.knob(name)) and name in nearest]
    if len(knobs) < 2:  # too few for a factorial: what never changed is screened with them
        for name, text, knob in _unvaried(known):
            value = knob.step(float(text), 1)
            if value is not None:
                knobs.append(knob)
                nearest[name], baseline[name] = value, float(text)
    while knobs and (design := factorial(len(knobs), n)) is None:
        knobs.pop()
    if not knobs or design is None:
        return [], ""
    joined = ", ".join(words(k.name) for k in knobs)
    said = f"A two-level factorial of {joined} in {len(design.signs)} runs: {design.words}."
    experiments = []
    for row in design.signs:
        cell = {
            k.name: (baseline if sign < 0 else nearest)[k.name] for k, sign in zip(knobs, row, strict=True)
        }
        changed = [f"{words(name)} {shown(v)}" for name, v in cell.items() if v != baseline[name]]
        settles = (
            f"With the other runs: what each change does by itself; here {', '.join(changed) or 'none'}."
        )
        experiments.append(Experiment({**known.baseline, **cell}, "factorial", settles))
    return experiments, said


def _quarters(knobs: Sequence[Knob], signs: Sequence[int] | FloatArray) -> dict[str, Value]:
    """The settings of one run: the first and third quarter of a range, or the first and last level."""
    return {
        k.name: k.at((0.0 if sign < 0 else 0.999) if k.scale == "category" else (0.25 if sign < 0 else 0.75))
        for k, sign in zip(knobs, signs, strict=True)
    }


def _furthest(known: Known, cells: list[dict[str, Value]], knobs: Sequence[Knob]) -> list[dict[str, Value]]:
    """The cells in the order of their distance from what was run."""
    columns = [known.space.knobs.index(k) for k in knobs]
    at = _middled(np.stack([known.place(cell)[columns] for cell in cells]))
    from scipy.spatial import KDTree

    distance = np.asarray(KDTree(_middled(known.places[:, columns])).query(at)[0])
    return [cells[i] for i in np.argsort(-distance, kind="stable")]


def _middled(places: FloatArray) -> FloatArray:
    """What a configuration has no value of stands in the middle, as far from everything as can be said."""
    return np.nan_to_num(places, nan=0.5)


def near_the_best(known: Known) -> Iterator[Experiment]:
    """Yields values near the best one of a hyperparameter, where hardly anything was tried there."""
    for found in known.findings:
        gaps = found.figure.get("gaps") or []
        if found.quantity != "sparse_near_optimum" or found.verdict != "supported" or not gaps:
            continue
        name = found.hyperparameters[0]
        settles = f"Where exactly {words(name)} is best: hardly anything was tried near its best value."
        for share in (0.25, 0.75):
            knob = known.space.knob(name)
            if knob is None:
                continue
            inside = Knob(name, knob.scale, max(gaps[0]["low"], knob.low), min(gaps[0]["high"], knob.high),
                          is_whole=knob.is_whole, is_power_of_two=knob.is_power_of_two)  # fmt: skip
            values = {**known.baseline, name: inside.at(share)}
            yield Experiment(values, "fill", settles, finding_id=found.id)


def holes(known: Known) -> Iterator[Experiment]:
    """Yields a configuration in each hole of the design, as far as can be from all that was run."""
    for found in known.findings:
        gaps = found.figure.get("gaps") or []
        if found.quantity != "coverage" or found.verdict != "insufficient" or not gaps:
            continue
        where = " and ".join(_gap_words(gap) for gap in gaps)
        settles = f"What happens with {where}: nothing, or next to nothing, was tried there."
        for values in spread(known, 2, gaps):
            yield Experiment(values, "fill", settles, finding_id=found.id)


def _gap_words(gap: Mapping[str, object]) -> str:
    name = words(str(gap["hyperparameter"]))
    return (
        f"{name} {gap['level']}" if "level" in gap else f"{name} from {gap['low']:.3g} to {gap['high']:.3g}"
    )


def filling(known: Known, n: int) -> Iterator[Experiment]:
    """Yields configurations that lie as far as can be from all that was run and from each other."""
    found = known.find("coverage")
    for values in spread(known, n):
        settles = "What lies in the part of the space that is furthest from every run so far."
        yield Experiment(values, "fill", settles, **evidence_of(found))


def spread(known: Known, n: int, gaps: Sequence[Mapping[str, object]] = ()) -> list[dict[str, Value]]:
    """Returns n configurations of a scrambled Sobol sequence (Owen 1998) within the gaps, chosen by maximin distance.

    Maximin (Johnson, Moore & Ylvisaker 1990): always the candidate whose nearest run, old or chosen, is furthest away.
    """
    knobs = known.space.knobs
    if not knobs or n < 1:
        return []
    from scipy.spatial import KDTree  # with the next one a second to import, which `hpkb check` need not pay
    from scipy.stats import qmc

    points = qmc.Sobol(len(knobs), rng=np.random.default_rng(known.seed)).random(CANDIDATES)
    made = [_placed(known, knobs, point, gaps) for point in points]
    made = [values for values in made if known.space.is_safe(values) and not known.has_run(values)]
    if not made:
        return []
    predicted = known.predicted(made)
    if (predicted < 1).any():  # no run is spent on what is known to be worse than the median
        made = [values for values, regret in zip(made, predicted, strict=True) if regret < 1]
    at = _middled(np.stack([known.place(values) for values in made]))
    nearest = np.asarray(KDTree(_middled(known.places)).query(at)[0])
    chosen: list[dict[str, Value]] = []
    for _ in range(min(n, len(made))):
        i = int(nearest.argmax())
        if nearest[i] <= 0:
            break
        chosen.append(made[i])
        nearest = np.minimum(nearest, np.linalg.norm(at - at[i], axis=1))
    return chosen


def _placed(
    known: Known, knobs: Sequence[Knob], point: FloatArray, gaps: Sequence[Mapping[str, object]]
) -> dict[str, Value]:
    """A Sobol point as a configuration, within the gaps where they speak of a hyperparameter."""
    where = {str(gap["hyperparameter"]): gap for gap in gaps}
    values: dict[str, Value] = dict(known.baseline)
    for knob, share in zip(knobs, point, strict=True):
        gap = where.get(knob.name)
        if gap is None:
            values[knob.name] = knob.at(float(share))
        elif "level" in gap:
            values[knob.name] = str(gap["level"])
        else:
            low, high = float(str(gap["low"])), float(str(gap["high"]))
            low = max(low, knob.low) if knob.scale == "log" else low  # an exact 0 has no logarithm
            inside = Knob(knob.name, knob.scale, low, high, (), knob.is_whole, knob.is_power_of_two)
            values[knob.name] = inside.at(0.15 + 0.7 * float(share))
    return known.space.consistent(values)
