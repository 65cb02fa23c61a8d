"""Trains a few steps, regularised in the way that its argument names."""

import functools
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

way = sys.argv[1]
torch.manual_seed(0)


class Noise:
    """A transform without a text of its own."""

    def __call__(self, example):
        return example + 0.01 * torch.randn_like(example)


class Scale(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, example):
        return example * self.by

    def extra_repr(self):
        return f"by={self.by}"


def shifted(example, by=0.0):
    return example + by


class Examples(Dataset):
    def __init__(self, transform=None):
        self.inputs, self.transform = torch.randn(64, 8), transform
        self.labels = (self.inputs.sum(1) > 0).long()

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        example = self.inputs[i]
        return (example if self.transform is None else self.transform(example)), self.labels[i]


class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, example):
        return example


class Functional(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate, self.head = rate, nn.Linear(8, 2)

    def forward(self, example):
        return self.head(F.dropout(example, self.rate, self.training))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 8, num_layers=2, dropout=0.4, batch_first=True), nn.Linear(8, 2)

    def forward(self, example):
        return self.head(self.lstm(example[:, None])[0][:, 0])


def compiled(rate):
    return torch.compile(Functional(rate), backend="aot_eager")


MODELS = {
    "plain": lambda: nn.Linear(8, 2),
    "several": lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.Dropout(0.5), nn.Dropout(0), nn.Linear(8, 2)),
    "zero": lambda: nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 2)),
    "functional": lambda: Functional(0.25),
    "compiled": lambda: compiled(0.25),
    "recurrent": Recurrent,
    "transformer": lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.15), nn.Linear(8, 2)),
    "paths": lambda: nn.Sequential(DropPath(0.05), DropPath(0.1), nn.Linear(8, 2)),
}
transform = {
    "several": nn.Sequential(Scale(2.0), Scale(0.5)),
    "zero": functools.partial(shifted, by=0.5),
    "functional": Noise(),
    "paths": shifted,
}.get(way)
model = MODELS.get(way, MODELS["plain"])()
mixer = None
if way == "mixed":  # in place of timm's module, of which only the names and the attributes matter here
    folder = Path(tempfile.mkdtemp())
    (folder / "timm" / "data").mkdir(parents=True)
    (folder / "timm" / "data" / "mixup.py").write_text(
        "class Mixup:\n"
        "    def __init__(self, mixup_alpha=1.0, cutmix_alpha=0.0):\n"
        "        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha\n"
    )
    sys.path.insert(0, str(folder))
    from timm.data.mixup import Mixup

    mixer = Mixup(0.8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1 if way == "several" else 0.0)
train_loader = DataLoader(Subset(Examples(transform), range(48)), batch_size=16, shuffle=True)
val_loader = DataLoader(Examples(shifted if way == "several" else None), batch_size=16)
for inputs, labels in train_loader:
    if mixer is not None:
        labels = F.one_hot(labels, 2).float() * 0.7 + 0.15
    loss = criterion(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"loss {loss.item()!r}")
model.eval()
with torch.no_grad():
    print(f"found {sum(criterion(model(inputs), labels).item() for inputs, labels in val_loader) / 4!r}")
