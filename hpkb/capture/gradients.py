"""The gradient norm and the gradient noise scale of a training, from one backward pass in k.

The noise scale is that of the weights of linear, convolution and embedding layers that `split_batch` can see. Where
those are less than half of what the optimizer trains, or where one step has backward passes of different losses,
there is none. All samples together are to cost 0.5% of the steps' time; `pacing` says what k follows, and `rotation`
which layers one sample looks at.

Two batch sizes are needed. The small one is an example, or a few, of the first backward pass of a step: micro-batches
and ranks are larger, and a gradient of theirs says less of tr(Σ) than the many examples in it. The large one is the
whole step as far as this process sees it: all of its micro-batches where it accumulates some, as ‖g‖² of so many more
examples says that much more of ‖G‖².
"""

from __future__ import annotations

import collections
import sys
import time
import weakref
from typing import Any, Optional, Union  # torch has imported it by now

from .gradient_norm import gradient_norm
from .gradient_sample import Reading, Sample
from .loader import world_size
from .losses import read
from .noise_scale import Estimate, NoiseScale
from .pacing import Pace
from .rotation import Rotation, Turn
from .split_batch import Pieces, watch

_ON_GPU = 1 / 6  # of a step's work that a sample takes at most: half of the weights' gradients, a third of a step
_TRIES = 5  # samples in a row without a result, after which there will be none
_FIRST = 1  # the step after which sampling begins; the very first one is slow for many reasons
_SPACING, _CLOSEST = 0.02, 10  # between two points of a curve, as a share of the steps so far and in steps
_BETWEEN = 4  # samples from one of the gradient norm to the next, where the noise scale is sampled too


class Gradients:
    """What is sampled of the gradients of the optimizer that leads."""

    def __init__(self, training: Any) -> None:
        self._training, self._live, self._torch = training, training.live, training.torch
        self._noise = NoiseScale()
        self._pace = Pace()
        self._rotation = Rotation(training.torch, {})
        self._alone = True  # whether no other optimizer was seen
        self._sample: Optional[Sample] = None
        self._late: collections.deque[Sample] = collections.deque()
        self._fruitless = 0
        self._told_at = 0
        self._norm_at = -_CLOSEST
        self._samples = 0
        self._counted = (0, 0.0)  # the step up to which the pace knows the time, and when that ended
        training.at_begin.add(self._begin)

    def _begin(self, optimizer: Any, number: int) -> None:
        if number > 1:
            self._alone = False
        elif not self._live.rank:  # the other ranks record no curves
            trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            self._rotation = Rotation(self._torch, {id(p): p.numel() for p in trained})
            self._counted = self._live.step + 1, time.perf_counter()  # the first one has just ended
            self._training.after(_FIRST, self._wake)
            self._live.closing.append(self._finish)

    def _wake(self, _step: int) -> None:
        """Listens from the next backward pass on; between samples no step pays for being asked."""
        self._training.before_backward.add(self._before)

    def _before(self, loss: Any) -> None:
        taken = self._live.step
        now, sample = time.perf_counter(), self._sample
        if sample is None:
            self._start(loss, taken + 1, now)
        elif taken < sample.step:
            sample.passes += 1
        else:  # the step after the sampled one
            self._sample = None
            steps, since = sample.step - self._counted[0], now - self._counted[1] - sample.cost
            own = now - sample.began - sample.cost  # a sampled step is slower than others, beyond what is measured
            self._pace.took(sample.cost, max(min(own, since / steps), 1e-9), sample.share)
            self._counted = sample.step, now
            due = taken + self._pace.interval(taken) - 1
            if self._fruitless >= _TRIES:  # only the norm is left to be measured
                due = max(due, _next(self._norm_at) - 1)
            if due > taken:
                self._training.before_backward.remove(self._before)
                self._training.after(due, self._wake)

    def _start(self, loss: Any, step: int, now: float) -> None:
        sample = self._sample = Sample(step)
        sample.began = now
        self._training.after_step.add(self._stepped)
        if self._fruitless < _TRIES and self._can_watch(loss):
            turn = self._rotation.turn(loss, self._batch_size())
            if turn is not None:
                self._watch(loss, sample, turn)
        sample.cost += time.perf_counter() - now

    def _can_watch(self, loss: Any) -> bool:
        compiled = sys.modules.get("torch._dynamo.compiled_autograd")
        is_compiled = getattr(compiled, "compiled_autograd_enabled", False)
        if loss.grad_fn is None or is_compiled or not (loss.is_cpu or loss.is_cuda):
            return False
        return loss.is_cpu or not self._torch.cuda.is_current_stream_capturing()

    def _watch(self, loss: Any, sample: Sample, turn: Turn) -> None:
        """Has the layers whose turn it is tell of their gradients."""
        use = self._training.loaders.latest
        sample.drawn = None if use is None else use.drawn
        sample.batch = sample.n = turn.n

        def tell(result: Union[Pieces, Exception], seconds: float) -> None:
            sample.cost += seconds
            if isinstance(result, Pieces):
                sample.told.append(result)

        for layer in turn.layers:
            handle = watch(self._torch, layer, turn.n, turn.round, tell)
            if handle is None:
                sample.release()
                return
            sample.handles.append(handle)
        if self._passes() > 1 and all(_is_empty(layer.weight.grad) for layer in turn.layers):
            sample.weights = [weakref.ref(layer.weight) for layer in turn.layers]
        sample.share = 0.0 if loss.is_cpu else _ON_GPU * turn.share
        sample.handles.append(loss.grad_fn.register_prehook(lambda came: sample.root.append(came[0])))
        self._training.after_backward.add(self._passed)

    def _passes(self) -> int:
        """Returns how many backward passes make a step, once it is known; 1 until then."""
        return self._training._accumulation.passes or 1

    def _batch_size(self) -> Optional[int]:
        use = self._training.loaders.latest
        return use.batch_size if use is not None and use.role == "training" else None

    def _passed(self) -> None:
        """Puts together what was told during the first backward pass of a step, or measures it after the last one."""
        now, sample = time.perf_counter(), self._sample
        if sample is None:
            self._training.after_backward.remove(self._passed)
            return
        if sample.passes == 1:
            self._end_of_first(sample)
        if not sample.weights or sample.passes == self._passes():
            self._training.after_backward.remove(self._passed)
            if sample.weights and sample.readings:
                self._take_whole(sample)
            sample.root = []
        sample.cost += time.perf_counter() - now

    def _end_of_first(self, sample: Sample) -> None:
        expected = len(sample.handles) - 1
        sample.release()
        told, sample.told = sample.told, []
        if len(told) == expected and sample.root and sample.root[0] is not None:
            sample.root[0] = sample.root[0].detach()
            factor = self._training._accumulation.factor  # undoes the script's division of its loss
            sample.readings = [self._reading(sample, list(column), factor) for column in zip(*told)]

    def _take_whole(self, sample: Sample) -> None:
        """Takes the squared norm of the mean gradient of all micro-batches in place of the first one's."""
        torch, passes = self._torch, self._passes()
        weights = [weight() for weight in sample.weights]
        gradients = [None if weight is None else weight.grad for weight in weights]
        norms = [torch.linalg.vector_norm(g.detach(), dtype=torch.float32) for g in gradients if g is not None]
        if len(norms) == len(weights):
            squares = [norm.item() ** 2 if norm.is_cpu else norm.square() for norm in norms]
            whole = self._reading(sample, squares, self._training._accumulation.factor / passes)
            sample.readings[1], sample.n = whole, sample.n * passes

    def _reading(self, sample: Sample, parts: list[Any], factor: float) -> Reading:
        """Returns a sum over layers, in units of the squared gradient of the mean loss, now or later."""
        torch, root = self._torch, sample.root[0]
        if root.is_cpu:
            return float(sum(parts)) * factor**2 / (float(root) ** 2 or float("nan"))
        with torch.no_grad():
            reading = read(torch, torch.stack(parts).sum() * factor**2 / root.float().square())
        return float("nan") if reading is None else reading

    def _stepped(self, optimizer: Any, step: int) -> None:
        now, sample = time.perf_counter(), self._sample
        self._training.after_step.remove(self._stepped)
        if sample is None or sample.step != step:
            return
        if sample.weights:
            self._training.after_backward.remove(self._passed)
            sample.weights, sample.root = [], []
        if self._fruitless or self._samples % _BETWEEN == 0:  # it takes a fifth of a sample's time
            self._record_norm(optimizer, step)
        self._samples += 1
        if sample.readings and self._is_one_batch(sample):
            self._late.append(sample)
            self._rotation.succeeded()
            self._fruitless = 0
        else:
            self._fruitless += 1
        self._arrive()
        sample.cost += time.perf_counter() - now

    def _is_one_batch(self, sample: Sample) -> bool:
        """Whether the backward passes of a step are all of one loss, over equal parts of the batch."""
        if sample.passes == 1:
            return True
        use = self._training.loaders.latest
        drawn = None if use is None or sample.drawn is None else use.drawn - sample.drawn
        by_loader = drawn in (sample.passes - 1, sample.passes)
        return self._alone and (by_loader or self._training._accumulation.factor == sample.passes)

    def _record_norm(self, optimizer: Any, step: int) -> None:
        if step < _next(self._norm_at) or self._training.clip_measures_norm:
            return
        self._norm_at = step
        norm = gradient_norm(self._torch, optimizer)
        if norm is not None and norm.is_cuda:
            self._training.log_later(step, "grad_norm", norm)
        elif norm is not None:
            self._live.points(step, {"grad_norm": float(norm)})

    def _arrive(self) -> None:
        """Takes in the samples that have arrived, and tells the noise scale now and then."""
        latest = None
        while self._late and self._late[0].is_ready:
            sample = self._late.popleft()
            trace, squared_norm = sample.values()
            product = squared_norm - trace / sample.n
            of_all = self._rotation.add(product, product + trace)
            if of_all is not None and self._noise.add(sample.step, sample.n, *of_all, self._population()):
                latest = sample
        if latest is not None and latest.step >= _next(self._told_at):
            self._tell(latest)

    def _tell(self, sample: Sample) -> None:
        estimate = self._noise.estimate()
        if estimate is None:
            return
        self._told_at = sample.step
        if self._batch_size() is None:
            batch = sample.batch * sample.passes * world_size(self._torch)
            values = {"gradient_noise_ratio": estimate.noise_scale / batch}
        else:
            values = _points(estimate)
        self._live.points(sample.step, values)

    def _population(self) -> Optional[int]:
        """Returns the number of examples that batches are drawn from without replacement, None where it is not so."""
        use = self._training.loaders.latest
        loader = None if use is None else use.loader()
        sampler = getattr(loader, "sampler", None)
        data = self._torch.utils.data
        if isinstance(sampler, data.SubsetRandomSampler):
            return len(sampler)
        whole = isinstance(sampler, data.DistributedSampler) or (
            isinstance(sampler, data.RandomSampler) and not sampler.replacement
        )
        return len(loader.dataset) if loader is not None and whole else None

    def _finish(self) -> None:
        self._training.before_backward.remove(self._before)
        self._arrive()


def _next(last: int) -> int:
    """Returns the step from which on a curve with a point at the last one has room for another."""
    return int(max(last + _CLOSEST, last * (1 + _SPACING)))


def _points(estimate: Estimate) -> dict[str, float]:
    return {
        "gradient_noise_scale": estimate.noise_scale,
        "gradient_noise_scale.trace": estimate.trace,
        "gradient_noise_scale.squared_norm": estimate.squared_norm,
    }


def _is_empty(gradient: Any) -> bool:
    """Whether nothing has been added to a gradient yet, as far as the processor can tell without waiting."""
    return gradient is None or (gradient.is_cpu and not gradient.any().item())
