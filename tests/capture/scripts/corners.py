"""Several small trainings in one process, each a session of its own in FOLDER/NAME."""

import random

import torch
from sessions import run_each
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)

x = torch.arange(240.0).reshape(60, 4) / 240
y = x.sum(1, keepdim=True)
whole = TensorDataset(x, y)


def fresh(rate=0.01, kind=torch.optim.SGD, **settings):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    return model, kind(model.parameters(), lr=rate, **settings)


def mse(model, inputs=x, targets=y):
    return nn.functional.mse_loss(model(inputs), targets)


def step(model, optimizer, loss=None):
    optimizer.zero_grad()
    loss = mse(model) if loss is None else loss
    loss.backward()
    optimizer.step()
    print(f"mine: {loss.item()!r}")


def mixed_precision():
    model, optimizer = fresh()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(4):
        optimizer.zero_grad()
        loss = mse(model)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        print(f"mine: {loss.item()!r}")


def closure():
    model, optimizer = fresh(0.5, torch.optim.LBFGS, max_iter=4)

    def evaluate():
        optimizer.zero_grad()
        loss = mse(model)
        loss.backward()
        return loss

    for _ in range(4):
        print(f"mine: {optimizer.step(evaluate).item()!r}")


def two_optimizers():
    (first, one), (second, two) = fresh(0.01), fresh(0.02)
    for _ in range(4):
        step(first, one)
        step(second, two, 2 * mse(second))


def checkpointed():
    from torch.utils.checkpoint import checkpoint

    model, optimizer = fresh()
    inputs = x.clone().requires_grad_()
    for _ in range(4):
        step(model, optimizer, (checkpoint(model, inputs, use_reentrant=True) - y).square().mean())


def two_losses():
    model, optimizer = fresh()
    for inputs, targets in DataLoader(whole, 10):
        optimizer.zero_grad()
        mse(model, inputs, targets).backward()
        (model.weight**2).sum().backward()
        optimizer.step()


def samplers():
    model, optimizer = fresh()
    train = DataLoader(whole, 10, sampler=SubsetRandomSampler(range(40)))
    loaders = {"valid": DataLoader(whole, 10, sampler=SubsetRandomSampler(range(40, 50)))}
    test_loader = DataLoader(ConcatDataset([TensorDataset(x[50:], y[50:])]), 10)
    evaluate(model, train)  # before any training, and not a split of its own
    for inputs, targets in train:
        step(model, optimizer, mse(model, inputs, targets))
    model.eval()
    for _inputs, _targets in loaders["valid"]:  # with gradients on, and to the end
        pass
    evaluate(model, test_loader)
    evaluate(model, DataLoader(TensorDataset(x[:40], y[:40]), 10))


def evaluate(model, data):
    with torch.no_grad():
        return sum(mse(model, inputs, targets).item() for inputs, targets in data)


class Noisy(Dataset):
    """Draws random numbers in `__getitem__`, and counts."""

    def __init__(self):
        self.images, self.asked = x, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked += 1
        return self.images[index] + random.random(), torch.rand(1)


def noisy():
    random.seed(1)
    model, optimizer = fresh()
    data = Noisy()
    for inputs, targets in DataLoader(data, 20, shuffle=True):
        step(model, optimizer, mse(model, inputs, targets))
    print(f"asked: {data.asked} drawn: {random.random()} and: {torch.rand(1).item()}")


def compiled():
    model, optimizer = fresh()

    @torch.compile(backend="eager")
    def whole_step():
        optimizer.zero_grad()
        loss = mse(model)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(4):
        print(f"mine: {whole_step().item()!r}")


def subset():
    model, optimizer = fresh()
    train, _ = random_split(whole, [45, 15], generator=torch.Generator().manual_seed(2))
    for inputs, targets in DataLoader(train, 15):
        step(model, optimizer, mse(model, inputs, targets))


if __name__ == "__main__":
    run_each(globals())
