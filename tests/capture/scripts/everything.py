import argparse
import random
import sys

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--fail", action="store_true")
args = parser.parse_args()
random.seed(1)
np.random.seed(1)
torch.manual_seed(1)
x = torch.randn(40, 4)
train, held_out = random_split(TensorDataset(x, x.sum(1, keepdim=True)), [32, 8])
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))
nn.init.xavier_uniform_(model[0].weight)
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
criterion = nn.MSELoss()
for epoch in range(2):
    model.train()
    for inputs, targets in DataLoader(train, batch_size=8, shuffle=True):
        loss = criterion(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        losses = [criterion(model(inputs), targets).item() for inputs, targets in DataLoader(held_out, batch_size=4)]
    print(f"epoch {epoch}: loss={loss.item()!r} val_loss={sum(losses) / len(losses)!r}")
    torch.save(model.state_dict(), "/dev/null")
print(random.random(), np.random.rand(), torch.rand(1).item())
if args.fail:
    raise ValueError("asked to")
sys.exit(5)
