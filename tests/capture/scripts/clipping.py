"""Several small trainings that clip their gradients, each a session of its own in FOLDER/NAME."""


import torch
from sessions import run_each
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_


def fresh():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def loss_of(model):
    x = torch.randn(16, 4)
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def train(clip, steps=10, scaler=None):
    model, optimizer = fresh()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
        norm = clip(model)
        if norm is not None:
            print(f"norm: {float(norm)!r}")
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()


def by_norm():
    train(lambda model: clip_grad_norm_(model.parameters(), 2.0))


def by_value():
    train(lambda model: clip_grad_value_(model.parameters(), 0.25))


def measured():
    train(lambda model: torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=float("inf")))


def in_parts():
    def clip(model):
        for parameter in model.parameters():
            clip_grad_norm_([parameter], 1.0)

    train(clip)


def measured_first():
    def clip(model):
        norm = clip_grad_norm_(model.parameters(), 1e9)
        clip_grad_norm_(model.parameters(), 2.0)
        return norm

    train(clip)


def scaled():
    train(lambda model: clip_grad_norm_(model.parameters(), 2.0), scaler=torch.amp.GradScaler("cpu", init_scale=256.0))


def two():
    (one, first), (other, second) = fresh(), fresh()
    for _ in range(4):
        for model, optimizer, bound in ((one, first, 2.0), (other, second, 0.01)):
            optimizer.zero_grad()
            loss_of(model).backward()
            norm = clip_grad_norm_(model.parameters(), bound)
            print(f"{'first' if model is one else 'second'}: {float(norm)!r}")
            optimizer.step()


def averaged(*arguments, **settings):
    model, optimizer = fresh()
    average = torch.optim.swa_utils.AveragedModel(model, *arguments, **settings)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
        average.update_parameters(model)


def swa():
    averaged()


def ema():
    averaged(multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.97))


def own_average():
    averaged(avg_fn=lambda averaged, current, number: 0.5 * averaged + 0.5 * current)


if __name__ == "__main__":
    run_each(globals())
