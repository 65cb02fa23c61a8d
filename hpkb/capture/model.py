"""What is trained: the model's architecture, initialisation and number format, recorded at the first step.

The autograd graph is looked at before the first backward passes, as a backward pass takes it apart; which optimizer
its weights belong to is known at that optimizer's first step.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional  # torch has imported it by now

from .activations import Activation, activation_of_modules, activation_word, activations_in
from .architecture import depth, layer_kinds, width
from .autograd_graph import levels, read_graph
from .compilation import compiled
from .connections import Residual, residual_connections
from .dead_units import DeadUnits
from .fingerprint import fingerprint
from .initialization import Origin, origin_of
from .losses import Late, read
from .modules import all_parameters, class_name, forget_modules, models_of
from .normalization import normalization
from .precision import precision, unwatch_autocast, watch_autocast

_PASSES = 2  # backward passes looked at before an optimizer's first step; one with accumulation has many
_OPTIMIZERS = 4


class View(NamedTuple):
    """What one backward pass shows. Weights stand by their identities; nothing holds on to the graph."""

    levels: dict[int, int]
    activations: list[Activation]
    residual: Residual
    kinds: set[str]
    opaque: bool


class Model:
    """Records the model of each optimizer at its first step."""

    def __init__(self, training: Any) -> None:
        self._training = training
        self._views: list[View] = []
        self._origins: dict[int, Optional[Origin]] = {}
        self._begun = 0
        self._waiting: list[tuple[str, str, Any]] = []
        watch_autocast(training.torch)
        training.before_backward.add(self._look)
        training.at_begin.add(self._begin)

    def _look(self, loss: Any) -> None:
        """Looks at the graph of a backward pass before it runs, and at the weights before the first step."""
        if len(self._views) >= _PASSES:
            return
        torch = self._training.torch
        for optimizer in list(self._training.created):
            if id(optimizer) not in self._origins:
                self._origins[id(optimizer)] = None
                self._origins[id(optimizer)] = origin_of(torch, _parameters(optimizer))
        graph = read_graph(torch, loss)
        if graph is None:
            self._views.append(View({}, [], Residual(frozenset(), False), set(), True))
            return
        kinds = set(graph.kinds)
        view = View(levels(graph), activations_in(graph), residual_connections(graph), kinds, graph.opaque)
        self._views.append(view)

    def _begin(self, optimizer: Any, number: int) -> None:
        views, self._views = self._views, []
        self._begun += 1
        if number <= _OPTIMIZERS:
            self._record(optimizer, number, views)
        if self._begun >= min(len(self._training.created), _OPTIMIZERS):
            self._training.before_backward.remove(self._look)
            unwatch_autocast()
            forget_modules()

    def _record(self, optimizer: Any, number: int, views: list[View]) -> None:
        live, prefix = self._training.live, "" if number == 1 else f"optimizer.{number}."
        parameters = _parameters(optimizer)
        others = [p for other in list(self._training.created) if other is not optimizer for p in _parameters(other)]
        models = models_of(self._training.torch, parameters, others)
        values = describe(models, parameters, views)
        live.params({prefix + name: value for name, value in values.items() if value is not None}, "model")
        origin = self._origins.pop(id(optimizer), None)
        if origin is not None:
            self._waiting.append((prefix + "initialization", origin.words, read(self._training.torch, origin.changed)))
            self._settle(optimizer, 0)
            if self._waiting:
                self._training.after_step.add(self._settle)
        if number == 1 and models and values.get("compiled") is False:
            DeadUnits(self._training, models)

    def _settle(self, _optimizer: Any, _step: int) -> None:
        """Records the initialisation once it is known that the weights were not changed since."""
        waiting, self._waiting = self._waiting, []
        for name, words, changed in waiting:
            if isinstance(changed, Late) and not changed.ready:
                self._waiting.append((name, words, changed))
            elif changed is not None and (changed.value() if isinstance(changed, Late) else changed) == 0:
                self._training.live.params({name: words}, "model")
        if not self._waiting:
            self._training.after_step.remove(self._settle)


def describe(models: list[Any], parameters: list[Any], views: list[View]) -> dict[str, Any]:
    """Returns the parameters that describe the models of one optimizer; None for what is not known."""
    owned = {id(parameter) for parameter in parameters}
    views = [view for view in views if view.opaque or not owned.isdisjoint(view.levels)]
    kinds = set().union(*(view.kinds for view in views)) if views else None
    is_compiled = compiled(models, kinds) if models else None
    values: dict[str, Any] = {"precision": precision(models, parameters, is_compiled), "compiled": is_compiled}
    if not models:
        return values
    held: dict[int, Any] = {}
    for model in models:
        held.update(all_parameters(model))
    levels_seen: dict[int, int] = {}
    for view in views:
        levels_seen.update({} if view.opaque else view.levels)
    weights = {key for key, parameter in held.items() if parameter.dim() > 1}
    whole = bool(views) and not any(view.opaque for view in views) and weights <= levels_seen.keys()
    values["model"] = "+".join(class_name(model) for model in models)
    values["total_parameter_count"] = sum(parameter.numel() for parameter in held.values())
    values["layer_kinds"] = layer_kinds(models)
    values["model_fingerprint"] = fingerprint(models)
    values["normalization"] = normalization(models, kinds if whole else None)
    values["residual"] = _residual(views, weights, whole)
    values["activation"] = _activation(views, weights, models, whole)
    if len(models) == 1:
        values["depth"] = depth(models[0], levels_seen)
        values["width"] = width(models[0])
    return values


def _residual(views: list[View], weights: set[int], whole: bool) -> Optional[bool]:
    if any(not view.residual.around.isdisjoint(weights) for view in views):
        return True
    return False if whole and all(view.residual.certain for view in views) else None


def _activation(views: list[View], weights: set[int], models: list[Any], whole: bool) -> Optional[str]:
    told = activation_word((found for view in views for found in view.activations), weights, models)
    if whole or told:
        return told
    return activation_of_modules(models)


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
