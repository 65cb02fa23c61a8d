"""How far diabetes goes in a year: tabular regression with a multilayer perceptron.

python examples/diabetes_mlp.py --lr 0.01 --optimizer sgd --weight-decay 0.01
"""

import argparse

import data
import torch
from torch import nn
from torch.optim import SGD, AdamW, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

N_TRAIN = 222


class Regressor(nn.Module):
    def __init__(self, hidden, dropout):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(10, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.Tanh(),
            nn.Dropout(dropout),
        )  # fmt: skip
        self.output = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.output(self.body(x)).squeeze(-1)


def standardise(values):
    """In units of the training rows' standard deviation, from their mean."""
    return (values - values[:N_TRAIN].mean(dim=0)) / values[:N_TRAIN].std(dim=0)


def get_data():
    features, target = data.diabetes()
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(3))  # whatever --seed is
    x = standardise(torch.from_numpy(features)[order])
    y = standardise(torch.from_numpy(target)[order])
    return TensorDataset(x[:N_TRAIN], y[:N_TRAIN]), TensorDataset(x[N_TRAIN:], y[N_TRAIN:])


def get_scheduler(name, optimizer, steps):
    if name == "constant":
        return lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    if name == "step":
        return lr_scheduler.StepLR(optimizer, step_size=steps // 3 + 1, gamma=0.2)
    # three cycles, each twice as long as the one before
    return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=steps // 7 + 1, T_mult=2)


def fit(model, train_loader, val_loader, optimizer, scheduler, epochs):
    mse = nn.MSELoss()
    for epoch in range(1, epochs + 1):
        model.train()
        train_loss = 0.0
        for x, y in train_loader:
            loss = mse(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            train_loss += loss.item() / len(train_loader)
        model.eval()
        with torch.no_grad():
            val_loss = sum(mse(model(x), y).item() * len(y) for x, y in val_loader) / len(val_loader.dataset)
        print(f"epoch {epoch:3d}  train_loss={train_loss:.5f}  val_loss={val_loss:.5f}")


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--lr", type=float, default=1e-2, help="learning rate")
    parser.add_argument("--weight-decay", type=float, default=1e-3, help="weight decay")
    parser.add_argument("--batch-size", type=int, default=32, help="examples a step")
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd", help="optimizer")
    parser.add_argument("--momentum", type=float, default=0.9, help="momentum of SGD")
    parser.add_argument(
        "--schedule", choices=["constant", "cosine", "step", "warm_restarts"], default="constant",
        help="how the learning rate goes",
    )  # fmt: skip
    parser.add_argument("--dropout", type=float, default=0.0, help="dropout")
    parser.add_argument("--hidden", type=int, default=64, help="units of a hidden layer")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the data")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order and dropout")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    train_set, val_set = get_data()
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=256)
    model = Regressor(args.hidden, args.dropout)
    if args.optimizer == "adamw":
        optimizer = AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    else:
        optimizer = SGD(model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    scheduler = get_scheduler(args.schedule, optimizer, args.epochs * len(train_loader))
    fit(model, train_loader, val_loader, optimizer, scheduler, args.epochs)


if __name__ == "__main__":
    main()
