"""What keeps a model from fitting its training data too closely: dropout, softened targets, mixed and altered examples.

All of it is known after the first few steps, from the modules of the trained model, the calls of the loss and dropout
functions under gradients, and the dataset that was trained on; nothing of it stays.
"""

from __future__ import annotations

from typing import Any, Iterator, Optional  # torch has imported it by now

from .imports import when_imported
from .loss_functions import Call, dropouts, losses
from .patch import call_after
from .session import Session
from .trained import trained_models
from .training_loss import function_behind
from .transforms import transform_of

_SETTLED = 3  # steps that are looked at
_DROPS_PATHS = ("DropPath", "StochasticDepth")

_mixers: list[dict[str, float]] = []  # the settings of the MixUp and CutMix objects that the job has made


class Regularization:
    """Looks at a training's first steps and records what regularises it."""

    def __init__(self, training: Any) -> None:
        self._training, self._live, self._torch = training, training.live, training.torch
        self._grad_enabled = training.torch.is_grad_enabled
        self._rates: set[float] = set()  # of dropout
        self._smoothing: set[float] = set()
        self._soft: set[bool] = set()
        self._behind: set[Optional[str]] = set()
        losses.add(self._live, self._loss_called)
        dropouts.add(self._live, self._dropout_called)
        training.at_begin.add(self._begun)
        training.before_backward.add(self._backward)
        training.after_step.add(self._stepped)
        training.live.closing.append(self._settle)
        self._settled = False

    def _begun(self, optimizer: Any, number: int) -> None:
        models = trained_models(self._torch, optimizer)
        for model in models:
            for module in model.modules():
                self._rates.update(_dropout_rates(self._torch, module))
        if number == 1:
            values = stochastic_depth(models)
            augmentation = self._augmentation()
            if augmentation:
                values["augmentation"] = augmentation
            self._live.params(values, "regularization")

    def _augmentation(self) -> Optional[str]:
        use = self._training.loaders.latest
        loader = use.loader() if use is not None and use.role == "training" else None
        return None if loader is None else transform_of(loader.dataset)

    def _dropout_called(self, call: Call) -> None:
        rate = call.argument("p")
        if call.argument("training") and self._grad_enabled() and isinstance(rate, (int, float)):
            self._rates.add(float(rate))

    def _loss_called(self, call: Call) -> None:
        if call.name == "cross_entropy" and self._grad_enabled():
            target = call.argument("target")
            smoothing = call.argument("label_smoothing")
            if isinstance(smoothing, (int, float)) and hasattr(target, "is_floating_point"):
                self._smoothing.add(float(smoothing))
                self._soft.add(bool(target.is_floating_point()))

    def _backward(self, loss: Any) -> None:
        self._behind.add(function_behind(loss))

    def _stepped(self, _optimizer: Any, step: int) -> None:
        if step >= _SETTLED:
            self._settle()

    def _settle(self) -> None:
        """Records what the calls have shown, and listens no more."""
        if self._settled:
            return
        self._settled = True
        losses.remove(self._loss_called)
        dropouts.remove(self._dropout_called)
        self._training.at_begin.remove(self._begun)
        self._training.before_backward.remove(self._backward)
        self._training.after_step.remove(self._stepped)
        if self._live.step:
            self._live.params({**dropout(self._rates), **self._targets()}, "regularization")

    def _targets(self) -> dict[str, Any]:
        """Returns what is known of the targets: smoothed labels, probabilities, mixed examples."""
        values: dict[str, Any] = {}
        smoothing = next(iter(self._smoothing)) if len(self._smoothing) == 1 else None
        if smoothing is not None and (smoothing > 0 or self._soft == {False}):
            values["label_smoothing"] = smoothing
        if (self._soft == {True} and self._behind == {"cross_entropy"}) or self._behind == {"kl_div"}:
            values["soft_targets"] = True
        if True in self._soft:
            for name in ("mixup", "cutmix"):
                alphas = {made[name] for made in _mixers if name in made}
                if len(alphas) == 1:
                    values[name] = alphas.pop()
        return values


def dropout(rates: set[float]) -> dict[str, Any]:
    """Returns the dropout probability; where positive ones differ, all of them under a name of their own."""
    positive = sorted(rate for rate in rates if rate > 0)
    if len(positive) > 1:
        return {"dropout.values": " ".join(f"{rate:g}" for rate in positive)}
    return {"dropout": positive[0] if positive else 0.0} if rates else {}


def stochastic_depth(models: list[Any]) -> dict[str, Any]:
    """Returns the largest probability with which a block is left out: it mostly grows with the depth up to that."""
    rates = []
    for model in models:
        for module in model.modules():
            if type(module).__name__ in _DROPS_PATHS:
                rates.append(getattr(module, "drop_prob", getattr(module, "p", None)))
    known = [float(rate) for rate in rates if isinstance(rate, (int, float))]
    return {"stochastic_depth": max(known)} if known and len(known) == len(rates) else {}


def _dropout_rates(torch: Any, module: Any) -> Iterator[float]:
    """Yields a module's dropout probability. A zero counts for a module that does nothing else."""
    nn = torch.nn
    if isinstance(module, nn.modules.dropout._DropoutNd):
        yield float(module.p)
    within = isinstance(module, nn.MultiheadAttention) or (isinstance(module, nn.RNNBase) and module.num_layers > 1)
    if within and module.dropout > 0:
        yield float(module.dropout)


def watch_mixing(_torch: Any) -> None:
    """Takes note of the objects of torchvision and timm that mix examples, as they are made."""
    when_imported("torchvision.transforms.v2._augment", _watch_torchvision)
    when_imported("timm.data.mixup", _watch_timm)


def _watch_torchvision(module: Any) -> None:
    for name in ("MixUp", "CutMix"):
        call_after(getattr(module, name), "__init__", _made_by_torchvision)


def _watch_timm(module: Any) -> None:
    call_after(module.Mixup, "__init__", _made_by_timm)


def _made_by_torchvision(_live: Session, _result: None, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    kind = next(base.__name__ for base in type(args[0]).__mro__ if base.__name__ in ("MixUp", "CutMix"))
    _mixers.append({kind.lower(): float(args[0].alpha)})


def _made_by_timm(_live: Session, _result: None, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    made = {"mixup": float(args[0].mixup_alpha), "cutmix": float(args[0].cutmix_alpha)}
    _mixers.append({name: alpha for name, alpha in made.items() if alpha > 0})
