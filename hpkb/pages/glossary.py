"""The words that the handbook uses, each in a sentence or two."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word, its element id, what it means here."""

    name: str
    anchor: str
    meaning: str


def _term(name: str, meaning: str) -> Term:
    return Term(name, "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-"), meaning)


TERMS = (
    _term(
        "Aliased",
        "Two hyperparameters that changed together in the runs. Their effects cannot be told apart, and no effect"
        " of either is claimed.",
    ),
    _term(
        "Associated with",
        "What the runs show where more than one hyperparameter differed between them. It need not be a cause.",
    ),
    _term(
        "Configuration",
        "The hyperparameters of a run without its seed. Runs of one configuration differ by chance alone.",
    ),
    _term(
        "Confidence interval",
        "The range of values that the runs are compatible with. Over many such analyses 95% of the intervals hold"
        " the true value.",
    ),
    _term(
        "Critical batch size",
        "The batch size from which on more examples a step no longer save steps in proportion. It is read from "
        "curves, and is not the gradient noise scale.",
    ),
    _term(
        "Edge of the design",
        "The smallest or largest value that was tried. A best value there may lie beyond it.",
    ),
    _term(
        "Edition",
        "What one analysis found. The next begins when an analysis gives other findings or defaults.",
    ),
    _term("Effective learning rate", "Of SGD with momentum: learning rate / (1 − momentum)."),
    _term("Finding", "One claim with its verdict, its estimate and interval, and the runs that it rests on."),
    _term(
        "Forest plot",
        "One line for each task: a mark at the estimate and a bar over its interval. The last line is all tasks "
        "together.",
    ),
    _term("Generalisation gap", "By how much a metric is worse on validation data than on training data."),
    _term(
        "Gradient noise scale",
        "The scatter of the gradients of single examples over the squared norm of their mean, in examples "
        "(McCandlish et al. 2018). It is measured from gradients while training.",
    ),
    _term(
        "Held-out regret",
        "The regret of a recommendation on tasks or configurations that it was not derived from.",
    ),
    _term(
        "Infeasible",
        "A run that diverged, ran out of memory or was killed by its own settings. It is an outcome: it is "
        "counted, and never the best.",
    ),
    _term("Insufficient", "The runs cannot tell. The claim may be true or not."),
    _term("Interaction", "The best value of one hyperparameter depends on the value of another."),
    _term(
        "Minimum detectable difference",
        "The smallest difference between two configurations that the seeds there are could tell from chance.",
    ),
    _term(
        "Noise floor",
        "The standard deviation of the objective over seeds at one configuration. A smaller difference between "
        "two single runs means nothing.",
    ),
    _term("Objective", "The metric that runs are judged by, and whether lower or higher is better."),
    _term("Plateau", "The values that are as good as the best one, given what the runs can tell apart."),
    _term(
        "Prediction interval",
        "Where a new task is expected to lie, given how much the tasks differ. It is wider than the confidence "
        "interval of their mean.",
    ),
    _term("p-value", "How often chance alone would give an effect as large as the one seen, if there were none."),
    _term(
        "q-value",
        "The smallest rate of false claims at which this one would still be made, over the whole report: the "
        "p-value corrected for all comparisons after Benjamini and Yekutieli (2001), which holds whatever the "
        "dependence between the tests. A claim above 0.05 is not supported.",
    ),
    _term(
        "Regret",
        "How far an objective is from the best of a pool of runs: 0 is the best, 1 the median, and 2 the most "
        "that is counted.",
    ),
    _term("Rejected", "The runs speak against the claim: the interval leaves out what it says."),
    _term(
        "Ridge",
        "The best learning rate as a line over another hyperparameter. Its slope on log axes is the ridge "
        "exponent: −1 means that their product is what matters, 0 that they can be tuned apart.",
    ),
    _term(
        "Role",
        "Scientific: its effect is what is asked for. Nuisance: it has to be tuned for a fair comparison. Fixed: "
        "it was the same in all runs. Conditional: it exists only with certain values of another (Deep Learning "
        "Tuning Playbook). Derived: it follows from others. Measured: it is known only after the run. Identity: "
        "it tells runs of one configuration apart.",
    ),
    _term(
        "Safe range",
        "The plateau of a recommended value: within it the task stays as good, the other values as recommended.",
    ),
    _term(
        "Seed",
        "The number that a run's random choices start from. Runs that differ in it alone show what chance does.",
    ),
    _term(
        "Share of variance",
        "How much of the variation between runs goes with one hyperparameter, or with a pair beyond its parts "
        "(functional analysis of variance).",
    ),
    _term(
        "Split digest",
        "A fingerprint of the examples that a run trained or was judged on. Two runs with one digest saw the "
        "same.",
    ),
    _term(
        "Supported",
        "The runs show it, beyond the noise floor and after correction for every comparison of the report.",
    ),
    _term("Task", "What is trained, on what data, for which objective. Runs are compared within a task only."),
    _term("Verdict", "Supported, rejected or insufficient: what the runs say of a claim."),
    _term("Worst case", "The largest held-out regret, and on which task."),
    _term("Worth k random trials", "A random search needs k trials to be as good on average."),
)  # fmt: skip
