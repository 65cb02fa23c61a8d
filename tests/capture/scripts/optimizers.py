"""Several small trainings with unusual optimizers and batches, each a session of its own in FOLDER/NAME."""

import math

import torch
from sessions import run_each
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x = torch.arange(240.0).reshape(60, 4) / 240
y = x.sum(1, keepdim=True)


def mse(model, inputs=x, targets=y):
    return nn.functional.mse_loss(model(inputs), targets)


def train(model, *optimizers, steps=4, then=lambda step: None):
    for step in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
            mse(model).backward()
            optimizer.step()
        then(step)


def groups():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    model[0].bias.requires_grad_(False)
    decayed = [model[0].weight, model[1].weight]
    others = [{"params": decayed, "weight_decay": 0.1}, {"params": [model[0].bias, model[1].bias], "weight_decay": 0.0}]
    train(model, torch.optim.AdamW(others, lr=1e-3, amsgrad=True, foreach=False))


def added():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1, weight_decay=0.01)

    def unfreeze(step):
        if step == 1:
            optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.02})

    train(model, optimizer, then=unfreeze)


class Lookahead(torch.optim.Optimizer):
    """Wraps another optimizer, which has the parameters and does the steps."""

    def __init__(self, optimizer):
        self.inner = optimizer
        super().__init__(optimizer.param_groups, {"k": 5})

    def step(self, closure=None):
        return self.inner.step(closure)


def wrapped():
    model = nn.Linear(4, 1)
    train(model, Lookahead(torch.optim.Adam(model.parameters(), lr=0.01)))


class Own(torch.optim.Optimizer):
    """Counts in its groups, and has a setting that no other optimizer has."""

    def __init__(self, params, lr=0.1, trust=0.7):
        super().__init__(params, {"lr": lr, "trust": trust, "taken": 0, "adapted": 1e-6})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group["taken"] += 1
            group["adapted"] *= 2
            for parameter in group["params"]:
                parameter -= group["lr"] * group["trust"] * parameter.grad


def own():
    model = nn.Linear(4, 1)
    train(model, Own(model.parameters()))


def tensor_rate():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.01))

    def cosine(step):
        optimizer.param_groups[0]["lr"].fill_(0.01 * 0.5 * (1 + math.cos(math.pi * (step + 1) / 40)))

    train(model, optimizer, steps=40, then=cosine)


def accumulate(size, passes, batches, divide=True, loader=True, each=1):
    """Steps after every `passes` batches and at the end of the epoch, `each` backward passes a batch."""
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = TensorDataset(x[: size * batches], y[: size * batches])
    source = DataLoader(data, size) if loader else [data[i * size : (i + 1) * size] for i in range(batches)]
    for i, (inputs, targets) in enumerate(source):
        for _ in range(each):
            loss = mse(model, inputs, targets)
            (loss / passes if divide else loss).backward()
        if (i + 1) % passes == 0 or i + 1 == batches:
            optimizer.step()
            optimizer.zero_grad()


def last_is_incomplete():
    accumulate(5, 4, 6)


def two_steps_only():
    accumulate(10, 4, 6, divide=False)


def by_hand():
    accumulate(5, 3, 9, loader=False)


def two_passes_by_hand():
    accumulate(5, 1, 9, divide=False, loader=False, each=2)


def closure_with_loader():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for inputs, targets in DataLoader(TensorDataset(x, y), 15):

        def closure(inputs=inputs, targets=targets):
            optimizer.zero_grad()
            loss = mse(model, inputs, targets)
            loss.backward()
            return loss

        optimizer.step(closure)


def rises():
    """torch's LinearLR by itself is a warm-up."""
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
    train(model, optimizer, steps=20, then=lambda _: scheduler.step())


def own_cosine():
    """A function given to LambdaLR, once an epoch of three steps."""
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.1 + 0.45 * (1 + math.cos(math.pi * k / 12)))
    train(model, optimizer, steps=36, then=lambda step: scheduler.step() if step % 3 == 2 else None)


def cut_short():
    """torch's own scheduler, of which too little is used to see its shape."""
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    train(model, optimizer, then=lambda _: scheduler.step())


def unknown():
    """A function of which no shape is known."""
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + 0.1 * k))
    train(model, optimizer, steps=12, then=lambda _: scheduler.step())


if __name__ == "__main__":
    run_each(globals())
