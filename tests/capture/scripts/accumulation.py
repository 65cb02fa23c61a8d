import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

passes, divide = 4, sys.argv[1] == "divide"
torch.manual_seed(0)
x = torch.randn(96, 4)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, shuffle=True)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
total = 0.0
for _ in range(2):
    for i, (inputs, targets) in enumerate(loader, start=1):
        loss = nn.functional.mse_loss(model(inputs), targets)
        (loss / passes if divide else loss).backward()
        total += loss.item()
        if i % passes == 0:
            optimizer.step()
            optimizer.zero_grad()
            print(f"mean={total / passes!r}")
            total = 0.0
