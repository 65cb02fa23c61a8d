"""Compiles a training step that must be one graph: it makes a loss module, and uses mixed precision."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


@torch.compile(backend="aot_eager", fullgraph=True)
def loss_of(inputs, targets):
    with torch.autocast("cpu", torch.bfloat16):
        return nn.CrossEntropyLoss()(model(inputs), targets)


for _ in range(12):
    optimizer.zero_grad()
    loss = loss_of(torch.randn(6, 8), torch.arange(6) % 4)
    loss.backward()
    optimizer.step()
    print(f"loss: {loss.item()!r}")
counters = torch._dynamo.utils.counters
print("graphs:", counters["stats"]["unique_graphs"], dict(counters["graph_break"]))
