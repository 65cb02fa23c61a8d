import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--weight-decay", type=float, default=1e-4)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--seed", type=int, default=3)
parser.add_argument("--api-key", default="do-not-tell")
parser.add_argument("--max-tokens", type=int, default=77)
args = parser.parse_args()

data = torch.Generator().manual_seed(1)
x = torch.randn(100, 4, generator=data)
y = x.sum(1, keepdim=True)
torch.manual_seed(args.seed)
train = DataLoader(TensorDataset(x[:80], y[:80]), args.batch_size, shuffle=True)
val_loader = DataLoader(TensorDataset(x[80:], y[80:]), 20)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=args.weight_decay)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
for epoch in range(args.epochs):
    for inputs, targets in train:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        print(f"loss={loss.item()!r} lr={scheduler.get_last_lr()[0]!r}")
    scheduler.step()
    with torch.no_grad():
        val_loss = sum(nn.functional.mse_loss(model(a), b).item() for a, b in val_loader)
    print(f"epoch: {epoch} | train_loss: {loss.item():.4f} | val_loss: {val_loss!r}")
