"""Handwritten digits with a multilayer perceptron.

python examples/digits_mlp.py --lr 0.01 --optimizer adamw --schedule cosine
"""

import argparse

import data
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, StepLR
from torch.utils.data import DataLoader, TensorDataset, random_split

SPLIT_SEED = 0  # the validation set is the same for every --seed


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--momentum", type=float, default=0.9, help="of SGD")
    parser.add_argument("--schedule", choices=["constant", "cosine", "step", "warm_restarts"], default="constant")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make_loaders(batch_size):
    images, labels = data.digits()
    dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    train, val, _ = random_split(dataset, [500, 400, len(dataset) - 900], generator)
    return DataLoader(train, batch_size, shuffle=True), DataLoader(val, len(val))


def make_optimizer(model, args):
    if args.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), args.lr, args.momentum, weight_decay=args.weight_decay)
    return torch.optim.AdamW(model.parameters(), args.lr, weight_decay=args.weight_decay)


def make_scheduler(optimizer, name, total_steps):
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=total_steps)
    if name == "step":
        return StepLR(optimizer, step_size=total_steps // 3 + 1, gamma=0.2)
    if name == "warm_restarts":  # three cycles, each twice as long as the one before
        return CosineAnnealingWarmRestarts(optimizer, T_0=total_steps // 7 + 1, T_mult=2)
    return None


def train_epoch(model, loader, loss_function, optimizer, scheduler):
    model.train()
    total = 0.0
    for images, labels in loader:
        loss = loss_function(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, loss_function):
    model.eval()
    loss, correct = 0.0, 0
    for images, labels in loader:
        outputs = model(images)
        loss += loss_function(outputs, labels).item() * len(labels)
        correct += (outputs.argmax(dim=1) == labels).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    args = parse_arguments()
    torch.manual_seed(args.seed)
    train_loader, val_loader = make_loaders(args.batch_size)
    model = nn.Sequential(
        nn.Linear(64, args.hidden), nn.ReLU(), nn.Dropout(args.dropout),
        nn.Linear(args.hidden, args.hidden), nn.ReLU(), nn.Dropout(args.dropout),
        nn.Linear(args.hidden, 10),
    )  # fmt: skip
    loss_function = nn.CrossEntropyLoss()
    optimizer = make_optimizer(model, args)
    scheduler = make_scheduler(optimizer, args.schedule, args.epochs * len(train_loader))
    for epoch in range(1, args.epochs + 1):
        train_loss = train_epoch(model, train_loader, loss_function, optimizer, scheduler)
        val_loss, val_acc = evaluate(model, val_loader, loss_function)
        print(f"epoch={epoch} train_loss={train_loss:.4f} val_loss={val_loss:.4f} val_acc={val_acc:.4f}")


if __name__ == "__main__":
    main()
