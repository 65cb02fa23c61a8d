"""Handwritten digits with a multilayer perceptron, in one process or in several, that may be interrupted.

python examples/clusters/train.py --checkpoint last.pt
torchrun --nproc-per-node 2 examples/clusters/train.py --checkpoint last.pt

At SIGTERM it finishes its epoch, writes the checkpoint and ends with status 75, to be started again.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
asked_to_stop = False


def on_signal(number, frame):
    global asked_to_stop
    asked_to_stop = True


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--batch-size", type=int, default=50, help="of each process")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=Path("last.pt"))
    return parser.parse_args()


def train_epoch(model, loader, loss_function, optimizer):
    for images, labels in loader:
        loss = loss_function(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, images, labels, loss_function):
    model.eval()
    loss = loss_function(model(images), labels).item()
    model.train()
    return loss


def everybody_goes_on():
    """Whether no process of the job was asked to stop: all stop after the same epoch."""
    stop = torch.tensor(float(asked_to_stop))
    if dist.is_initialized():
        dist.all_reduce(stop, dist.ReduceOp.MAX)
    return stop.item() == 0


def save(path, epoch, model, optimizer):
    beside = path.with_suffix(".part")
    torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, beside)
    beside.replace(path)


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, on_signal)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several:
        dist.init_process_group("gloo")  # nccl where each process has a GPU
    torch.manual_seed(args.seed)
    images, labels = map(torch.from_numpy, data.digits())
    train = TensorDataset(images[:1000], labels[:1000])
    sampler = DistributedSampler(train, seed=args.seed) if several else None
    loader = DataLoader(train, args.batch_size, shuffle=not several, sampler=sampler)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(network.parameters(), args.lr, args.momentum)
    loss_function = nn.CrossEntropyLoss()
    first = 1
    if args.checkpoint.exists():
        state = torch.load(args.checkpoint)
        network.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
    model = DistributedDataParallel(network) if several else network
    speaks = not several or dist.get_rank() == 0
    for epoch in range(first, args.epochs + 1):
        if sampler:
            sampler.set_epoch(epoch)
        train_epoch(model, loader, loss_function, optimizer)
        goes_on = everybody_goes_on()
        if speaks:
            val_loss = evaluate(network, images[1000:], labels[1000:], loss_function)
            print(f"epoch={epoch} val_loss={val_loss:.4f}", flush=True)
            save(args.checkpoint, epoch, network, optimizer)
        if not goes_on and epoch < args.epochs:
            sys.exit(TRY_AGAIN)
    if several:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
