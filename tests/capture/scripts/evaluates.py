"""Trains and evaluates in the way that its argument names, and writes down the losses that it got."""

import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

way = sys.argv[1]
torch.manual_seed(0)
x = torch.randn(100, 4)
y = (x.sum(1) > 0).long()
x_val, y_val = x[80:], y[80:]
train_set = TensorDataset(x[:80], y[:80])
train_loader = DataLoader(train_set, batch_size=16, shuffle=True)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=8)
final = DataLoader(TensorDataset(x_val[:9], y_val[:9]), batch_size=4)


class WithLoss(nn.Module):
    """Returns its loss itself, as the models of nanoGPT and Hugging Face do."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, inputs, labels):
        logits = self.head(F.dropout(inputs, 0.2, self.training))
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class FocalLoss(nn.Module):
    def forward(self, logits, labels):
        each = F.cross_entropy(logits, labels, reduction="none")
        return ((1 - torch.exp(-each)) ** 2 * each).mean()


inside = way in ("inside", "eager", "aot_eager")
model = WithLoss() if inside else nn.Linear(4, 2)
called = torch.compile(model, backend=way, fullgraph=True) if way in ("eager", "aot_eager") else model
if way == "lbfgs":
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
else:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = FocalLoss() if way == "focal" else nn.CrossEntropyLoss()


def loss_of(inputs, labels):
    if inside:
        return called(inputs, labels)["loss"]
    if way == "regression":
        return F.mse_loss(model(inputs)[:, 0], labels.float())
    if way == "two":
        return F.cross_entropy(model(inputs), labels) + 0.5 * F.mse_loss(model(inputs)[:, 0], labels.float())
    if way == "sum" and not model.training:
        return criterion(model(inputs), labels) * 0 + F.cross_entropy(model(inputs), labels, reduction="sum")
    if way == "divided" and model.training:
        return F.cross_entropy(model(inputs), labels) / 4
    if way == "blend" and model.training:
        return 0.3 * F.cross_entropy(model(inputs), labels) + 0.7 * F.cross_entropy(model(inputs), labels.flip(0))
    if way == "soft" and model.training:
        return F.cross_entropy(model(inputs), F.one_hot(labels, 2).float() * 0.9 + 0.05)
    if way == "each":
        return F.cross_entropy(model(inputs), labels, reduction="none").mean()
    return criterion(model(inputs), labels)


def evaluate(loader):
    model.eval()
    mode = {"inference": torch.inference_mode, "gradients": torch.enable_grad}.get(way, torch.no_grad)
    total = count = 0
    with mode():
        for inputs, labels in loader:
            loss = loss_of(inputs, labels)
            total += loss.item() * (1 if way == "sum" else len(labels))
            count += len(labels)
    model.train()
    return total / count


def look(inputs, labels):
    with torch.no_grad():
        return criterion(model(inputs), labels).item()


def hand_cut():
    for start in range(0, 80, 16):
        inputs, labels = x[start : start + 16], y[start : start + 16]
        step(inputs, labels)
    print(f"training {look(x[:80], y[:80])!r}")
    if way == "unnamed":
        found = {split: look(*cut) for split, cut in {"train": (x[:80], y[:80]), "val": (x_val, y_val)}.items()}
        print(f"found {found['val']!r}")
    else:
        print(f"found {look(x_val, y_val)!r}")


def step(inputs, labels):
    def closure():
        optimizer.zero_grad()
        loss = loss_of(inputs, labels)
        loss.backward()
        return loss

    if way == "frozen":
        model.eval()
    if way == "lbfgs":
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


if way == "checked first":
    for inputs, labels in val_loader:
        with torch.no_grad():
            loss_of(inputs, labels)
        break
for epoch in range(3):
    if way in ("hand cut", "unnamed"):
        hand_cut()
        continue
    for inputs, labels in train_loader:
        step(inputs, labels)
    found = evaluate(val_loader)
    if way == "training too":
        evaluate(train_loader)
        train_eval_loader = DataLoader(Subset(train_set, range(40)), batch_size=8)
        evaluate(train_eval_loader)
    if way == "prints" or (way == "prints late" and epoch):
        print(f"epoch {epoch}: val_loss: {found!r}")
    print(f"found {found!r}")
if way not in ("hand cut", "unnamed"):
    test_loader = final
    print(f"tested {evaluate(test_loader)!r}")
