"""Which initialisation gives the better result, and which leaves units dead.

Question
--------
Does it matter how the weights are drawn at the start, once the learning rate suits each? Does an initialisation leave
units dead from the beginning?

Method
------
Each initialisation gets a curve of its own along the learning rate: one smooth shape for all, moved and scaled for
each; what is compared are the lowest points, with all other hyperparameters held. The unit is the configuration,
weighted by its seeds; errors allow for scatter of any size anywhere (HC3, MacKinnon & White 1985), and the p-value must
hold on the ranks of the results as well. Where an initialisation has a number, as a scale or a gain, its values are
compared. The share of dead units is the mean over configurations of what capture sampled at the end of each run, with
Student's interval; the difference of two is estimated with the others held (Lu et al. 2019, *Dying ReLU and
Initialization*). Tasks are combined by random-effects meta-analysis of differences in spreads of a task's results
(REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*, of a pair: the first goes with the better (or worse) result, each at its own best learning rate. Of a
share: more than one unit in a hundred is dead. *Rejected*: the difference is within the scatter over seeds, and any of
the two will do. The ratio of the best rates says whether the learning rate has to follow the initialisation.

When it misleads
----------------
Initialisations are made for activations and depths (Glorot & Bengio 2010 for tanh, He et al. 2015 for ReLU): what is
best for one is not for another; *architecture* tells whether depth or normalisation changes the answer. With
normalisation layers hardly any initialisation matters. Runs that never start to learn may count as diverged and are
left out: their shares stand in the caveats.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpkb.findings import Finding
from hpkb.miners import Context
from hpkb.miners._dead_units import dead_unit_findings
from hpkb.miners._model_levels import asked_of, level_findings, level_groups, without_what_follows
from hpkb.miners._pairs import pairs_over_tasks


def mine(context: Context) -> list[Finding]:
    """Returns the difference of each pair of initialisations, and how many units each leaves dead."""
    sweep = without_what_follows(context.sweep)
    h = sweep.hyperparameter("initialization")
    if h is None:
        return []
    asked = asked_of("initialization", sweep, h, ("default",))
    return [*level_findings(asked, sweep, h), *dead_unit_findings(asked, sweep, level_groups(sweep, h))]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each pair of initialisations."""
    return list(pairs_over_tasks(findings))
