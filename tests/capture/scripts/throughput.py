"""A training that waits for its data and pauses for an evaluation, and says how long it took itself."""

import sys
import time

import torch
from torch.utils.data import DataLoader, TensorDataset


class Slow(TensorDataset):
    def __getitem__(self, i):
        time.sleep(0.0005)
        return super().__getitem__(i)


model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
loader = DataLoader(Slow(torch.randn(90, 8)), 20)
held_out = DataLoader(TensorDataset(torch.randn(10, 8)), 5)
examples = waited = 0
began = None
for _ in range(int(sys.argv[1])):
    asked = time.perf_counter()
    for (x,) in loader:
        waited += time.perf_counter() - asked
        model(x).square().mean().backward()
        time.sleep(0.005)
        optimizer.step()
        if began is None:
            began, waited, evaluated = time.perf_counter(), 0, 0
        else:
            examples += len(x)
        ended = asked = time.perf_counter()
    model.eval()
    with torch.no_grad():
        paused = time.perf_counter()
        for _ in held_out:
            time.sleep(0.05)
        evaluated += time.perf_counter() - paused
    model.train()
    last = time.perf_counter() - paused
took = ended - began - (evaluated - last)
print(f"rate={examples / took!r} share={waited / took!r} evaluated={evaluated!r}")
