"""Trains 100 steps with a checkpoint every 20, goes on from the last one where there is one, and may be killed."""

import argparse
import os
import signal

import torch

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--optimizer", choices=["SGD", "Adam"], default="SGD")
parser.add_argument("--moved", action="store_true", help="the checkpoint is copied, as to another disk")
parser.add_argument("--from-scratch", action="store_true")
args = parser.parse_args()
last, kill = os.path.join(args.folder, "last.pt"), os.environ.get("KILL_AT")
torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
optimizer = getattr(torch.optim, args.optimizer)(model.parameters(), lr=float(os.environ.get("RATE", "0.01")))
first = 0
if os.path.exists(last) and not args.from_scratch:
    if args.moved:
        with open(last, "rb") as file, open(last + ".copy", "wb") as copy:
            copy.write(file.read())
        last += ".copy"
    state = torch.load(last)
    model.load_state_dict(state["model"])
    if args.optimizer == "Adam":
        optimizer.load_state_dict(state["optimizer"])
    first = state["step"]
for step in range(first + 1, args.steps + 1):
    optimizer.zero_grad()
    loss = (model(torch.ones(4, 2)) - 3).square().mean()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        content = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(content, last + ".part")
        os.replace(last + ".part", last)
    if kill and step == int(kill):
        os.kill(os.getpid(), signal.SIGKILL)
