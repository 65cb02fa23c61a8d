import multiprocessing
import os

import torch
from torch.utils.data import DataLoader, TensorDataset


def child(kind):
    torch.manual_seed(1)
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    print(f"{kind}_loss: 1.5", flush=True)


if __name__ == "__main__":
    x = torch.arange(24.0).reshape(12, 2)
    weight = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.001)
    for (batch,) in DataLoader(TensorDataset(x), batch_size=4, num_workers=2):
        (batch @ weight - 1).square().mean().backward()
        optimizer.step()
    for kind in ("fork", "spawn"):
        process = multiprocessing.get_context(kind).Process(target=child, args=(kind,))
        process.start()
        process.join()
    pid = os.fork()
    if pid == 0:
        print("forked_loss: 2.5", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
