"""Data-parallel training on two gloo ranks: started by torchrun, or with `spawn` by torch.multiprocessing."""

import argparse
import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def train(rank, world_size, lr, store):
    if store is None:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
    else:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    torch.manual_seed(3)
    data = TensorDataset(torch.randn(32, 4), torch.randn(32, 1))
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    model = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(4):
        for inputs, targets in loader:
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if rank == 0:
        print(f"score: {loss.item()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.25)
    parser.add_argument("--start", choices=["torchrun", "spawn", "fork", "srun"], default="torchrun")
    parser.add_argument("--store")
    args = parser.parse_args()
    if args.start in ("spawn", "fork"):
        arguments = (2, args.lr, args.store)
        mp.start_processes(train, arguments, nprocs=2, start_method=args.start)
    else:
        if args.start == "srun":
            os.environ["RANK"], os.environ["WORLD_SIZE"] = os.environ["SLURM_PROCID"], os.environ["SLURM_NTASKS"]
        train(None, None, args.lr, None)
    sys.exit(0)
