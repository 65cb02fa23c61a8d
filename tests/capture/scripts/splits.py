"""Trainings whose data are split in several ways, each a session of its own in FOLDER/NAME."""

import gc
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import torch
from sessions import run_each
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

generator = torch.Generator().manual_seed(5)
held = []  # the data that live as long as the training, on however busy a machine
x = torch.randn(12_000, 8, generator=generator)
y = torch.randint(0, 3, (12_000,), generator=generator)


def fit(train, *others, epochs=1, model=None, steps=3):
    model = model or nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for number, (inputs, targets) in enumerate(train):
            if number == steps:
                break
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs.float()), targets).backward()
            optimizer.step()
        for other in others:
            score(model, other)


def score(model, data):
    with torch.no_grad():
        return sum(nn.functional.cross_entropy(model(inputs.float()), targets).item() for inputs, targets in data)


def as_it_is():
    fit(DataLoader(TensorDataset(x, y), 4000))


def one_changed():
    later = x.clone()
    later[11_000, 3] += 1e-3
    fit(DataLoader(TensorDataset(later, y), 4000))


def shared_index():
    whole = TensorDataset(x, y)
    val_loader = DataLoader(Subset(whole, range(7999, 9000)), 500)
    test_loader = DataLoader(Subset(whole, range(9000, 9500)), 500)
    fit(DataLoader(Subset(whole, range(8000)), 4000, shuffle=True), val_loader, test_loader)


def shared_content():
    val_loader = DataLoader(TensorDataset(x[7999:9000].clone(), y[7999:9000].clone()), 500)
    fit(DataLoader(TensorDataset(x[:8000], y[:8000]), 4000), val_loader)


def apart():
    parts = torch.utils.data.random_split(TensorDataset(x, y), [0.8, 0.2], generator=torch.Generator().manual_seed(3))
    val_loader = DataLoader(parts[1], 500)
    fit(DataLoader(parts[0], 4000), val_loader)


def every_epoch_anew():
    for _ in range(12):
        model = nn.Linear(8, 3)
        val_loader = DataLoader(TensorDataset(x[9000:], y[9000:]), 1000)
        fit(DataLoader(TensorDataset(x[:9000], y[:9000]), 3000), val_loader, model=model)


def part_of_training():
    train_set = TensorDataset(x[:9000], y[:9000])
    train_eval_loader = DataLoader(Subset(train_set, range(100)), 100)
    fit(DataLoader(train_set, 3000), train_eval_loader)


def forgotten_in_training():
    whole = TensorDataset(x, y)
    val_loader = DataLoader(Subset(whole, range(11_000, 12_000)), 500)
    fit(DataLoader(whole, 4000), val_loader)


def from_sklearn():
    from sklearn.model_selection import train_test_split

    data, labels = x.numpy(), y.numpy()
    x_train, x_val, y_train, y_val = train_test_split(data, labels, test_size=0.25, random_state=4, stratify=labels)
    train = TensorDataset(torch.from_numpy(x_train), torch.from_numpy(y_train))
    val_loader = DataLoader(TensorDataset(torch.from_numpy(x_val), torch.from_numpy(y_val)), 500)
    fit(DataLoader(train, 3000, drop_last=True), val_loader)


def folds():
    from sklearn.model_selection import KFold

    whole = TensorDataset(x, y)
    for fold, (train, val) in enumerate(KFold(3, shuffle=True, random_state=1).split(x.numpy())):
        if fold != 1:
            val_loader = DataLoader(Subset(whole, val), 1000)
            fit(DataLoader(Subset(whole, train), 4000), val_loader)


class Pictures(Dataset):
    """In the style of torchvision."""

    def __init__(self, rows):
        self.data, self.targets = x[rows].numpy(), y[rows].tolist()
        self.classes = ["a", "b", "c"]

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return torch.from_numpy(self.data[index]), self.targets[index]


def pictures():
    val_loader = DataLoader(Pictures(slice(8998, 9500)), 100)
    fit(DataLoader(Pictures(slice(0, 9000)), 3000, sampler=WeightedRandomSampler(torch.ones(9000), 4000)), val_loader)


class Files(Dataset):
    """In the style of an ImageFolder."""

    def __init__(self, start, stop):
        self.samples = [(f"/somewhere/data/{i % 3}/{i}.png", i % 3) for i in range(start, stop)]
        self.targets = [label for _, label in self.samples]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return x[index], self.samples[index][1]


def files():
    val_loader = DataLoader(Files(2990, 3500), 100)
    fit(DataLoader(Files(0, 3000), 1000), val_loader)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x[0], y[0])] * 100)


def stream():
    fit(DataLoader(Stream(), 50))


def batch_sampler():
    data = TensorDataset(x, y)
    fit(DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 700, drop_last=False)))


def pairs():
    items = [(x[i], int(y[i])) for i in range(3000)]
    fit(DataLoader(items[:2000], 1000), DataLoader(ConcatDataset([items[1999:2500]]), 1000))


def hand_cut():
    fit([(x[:100], y[:100])] * 3)


def many(change=0.0):
    rows = torch.randn(60_000, 400, generator=torch.Generator().manual_seed(1))
    rows[49_000, 399] += change
    return TensorDataset(rows, torch.zeros(60_000, dtype=torch.int64))


def fit_large(training, validation):
    held[:] = training, validation
    val_loader = DataLoader(validation, 5000)
    fit(DataLoader(training, 5000), val_loader, model=nn.Linear(400, 3))


def large():
    whole = many()
    fit_large(Subset(whole, range(50_000)), Subset(whole, range(49_999, 60_000)))


def large_changed():
    whole = many(0.001)
    fit_large(Subset(whole, range(50_000)), Subset(whole, range(49_999, 60_000)))


def large_copy():
    rows, labels = many().tensors
    first = TensorDataset(rows[:50_000].clone(), labels[:50_000])
    fit_large(first, TensorDataset(rows[49_999:].t().contiguous().t(), labels[49_999:]))


def dropped():
    many = torch.randn(60_000, 784)
    there = weakref.ref(many)
    train = DataLoader(TensorDataset(many, torch.zeros(60_000, dtype=torch.int64)), 5000)
    del many
    fit(train, model=nn.Linear(784, 3), steps=1)
    del train
    gc.collect()
    for _ in range(2000):
        if there() is None:
            break
        time.sleep(0.01)
    print("gone:", there() is None)


def mapped():
    path = Path(sys.argv[1]) / "tokens.bin"
    np.arange(50_000, dtype=np.uint16).tofile(path)

    class Tokens(Dataset):
        def __init__(self):
            self.tokens = np.memmap(path, dtype=np.uint16, mode="r")

        def __len__(self):
            return len(self.tokens) - 8

        def __getitem__(self, i):
            return torch.from_numpy(self.tokens[i : i + 8].astype(np.float32)), torch.tensor(0)

    fit(DataLoader(Tokens(), 100))


if __name__ == "__main__":
    run_each(globals(), before=lambda: torch.manual_seed(0))
