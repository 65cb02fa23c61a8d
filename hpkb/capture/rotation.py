"""Which layers of a model are looked at in each sample, and the sum over all of them, from a round of samples.

A sample looks at some layers only, in turn, which makes it cheap in deep models. ‖G‖² and tr(Σ) are sums over layers,
so what a round of samples tells of each layer once adds up to that of the whole model, with nothing left to the choice
of layers. The products of one batch's gradients go up and down in all of its layers together; those of several batches
do so less.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Optional  # torch has imported it by now

from .layer_graph import (
    Graph,
    Hops,
    Layer,
    Way,
    attended_at,
    batch_of,
    find,
    graph_of,
    result_shape,
    side_by_side,
)
from .split_batch import can_be_watched

_COVERED = 0.5  # of the trained parameters, at least
_TOGETHER = 4  # layers in a sample, which take about as long as the sample does without them
_ROUND = 8  # samples that look at all layers once, at most
_KNOWN = 50  # samples after which the whole graph is looked at again


class Turn(NamedTuple):
    """The layers that one sample looks at."""

    layers: list[Layer]
    n: int  # examples of the batch
    round: int
    share: float  # of the work that the gradients of all layers are


class Survey(NamedTuple):
    """What a walk through a whole graph has found: groups of layers, and by what the batch is known."""

    groups: list[list[tuple[int, Way]]]  # as `find` takes them
    shares: list[float]  # of the work, of each group
    n: int
    attention: Optional[tuple[Hops, Optional[int]]]  # the way to a node of attention, and the size seen there


class Rotation:
    """The layers of a model, in groups that take turns. `weights` are the sizes of the trained ones, by `id`."""

    def __init__(self, torch: Any, weights: dict[int, int]) -> None:
        self._torch, self._weights = torch, weights
        self._survey: Optional[Survey] = None
        self._age = 0  # samples since that
        self._turns = 0  # of the groups, so far
        self._told: list[tuple[float, float]] = []  # by the groups of a round that is not complete yet

    def turn(self, loss: Any, size: Optional[int]) -> Optional[Turn]:
        """Returns the layers behind a loss to look at now, None where there is no telling their examples apart.

        The size is that of the loader's batches, None where the script cuts its own.
        """
        self._age += 1
        turn = self._find(loss, size) if self._age < _KNOWN else None
        if turn is None and self._look(loss, size):
            turn = self._find(loss, size)
        return turn

    def succeeded(self) -> None:
        """Has the next group take its turn, as this one's has led to something."""
        self._turns += 1

    def add(self, product: float, square: float) -> Optional[tuple[float, float]]:
        """Takes in what the next group told; returns the sums over all layers where that completes a round."""
        self._told.append((product, square))
        if self._survey is None or len(self._told) < len(self._survey.groups):
            return None
        told, self._told = self._told, []
        return sum(product for product, _ in told), sum(square for _, square in told)

    def _find(self, loss: Any, size: Optional[int]) -> Optional[Turn]:
        survey = self._survey
        if survey is None or size not in (None, survey.n):
            return None
        if survey.attention is not None and attended_at(loss, survey.attention[0]) != survey.attention[1]:
            return None
        place = self._turns % len(survey.groups)
        group = survey.groups[place]
        layers = find(loss, group)
        if layers is None:
            return None
        if size is None and any(tuple(result_shape(x.node)) != way.shape for x, (_, way) in zip(layers, group)):
            return None  # another number of examples, perhaps
        return Turn(layers, survey.n, self._turns // len(survey.groups), survey.shares[place])

    def _look(self, loss: Any, size: Optional[int]) -> bool:
        """Walks through the whole graph; whether most of the model can be seen in it."""
        graph = graph_of(loss, self._weights)
        n = _examples(graph, size) or 0
        if n < 2:
            return False
        seen = [way for way, layer in zip(graph.ways, graph.layers) if can_be_watched(self._torch, layer, n)]
        if sum(self._weights[way.weight] for way in seen) < _COVERED * sum(self._weights.values()):
            return False
        hops = graph.attention
        attention = None if hops is None else (hops, attended_at(loss, hops))
        survey = Survey(*_dealt(seen, self._weights), n, attention)
        if self._survey is None or _weights_of(survey) != _weights_of(self._survey):
            self._turns, self._told = 0, []
        self._survey, self._age = survey, 0
        return True


def _examples(graph: Graph, size: Optional[int]) -> Optional[int]:
    """Returns the examples of the batch: as the loader says, otherwise as shapes do."""
    if size is None:
        return batch_of(graph)
    if graph.attended and all(seen % size for seen in graph.attended):
        return None  # another batch than usual, such as the last one of an epoch
    return size


def _dealt(ways: list[Way], weights: dict[int, int]) -> tuple[list[list[tuple[int, Way]]], list[float]]:
    """Returns layers dealt out to few groups, each with some from the whole depth of the model, and their work."""
    groups = min(_ROUND, math.ceil(len(ways) / _TOGETHER))
    dealt = [ways[place::groups] for place in range(groups)]
    work = [sum(weights[way.weight] * way.shape[0] * math.prod(way.shape[2:]) for way in group) for group in dealt]
    return [side_by_side(group) for group in dealt], [one / (sum(work) or 1) for one in work]


def _weights_of(survey: Survey) -> list[list[int]]:
    return [[way.weight for _, way in group] for group in survey.groups]
