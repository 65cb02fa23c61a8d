"""The gradient norm and the gradient noise scale of a training, from one backward pass in k.

The noise scale is that of the weights of linear, convolution and embedding layers that `split_batch` can see. Where
those are less than half of what the optimizer trains, or where one step has backward passes of different losses,
there is none. All samples together are to cost 0.5% of the steps' time; `pacing` says what k follows.
"""

from __future__ import annotations

import collections
import sys
import time
from typing import Any, Optional, Union  # torch has imported it by now

from .loader import world_size
from .losses import Late, read
from .noise_scale import Estimate, NoiseScale
from .pacing import Pace
from .split_batch import Graph, Pieces, batch_of, graph_of, watch

_ON_GPU = 1 / 6  # of a step's work that a sample takes at most: half of the weights' gradients, a third of a step
_COVERED = 0.5  # of the trained parameters, at least
_TRIES = 5  # samples in a row without a result, after which there will be none
_FIRST = 1  # the step after which sampling begins; the very first one is slow for many reasons
_SPACING, _CLOSEST = 0.02, 10  # between two points of the noise scale, as a share of the steps so far and in steps
_NEVER = 1 << 62

Reading = Union[float, Late]


class Sample:
    """A sampled step on its way."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.began = 0.0  # all times in seconds
        self.cost = 0.0
        self.share = 0.0  # of a step that the device works for it, at most
        self.passes = 1
        self.drawn: Optional[int] = None  # batches, up to its first backward pass
        self.n = 0  # examples
        self.told: list[Pieces] = []
        self.handles: list[Any] = []
        self.root: list[Any] = []  # the gradient that the loss itself came with: the scale of mixed precision
        self.readings: list[Reading] = []  # of the mean product and the squared norm

    @property
    def is_ready(self) -> bool:
        """Whether what was measured has arrived."""
        return all(not isinstance(reading, Late) or reading.ready for reading in self.readings)

    def values(self) -> list[float]:
        """Returns the mean product and the squared norm, once they have arrived."""
        return [reading.value() if isinstance(reading, Late) else reading for reading in self.readings]


class Gradients:
    """What is sampled of the gradients of the optimizer that leads."""

    def __init__(self, training: Any) -> None:
        self._training, self._live, self._torch = training, training.live, training.torch
        self._noise = NoiseScale()
        self._pace = Pace()
        self._weights: dict[int, int] = {}  # sizes by `id`
        self._alone = True  # whether no other optimizer was seen
        self._dormant_until = _NEVER  # the number of steps taken before which nothing is to be done
        self._sample: Optional[Sample] = None
        self._late: collections.deque[Sample] = collections.deque()
        self._fruitless = 0
        self._told_at = 0
        training.at_begin.add(self._begin)

    def _begin(self, optimizer: Any, number: int) -> None:
        if number > 1:
            self._alone = False
        elif not self._live.rank:  # the other ranks record no curves
            trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            self._weights = {id(p): p.numel() for p in trained}
            self._dormant_until = _FIRST
            self._training.before_backward.add(self._before)
            self._live.closing.append(self._finish)

    def _before(self, loss: Any) -> None:
        taken = self._live.step
        if taken < self._dormant_until:
            return
        now, sample = time.perf_counter(), self._sample
        if sample is None:
            self._start(loss, taken + 1, now)
        elif taken < sample.step:
            sample.passes += 1
        else:  # the step after the sampled one
            self._sample = None
            self._pace.took(sample.cost, max(now - sample.began - sample.cost, 1e-9), sample.share)
            self._dormant_until = taken + self._pace.interval(taken) - 1

    def _start(self, loss: Any, step: int, now: float) -> None:
        sample = self._sample = Sample(step)
        sample.began = now
        self._training.after_step.add(self._stepped)
        if self._fruitless < _TRIES and self._can_watch(loss):
            self._watch(loss, sample)
        sample.cost += time.perf_counter() - now

    def _can_watch(self, loss: Any) -> bool:
        if loss.grad_fn is None or not (loss.is_cpu or loss.is_cuda):
            return False
        compiled = sys.modules.get("torch._dynamo.compiled_autograd")
        if getattr(compiled, "compiled_autograd_enabled", False):
            return False
        return loss.is_cpu or not self._torch.cuda.is_current_stream_capturing()

    def _watch(self, loss: Any, sample: Sample) -> None:
        """Has the layers behind a loss tell of their gradients, if they make up most of the model."""
        graph = graph_of(loss, self._weights)
        n = sample.n = self._examples(graph) or 0
        if n < 2:
            return
        use = self._training.loaders.latest
        sample.drawn = None if use is None else use.drawn

        def tell(result: Union[Pieces, Exception], seconds: float) -> None:
            sample.cost += seconds
            if isinstance(result, Pieces):
                sample.told.append(result)

        covered = 0
        for layer in graph.layers:
            handle = watch(self._torch, layer, n, sample.step, tell)
            if handle is not None:
                sample.handles.append(handle)
                covered += self._weights[id(layer.weight)]
        if covered < _COVERED * sum(self._weights.values()):
            _release(sample)
            return
        sample.share = 0.0 if loss.is_cpu else _ON_GPU
        sample.handles.append(loss.grad_fn.register_prehook(lambda came: sample.root.append(came[0])))
        self._training.after_backward.add(self._passed)

    def _examples(self, graph: Graph) -> Optional[int]:
        """Returns the examples of the batch: as the loader says, otherwise as shapes do."""
        size = self._batch_size()
        if size is None:
            return batch_of(graph)
        if graph.attended and all(seen % size for seen in graph.attended):
            return None  # another batch than usual, such as the last one of an epoch
        return size

    def _batch_size(self) -> Optional[int]:
        use = self._training.loaders.latest
        return use.batch_size if use is not None and use.role == "training" else None

    def _passed(self) -> None:
        """Puts together what the layers told during the backward pass that has just ended."""
        now, sample = time.perf_counter(), self._sample
        self._training.after_backward.remove(self._passed)
        if sample is None:
            return
        expected = len(sample.handles) - 1
        _release(sample)
        if len(sample.told) == expected and sample.root and sample.root[0] is not None:
            self._sum(sample)
        sample.told, sample.root = [], []
        sample.cost += time.perf_counter() - now

    def _sum(self, sample: Sample) -> None:
        torch = self._torch
        root = sample.root[0].detach()
        columns = list(zip(*sample.told))
        if root.is_cpu:
            scale = float(root) ** 2 or float("nan")
            sample.readings = [sum(column) / scale for column in columns]
            return
        with torch.no_grad():
            square = root.float().square()
            readings = [read(torch, torch.stack(column).sum() / square) for column in columns]
        sample.readings = [reading for reading in readings if reading is not None]

    def _stepped(self, optimizer: Any, step: int) -> None:
        now, sample = time.perf_counter(), self._sample
        self._training.after_step.remove(self._stepped)
        if sample is None or sample.step != step:
            return
        if not getattr(self._training, "clip_measures_norm", False):
            self._record_norm(optimizer, step)
        if len(sample.readings) == 2 and self._is_one_batch(sample):
            self._late.append(sample)
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
        held = [p.grad for group in optimizer.param_groups for p in group["params"]]
        gradients = [gradient for gradient in held if gradient is not None]
        norm = _norm(self._torch, gradients)
        if norm is None:
            return
        if norm.is_cuda:
            self._training.log_later(step, "grad_norm", norm)
        else:
            self._live.points(step, {"grad_norm": float(norm)})

    def _arrive(self) -> None:
        """Takes in the samples that have arrived, and tells the noise scale now and then."""
        latest = None
        while self._late and self._late[0].is_ready:
            sample = self._late.popleft()
            product, squared_norm = sample.values()
            square = sample.n * squared_norm - (sample.n - 1) * product
            if self._noise.add(sample.step, sample.n, product, square, self._population()):
                latest = sample
        if latest is not None and latest.step >= self._told_at + max(_CLOSEST, _SPACING * latest.step):
            self._tell(latest)

    def _tell(self, sample: Sample) -> None:
        estimate = self._noise.estimate()
        if estimate is None:
            return
        self._told_at = sample.step
        if self._batch_size() is None:
            batch = sample.n * sample.passes * world_size(self._torch)
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
        self._dormant_until = _NEVER
        self._arrive()


def _points(estimate: Estimate) -> dict[str, float]:
    return {
        "gradient_noise_scale": estimate.noise_scale,
        "gradient_noise_scale.trace": estimate.trace,
        "gradient_noise_scale.squared_norm": estimate.squared_norm,
    }


def _release(sample: Sample) -> None:
    """Takes the hooks off the graph, which the script may keep."""
    handles, sample.handles = sample.handles, []
    for handle in handles:
        handle.remove()


def _norm(torch: Any, gradients: list[Any]) -> Any:
    """Returns the norm of all gradients together as a scalar tensor; None where some are sparse, sharded or complex."""
    kinds = {(type(g), g.layout, g.device, g.dtype) for g in gradients}
    if len({device for _, _, device, _ in kinds}) != 1 or any(
        of != torch.Tensor or layout != torch.strided or device.type not in ("cpu", "cuda") or dtype.is_complex
        for of, layout, device, dtype in kinds
    ):
        return None
    with torch.no_grad():
        if all(dtype == torch.float32 for _, _, _, dtype in kinds):
            norms = torch._foreach_norm(gradients)
        else:
            norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in gradients]
        return torch.linalg.vector_norm(torch.stack(norms))
