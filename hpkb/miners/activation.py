"""Which activation function gives the better result, and which leaves units dead.

Question
--------
ReLU, GELU, SiLU, tanh: does it matter, once the learning rate suits each? How many units does no example activate any
more at the end of training?

Method
------
Each activation gets a curve of its own along the learning rate: one smooth shape for all, moved and scaled for each;
what is compared are the lowest points, with all other hyperparameters held. The unit is the configuration, weighted by
its seeds; errors allow for scatter of any size anywhere (HC3, MacKinnon & White 1985), and the p-value must hold on
the ranks of the results as well. The share of dead units is the mean over configurations of what capture sampled at
the end of each run (a unit is dead where no example of the batch gives it an output or a gradient: Lu et al. 2019,
*Dying ReLU and Initialization*), with Student's interval; the difference of two activations is estimated with the
others held. Tasks are combined by random-effects meta-analysis of differences in spreads of a task's results (REML;
Hartung & Knapp 2001).

How to read it
--------------
*Supported*, of a pair: the first goes with the better (or worse) result, each at its own best learning rate. Of a
share: more than one unit in a hundred is dead. *Rejected*: the difference is within the scatter over seeds; hardly a
unit is dead. Dead units are capacity that is paid for and not used; they are no harm by themselves.

When it misleads
----------------
An activation goes together with an initialisation that suits it (He et al. 2015 for ReLU): where both were changed
together, nothing is said of either. Dead units are counted on sampled batches, so that a unit that rare examples
activate may count as dead. A high learning rate kills units with any rectifier: the share is that of the learning
rates that were tried, bad ones included.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpkb.findings import Finding
from hpkb.miners import Context
from hpkb.miners._dead_units import dead_unit_findings
from hpkb.miners._model_levels import asked_of, level_findings, level_groups, without_what_follows
from hpkb.miners._pairs import pairs_over_tasks


def mine(context: Context) -> list[Finding]:
    """Returns the difference of each pair of activations, and how many units each leaves dead."""
    sweep = without_what_follows(context.sweep)
    h = sweep.hyperparameter("activation")
    if h is None or h.scale != "category":
        return []
    asked = asked_of("activation", sweep, h, ("relu",))
    return [*level_findings(asked, sweep, h), *dead_unit_findings(asked, sweep, level_groups(sweep, h))]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each pair of activations."""
    return list(pairs_over_tasks(findings))
