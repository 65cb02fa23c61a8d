import sys

import torch

torch.set_default_device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
torch.manual_seed(11)
x = torch.randn(200, 4)
y = x.sum(1, keepdim=True)
weight = torch.zeros(4, 1, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(10):
    for group in optimizer.param_groups:
        group["lr"] = 0.1 * min(1.0, (step + 1) / 4)
    rows = torch.randperm(200)[:32]
    loss = (x[rows] @ weight - y[rows]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss: {loss.item()!r}")
