"""Handwritten digits with a small convolutional network.

python examples/digits_cnn.py --lr 0.1 --optimizer sgd --schedule warm_restarts
"""

import argparse

import data
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class SmallCNN(nn.Module):
    def __init__(self, channels, dropout):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels * 2 * 2, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.head(self.dropout(x.flatten(start_dim=1)))


def load_datasets():
    images, labels = data.digits()
    x = torch.from_numpy(images).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))  # the same split for every --seed
    train, val = order[:400], order[400:800]
    return TensorDataset(x[train], y[train]), TensorDataset(x[val], y[val])


def validate(model, loader):
    model.eval()
    loss = correct = count = 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            correct += int((logits.argmax(1) == y).sum())
            count += len(y)
    return loss / count, correct / count


def main():
    parser = argparse.ArgumentParser(description="Handwritten digits with a small convolutional network.")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--momentum", type=float, default=0.9, help="momentum of SGD")
    parser.add_argument("--schedule", choices=["constant", "cosine", "step", "warm_restarts"], default="cosine")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    train_set, val_set = load_datasets()
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=200)
    model = SmallCNN(args.channels, args.dropout)

    if args.optimizer == "sgd":
        optimizer = optim.SGD(
            model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay
        )
    else:
        optimizer = optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)

    steps = args.epochs * len(train_loader)
    if args.schedule == "constant":
        scheduler = optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    elif args.schedule == "cosine":
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    elif args.schedule == "step":
        scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=steps // 3 + 1, gamma=0.2)
    else:  # three cycles, each twice as long as the one before
        scheduler = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=steps // 7 + 1, T_mult=2)

    for epoch in range(args.epochs):
        model.train()
        running_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running_loss += loss.item()
        val_loss, val_acc = validate(model, val_loader)
        train_loss = running_loss / len(train_loader)
        print(f"Epoch: {epoch} | train_loss: {train_loss:.4f} | val_loss: {val_loss:.4f} | val_acc: {val_acc:.2%}")


if __name__ == "__main__":
    main()
