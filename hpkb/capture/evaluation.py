"""The loss on data that is not trained on, `val_loss` or `test_loss`, a value for each pass over it.

It is the mean over the examples of what the loss function gave in evaluation: a batch counts with its examples (the
first dimension of what the loss was given; tokens where the script flattens its sequences). Scripts mostly average
over the batches instead, and differ slightly where the last one is smaller. A sum (`reduction="sum"`) is divided by
the examples.

A loss counts as evaluation where it is computed without gradients, or with the trained model in evaluation mode and
no backward pass after it. Its role is that of the DataLoader that the batch was drawn from; where the script cuts
its batches itself, the calling lines must say it. `val_loss` itself is only recorded where the training loss is one
call of the same function; terms of a sum, and functions that the training does not use, get names of their own,
`val_loss.mse_loss`. What was called several times a batch is not recorded.

A script that records its own `val_loss` is right: what is measured here waits until the next optimizer step, and has
the name `measured.val_loss` if the script has used that name by then.
"""

from __future__ import annotations

import os
import re
import time
import weakref
from typing import Any, Optional  # torch has imported it by now

from .evaluated_data import dataset_of, is_part, length, same_data
from .evaluation_pass import Pass, Source, Sum, Value, value_of
from .loss_functions import Call, losses
from .losses import read
from .metric_names import CURVES
from .roles import role_in_names, role_of_hand_cut
from .trained import trained_models
from .training_loss import function_behind, mark
from .transforms import transform_of

_SETTLED = 3  # steps after which what the training loss is made of is taken for known
_PATIENCE = 2.0  # seconds that the end waits for values still on the GPU
_UNNAMED = 20  # hand-cut batches whose lines say nothing after which they are not asked any more
_CURVES = {"validation": "val_loss", "test": "test_loss"}
_WORDS = {"val_loss": ("val", "valid", "validation", "eval", "dev"), "test_loss": ("test",)}
_BESIDE = {"epoch", "avg", "average", "mean", "total"}  # words that make no other loss of it


class _Unknown:
    """Stands for a trained model that was not found: nothing under gradients is an evaluation of it."""

    training = True


class Evaluation:
    """Listens to the loss functions of one training and records what they give in evaluation."""

    def __init__(self, training: Any) -> None:
        self._training, self._live, self._torch = training, training.live, training.torch
        self._grad_enabled = training.torch.is_grad_enabled
        self._roots: list[weakref.ref[Any]] = []
        self._made_of: set[Optional[str]] = set()  # the loss function that gave each training loss; None: a sum
        self._marking = True
        self._trains_in_evaluation_mode = False
        self._source: Optional[Source] = None
        self._passes: list[Pass] = []
        self._unnamed = 0
        self._prefix: dict[str, str] = {}
        self._told: set[str] = set()
        package = os.path.dirname(os.path.dirname(os.path.abspath(training.torch.__file__)))
        self._beside = (package + os.sep, os.path.dirname(os.path.abspath(__file__)) + os.sep)
        CURVES.difference_update(_WORDS)
        losses.add(self._live, self._called)
        training.after_batch.add(self._drawn)
        training.at_begin.add(self._begun)
        training.before_backward.add(self._backward)
        training.after_step.add(self._first_steps)
        training.live.closing.append(self._finish)

    def _begun(self, optimizer: Any, _number: int) -> None:
        self._roots += [weakref.ref(model) for model in trained_models(self._torch, optimizer)]

    def _first_steps(self, _optimizer: Any, step: int) -> None:
        if step >= _SETTLED:  # now that `regularization.py` has heard enough as well
            self._marking = False
            losses.learner = self._roots[0] if self._roots else _Unknown
            self._training.before_backward.remove(self._backward)
            self._training.after_step.remove(self._first_steps)

    def _backward(self, loss: Any) -> None:
        self._made_of.add(function_behind(loss))

    def _drawn(self, drawing: Any, exhausted: bool) -> None:
        """Takes note of a batch, or that there are no more."""
        source = self._source
        if exhausted:
            if source is not None and source.use is drawing.use:
                source.exhausted = True
            return
        if source is None or source.exhausted or source.drawing is not drawing:
            source = self._source = Source(drawing)
        source.batches += 1

    def _called(self, call: Call) -> None:
        """Takes note of a loss function's call."""
        graded = self._grad_enabled()
        if graded:
            if self._marking:
                mark(call)
            if not self._evaluates():
                return
        if not self._is_plain(call.result):
            return
        place = None
        found = self._of_loader(call.name)
        if found is None:
            found, place = self._of_hand_cut()
        if found is not None:
            value = value_of(call)
            if value is None:
                found.sums.setdefault(call.name, Sum()).known = False
            else:
                self._add(found, call.name, value, place, graded)

    def _evaluates(self) -> bool:
        """Whether all that is trained is in evaluation mode."""
        for reference in self._roots:
            root = reference()
            if root is None or root.training:
                return False
        return bool(self._roots) and not self._trains_in_evaluation_mode

    def _is_plain(self, result: Any) -> bool:
        """Whether a tensor holds a value rather than standing for one in a graph or under a transform."""
        torch = self._torch
        if type(result) is not torch.Tensor or result.is_meta or torch._C._get_tracing_state() is not None:
            return False
        functorch = getattr(torch._C, "_functorch", None)
        if functorch is not None and functorch.is_functorch_wrapped_tensor(result):
            return False
        return not (result.is_cuda and torch.cuda.is_current_stream_capturing())

    def _of_loader(self, name: str) -> Optional[Pass]:
        """Returns the pass that a batch of a DataLoader belongs to, None where the batch is from none."""
        source = self._source
        if source is None or source.use.role == "training":
            return None
        found = source.measured
        if found is None:
            loader = source.use.loader()
            found = source.measured = self._open(None, source, None if loader is None else role_in_names(loader))
        elif source.exhausted and name in found.sums and found.sums[name].calls >= source.batches:
            return None  # the loader's batches have all been looked at
        return found

    def _of_hand_cut(self) -> tuple[Optional[Pass], Any]:
        """Returns the pass that the calling lines speak of, and the innermost line."""
        if self._unnamed >= _UNNAMED:
            return None, None
        role, place = role_of_hand_cut(self._beside)
        if role not in _CURVES:
            self._unnamed += role is None
            return None, None
        self._unnamed = 0
        for known in self._passes:
            if known.source is None and (known.role, known.step) == (role, self._live.step):
                return known, place
        return self._open(role, None, None), place

    def _open(self, role: Optional[str], source: Optional[Source], named: Optional[str]) -> Pass:
        if not self._passes:
            self._training.after_step.add(self._stepped)
        found = Pass(self._live.step, role, source, named)
        self._passes.append(found)
        return found

    def _add(self, found: Pass, name: str, value: Value, place: Any, graded: bool) -> None:
        if graded and not found.with_gradients:
            found.with_gradients = True
            self._training.before_backward.add(self._trained_after_all)
        reading = read(self._torch, value.scalar if value.scalar.numel() == 1 else value.scalar.mean())
        counted = found.sums.setdefault(name, Sum())
        counted.add(reading, value.factor, value.examples)
        counted.places.add(place)
        found.ended_at = time.time()

    def _trained_after_all(self, _loss: Any) -> None:
        """Forgets losses that turn out to be a training's, where the model stays in evaluation mode for that too."""
        self._training.before_backward.remove(self._trained_after_all)
        if self._evaluates():
            self._trains_in_evaluation_mode = True
            now = self._live.step
            self._passes = [known for known in self._passes if not (known.with_gradients and known.step == now)]

    def _stepped(self, _optimizer: Any, _step: int) -> None:
        for one in self._passes:
            if one.source is not None:
                one.source.measured = None  # what comes is another pass
        if all(one.has_arrived() for one in self._passes):
            self._training.after_step.remove(self._stepped)
            self._record()

    def _finish(self) -> None:
        """Records what is left; values still on the GPU have a moment to arrive."""
        deadline = time.monotonic() + _PATIENCE
        while self._passes and time.monotonic() < deadline and not all(one.has_arrived() for one in self._passes):
            time.sleep(0.001)
        self._record()

    def _record(self) -> None:
        """Records the passes since the last optimizer step, now that the script has had its say."""
        passes, self._passes = self._passes, []
        if not self._live.step:  # nothing was trained
            return
        self._training.before_backward.remove(self._trained_after_all)
        seen: dict[tuple[str, int], list[Any]] = {}
        for one in passes:
            role = self._role(one)
            if role is None:
                continue
            data = None if one.source is None else dataset_of(one.source)
            before = seen.setdefault((role, one.step), [])
            if any(data is known for known in before):  # a second look at the same data within a step
                continue
            before.append(data)
            self._tell(one, _CURVES[role], len(before))
            self._tell_transform(role, data)

    def _role(self, one: Pass) -> Optional[str]:
        """Returns the role of a pass as far as its values may be told, None otherwise."""
        source = one.source
        if source is None:
            return one.role
        loader = source.use.loader()
        if source.use.role not in _CURVES or one.named == "training" or (loader is not None and is_part(loader)):
            return None
        if not one.step and not source.exhausted and source.batches < length(loader):
            return None  # a first look that checks whether the evaluation runs
        training = self._training.loaders.latest
        learned = training.loader() if training is not None and training.role == "training" else None
        if learned is not None and loader is not None and same_data(loader, learned):
            return None
        return str(source.use.role)

    def _tell(self, one: Pass, name: str, number: int) -> None:
        values: dict[str, float] = {}
        direct = next(iter(self._made_of)) if len(self._made_of) == 1 else None
        for function, counted in one.sums.items():
            once = counted.calls <= one.source.batches if one.source is not None else len(counted.places) == 1
            if once and counted.known and counted.examples and counted.collect():
                curve = name if function == direct else f"{name}.{function}"
                values[self._owned(name) + (curve if number == 1 else f"{curve}.{number}")] = (
                    counted.total / counted.examples
                )
        if values:
            self._live.points(one.step, values, one.ended_at)

    def _owned(self, name: str) -> str:
        """Returns what stands before the curve's name; what the first pass decides holds for the run."""
        if name not in self._prefix:
            taken = any(is_alias(known, name) for known in self._live.metric_names())
            self._prefix[name] = "measured." if taken else ""
            if not taken:
                CURVES.add(name)
        return self._prefix[name]

    def _tell_transform(self, role: str, data: Any) -> None:
        if role not in self._told and data is not None:
            self._told.add(role)
            text = transform_of(data)
            if text:
                self._live.tags({f"hpkb.split.{role}.transform": text})


def is_alias(known: str, name: str) -> bool:
    """Whether a metric's name means `val_loss` or `test_loss`: `valid_loss`, `Loss/val`, `eval/loss`."""
    words = set(re.split(r"[\W_]+", known.lower())) - _BESIDE
    return any(words == {word, "loss"} for word in _WORDS[name])
