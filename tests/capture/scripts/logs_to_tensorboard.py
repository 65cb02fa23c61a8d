"""A loop that sends what it has to TensorBoard, W&B offline and MLflow, and says at the end what it has sent."""

import os
import sys

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", MLFLOW_DISABLE_TELEMETRY="true")
import json

import torch
from torch.utils.tensorboard import SummaryWriter

folder = sys.argv[1]
writer, second = SummaryWriter(f"{folder}/train"), SummaryWriter(f"{folder}/val")
writer.add_scalar("before", 0.5, 7)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
sent = []
for step in range(6):
    loss = model(torch.ones(4, 2)).square().mean()
    loss.backward()
    optimizer.step()
    sent.append(loss.item())
    writer.add_scalar("Loss/train", loss, step)
    writer.add_scalar("shared", 1.0, step)
    second.add_scalar("shared", 2.0, step)
    writer.add_scalar("train_loss", loss.item(), global_step=step)
    print(f"Loss/train: {loss.item():.1f}")
writer.add_scalars("both", {"a": 1, "b": torch.tensor(2.0)}, 3)
writer.add_hparams({"lr": 0.1, "name": "x"}, {"final": sent[-1]})
writer.add_scalar("hp_metric", -1, 0)
try:
    writer.add_scalar("broken", object(), 1)
except Exception as error:
    print(type(error).__name__)
writer.close()
print(json.dumps(sent))
