"""Linear regression with noise, whose gradient noise scale is known, trained in several ways."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS, BATCH = 300, 32
way = sys.argv[1].split("+")
torch.manual_seed(0)
x = torch.randn(2000, 10)
y = x @ torch.randn(10, 4) + 0.3 * torch.randn(2000, 4)
model = nn.Linear(10, 4, bias=False)
nn.init.zeros_(model.weight)
if "recurrent" in way:
    lstm, head = nn.LSTM(10, 16, batch_first=True), nn.Linear(16, 4)
    model = nn.Sequential(nn.Unflatten(1, (1, 10)), lstm)
    model.forward = lambda inputs: head(lstm(inputs.unsqueeze(1))[0][:, -1])
if "other_optimizer" in way:
    optimizer = torch.optim.Rprop(model.parameters(), lr=1e-5, step_sizes=(1e-7, 1e-5))
else:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)  # so small that the truth stays what it is
scaler = torch.amp.GradScaler("cpu", enabled="scaled" in way, growth_interval=20)
passes = 4 if "accumulate" in way else 1
loader = DataLoader(TensorDataset(x, y), batch_size=BATCH // passes, shuffle=True)


def batches():
    while True:
        if "by_hand" in way:
            chosen = torch.randint(0, len(x), (BATCH,))
            yield x[chosen], y[chosen]
        else:
            yield from loader


def loss_of(inputs, targets):
    with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in way):
        outputs = model(inputs)
    return nn.functional.mse_loss(outputs.float(), targets)


def main():
    pacing = sys.modules.get("hpkb.capture.pacing")
    if pacing:  # so that what the test sees does not hang on how fast this machine is now
        pacing.Pace.interval = lambda self, step: 2
    source = batches()
    for step in range(STEPS):
        optimizer.zero_grad()
        for _ in range(passes):
            loss = loss_of(*next(source)) / passes
            if "nothing_finite" in way:
                loss = loss * float("nan")
            if "raises" in way and step == 1:
                loss.register_hook(lambda gradient: 1 / 0)
            scaler.scale(loss).backward(retain_graph="two_losses" in way)
        if "two_losses" in way:
            model.weight.square().sum().backward()
        scaler.step(optimizer)
        scaler.update()
        if "loader" in way:
            print(f"norm={model.weight.grad.norm().item()!r}")


main()
if not {"recurrent", "nothing_finite"} & set(way):
    with torch.no_grad():
        each = 2 / y.shape[1] * (model(x) - y)[:, :, None] * x[:, None]
        mean = each.mean(0)
        trace = (each - mean).square().sum((1, 2)).mean()
        print(f"trace={trace.item()!r}")
        print(f"true={(trace / mean.square().sum()).item()!r}")
