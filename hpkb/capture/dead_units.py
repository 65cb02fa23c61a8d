"""The share of units that no example of a batch activates, by ReLU module, at a dozen steps of the run."""

from __future__ import annotations

from typing import Any, Optional  # torch has imported it by now

from .compilation import compile_was_called
from .losses import Late, read
from .modules import class_name, descendants

_STEPS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
_MODULES = 8


class DeadUnits:
    """Samples the activations of one model. Its hooks on modules are there for one forward pass at a time."""

    def __init__(self, training: Any, models: list[Any]) -> None:
        self._training, self._torch = training, training.torch
        self._places = _relus(models)
        self._channels = {class_name(part) for model in models for _, part in descendants(model)}
        self._hooks: list[Any] = []
        self._seen: dict[str, list[Any]] = {}
        self._latest: Optional[Any] = None
        if self._places:
            training.after(_STEPS[0] - 1, self._arm)
            training.live.closing.append(self._finish)

    def _arm(self, step: int) -> None:
        """Looks at the step that comes, and again at the next one of those."""
        if compile_was_called():
            return
        following = next((known for known in _STEPS if known > step + 1), None)
        if following is not None:
            self._training.after(following - 1, self._arm)
        self._disarm()
        self._seen = {}
        for path, place in self._places:
            module = place()
            if module is not None:
                self._hooks.append(module.register_forward_hook(self._hook(path)))
        self._training.before_backward.add(self._collect)

    def _disarm(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _hook(self, path: str) -> Any:
        def look(module: Any, _inputs: Any, output: Any) -> None:
            try:
                if module.training and self._torch.is_grad_enabled() and len(self._seen.get(path, ())) < _MODULES:
                    share = self._share(output)
                    if share is not None:
                        self._seen.setdefault(path, []).append(share)
            except Exception as error:
                self._training.live.failed("the dead units", error)

        return look

    def _share(self, output: Any) -> Any:
        """Returns the share of channels, or else of features, that are zero everywhere; None where that is open."""
        torch = self._torch
        if type(output) is not torch.Tensor or (output.is_cuda and torch.cuda.is_current_stream_capturing()):
            return None
        unit = 1 if output.dim() in (2, 4, 5) else 2 if output.dim() == 3 and not self._has_conv1d() else None
        if unit is None or 0 in output.shape:
            return None
        others = [dim for dim in range(output.dim()) if dim != unit]
        with torch.no_grad():
            return (output.detach().amax(others) == 0).float().mean()

    def _has_conv1d(self) -> bool:
        return bool(self._channels & {"Conv1d", "ConvTranspose1d", "BatchNorm1d"})

    def _collect(self, _loss: Any) -> None:
        """Records what the hooks saw, once the forward pass is over."""
        self._training.before_backward.remove(self._collect)
        self._disarm()
        seen, self._seen = self._seen, {}
        if not seen:
            return
        torch, step = self._torch, self._training.live.step + 1
        with torch.no_grad():
            shares = {path: torch.stack(values).mean() for path, values in seen.items()}
            mean = torch.stack(list(shares.values())).mean()
        self._training.log_later(step, "dead_unit_share", mean)
        for path, share in shares.items():
            self._training.log_later(step, f"dead_unit_share.{path or 'model'}", share)
        if not isinstance(self._latest, Late) or self._latest.ready:
            if isinstance(self._latest, Late):
                self._latest.value()  # frees its slot
            self._latest = read(torch, mean)

    def _finish(self) -> None:
        self._disarm()
        latest = self._latest
        if latest is not None and (not isinstance(latest, Late) or latest.ready):
            value = latest.value() if isinstance(latest, Late) else latest
            self._training.live.params({"dead_unit_share": value}, "model")


def _relus(models: list[Any]) -> list[tuple[str, Any]]:
    """Returns weak references to ReLU modules, spread evenly over the model, with their paths."""
    from weakref import ref

    found = []
    for model in models:
        for path, part in descendants(model):
            if class_name(part) in ("ReLU", "ReLU6") and type(part).__module__.startswith("torch.nn.modules"):
                found.append((path, ref(part)))
    stride = max(1, -(-len(found) // _MODULES))
    return found[::stride][:_MODULES]
