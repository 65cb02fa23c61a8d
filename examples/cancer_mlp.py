"""Benign or malignant: tabular classification with a multilayer perceptron.

python examples/cancer_mlp.py --lr 0.003 --optimizer adamw --dropout 0.2
"""

import argparse

import data
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description="Benign or malignant: tabular classification.")
parser.add_argument("--lr", type=float, default=0.01, metavar="LR", help="learning rate")
parser.add_argument("--weight-decay", type=float, default=1e-4, metavar="WD")
parser.add_argument("--batch-size", type=int, default=32, metavar="N")
parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="adamw")
parser.add_argument("--momentum", type=float, default=0.9, metavar="M", help="momentum of SGD")
parser.add_argument("--schedule", choices=["constant", "cosine", "step", "warm_restarts"], default="step")
parser.add_argument("--dropout", type=float, default=0.0, metavar="P")
parser.add_argument("--hidden", type=int, default=32, metavar="N", help="units of each hidden layer")
parser.add_argument("--epochs", type=int, default=40, metavar="N")
parser.add_argument("--seed", type=int, default=0)


def load(n_train=240, split_seed=2):
    """Training and validation set, standardised with the training set's mean and standard deviation."""
    features, benign = data.breast_cancer()
    order = torch.randperm(len(benign), generator=torch.Generator().manual_seed(split_seed))
    x, y = torch.from_numpy(features)[order], torch.from_numpy(benign)[order].unsqueeze(1)
    mean, std = x[:n_train].mean(dim=0), x[:n_train].std(dim=0)
    x = (x - mean) / std
    return TensorDataset(x[:n_train], y[:n_train]), TensorDataset(x[n_train:], y[n_train:])


def build_optimizer(args, model):
    if args.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay
    )


def build_schedulers(args, optimizer, steps):
    schedules = torch.optim.lr_scheduler
    if args.schedule == "cosine":
        return [schedules.CosineAnnealingLR(optimizer, steps)]
    if args.schedule == "step":
        return [schedules.StepLR(optimizer, steps // 3 + 1, gamma=0.2)]
    if args.schedule == "warm_restarts":  # three cycles, each twice as long as the one before
        return [schedules.CosineAnnealingWarmRestarts(optimizer, steps // 7 + 1, T_mult=2)]
    return []


def main():
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train_set, val_set = load()
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=len(val_set))

    layers, width = [], 30
    for _ in range(2):
        layers += [nn.Linear(width, args.hidden), nn.ReLU(), nn.Dropout(args.dropout)]
        width = args.hidden
    model = nn.Sequential(*layers, nn.Linear(width, 1))
    criterion = nn.BCEWithLogitsLoss()
    optimizer = build_optimizer(args, model)
    schedulers = build_schedulers(args, optimizer, args.epochs * len(train_loader))

    for epoch in range(1, args.epochs + 1):
        model.train()
        losses = []
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
            losses.append(loss.item())

        model.eval()
        with torch.no_grad():
            x, y = next(iter(val_loader))
            logits = model(x)
            val_loss = criterion(logits, y).item()
            val_accuracy = ((logits > 0) == (y > 0.5)).float().mean().item()
        print(
            f"[{epoch:2d}/{args.epochs}] train_loss: {sum(losses) / len(losses):.4f}, "
            f"val_loss: {val_loss:.4f}, val_accuracy: {val_accuracy:.3f}"
        )


if __name__ == "__main__":
    main()
