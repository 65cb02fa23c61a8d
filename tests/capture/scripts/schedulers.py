"""Prints what capture says of each scheduler, as JSON lines."""

import functools
import json

import torch
from torch.optim import lr_scheduler as s

from hpkb.capture.scheduler import describe_schedule


class Mine(s.LRScheduler):
    def __init__(self, optimizer, limit):
        self.limit = limit
        super().__init__(optimizer)

    def get_lr(self):
        return list(self.base_lrs)


def _get_cosine_schedule_with_warmup_lr_lambda(step, num_warmup_steps, num_training_steps):
    return 1.0


partial = functools.partial(_get_cosine_schedule_with_warmup_lr_lambda, num_warmup_steps=5, num_training_steps=50)
makers = {
    "none": lambda o: None,
    "constant": lambda o: s.ConstantLR(o, factor=1.0),
    "step": lambda o: s.StepLR(o, 10, gamma=0.2),
    "multistep": lambda o: s.MultiStepLR(o, [3, 6]),
    "exponential": lambda o: s.ExponentialLR(o, 0.9),
    "linear": lambda o: s.LinearLR(o),
    "cosine": lambda o: s.CosineAnnealingLR(o, T_max=50, eta_min=1e-5),
    "warm_restarts": lambda o: s.CosineAnnealingWarmRestarts(o, 7, T_mult=2),
    "one_cycle": lambda o: s.OneCycleLR(o, 0.1, total_steps=10),
    "cyclical": lambda o: s.CyclicLR(o, 0.01, 0.1),
    "plateau": lambda o: s.ReduceLROnPlateau(o, patience=4),
    "lambda": lambda o: s.LambdaLR(o, lambda epoch: 1.0),
    "polynomial": lambda o: s.PolynomialLR(o, 9, power=2.0),
    "transformers": lambda o: s.LambdaLR(o, partial),
    "own": lambda o: Mine(o, 3),
    "warmup": lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 9)], [4]),
    "sequence": lambda o: s.SequentialLR(o, [s.StepLR(o, 2), s.ExponentialLR(o, 0.9)], [4]),
    "chained": lambda o: s.ChainedScheduler([s.StepLR(o, 2), s.ExponentialLR(o, 0.9)]),
}
for name, make in makers.items():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    print(json.dumps([name, describe_schedule(optimizer)]))
