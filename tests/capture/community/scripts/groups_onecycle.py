"""Fine-tuning in the style of fastai and timm: no weight decay on norms and biases, one-cycle, label smoothing."""

import argparse
import json

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ResidualBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.act = nn.GELU()
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.act(self.linear(self.norm(x))))


class ResidualMLP(nn.Module):
    def __init__(self, width=48, depth=3):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(depth)])
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-lr", type=float, default=4e-3)
    parser.add_argument("--wd", type=float, default=0.05)
    parser.add_argument("--bs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--clip", type=float, default=1.0)
    args = parser.parse_args()
    torch.manual_seed(42)

    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x / 16, y, test_size=297, random_state=0, stratify=y)
    train_set = TensorDataset(torch.tensor(x_train, dtype=torch.float32), torch.tensor(y_train))
    val_set = TensorDataset(torch.tensor(x_val, dtype=torch.float32), torch.tensor(y_val))
    train_loader = DataLoader(train_set, batch_size=args.bs, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=297)

    model = ResidualMLP()
    model.apply(init_weights)
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": args.wd}, {"params": no_decay, "weight_decay": 0.0}],
        lr=args.max_lr / 25,
        betas=(0.9, 0.98),
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=args.max_lr, total_steps=args.epochs * len(train_loader), pct_start=0.3
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    norms = []
    for _ in range(args.epochs):
        model.train()
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip).item())
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.inference_mode():
            val = [criterion(model(inputs), targets).item() for inputs, targets in val_loader]
    with open("results.json", "w") as file:
        json.dump({"train_loss": loss.item(), "val_loss": sum(val) / len(val), "grad_norm": norms[-1],
                   "clip_share": sum(n > args.clip for n in norms) / len(norms)}, file)  # fmt: skip


if __name__ == "__main__":
    main()
