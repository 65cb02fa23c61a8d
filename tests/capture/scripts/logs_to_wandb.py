"""Nested metrics, a counter of W&B's own, and a configuration that grows, without a network and without torch."""

import argparse
import os
import sys

os.environ.update(WANDB_MODE=sys.argv[2], WANDB_SILENT="true", WANDB_DIR=sys.argv[1])
import wandb

settings = argparse.Namespace(lr=0.5, model={"width": 8}, api_key="sk-do-not-tell-0123456789A")
run = wandb.init(project="p", config=settings)
wandb.config.update({"momentum": 0.9})
wandb.config.nesterov = True
wandb.log({"loss": 1.0}, commit=False)
wandb.log({"val": {"acc": 0.5}, "text": "none", "flag": True})
run.log({"loss": 2.0, "picture": wandb.Histogram([1, 2])})
run.log({"loss": 3.0}, step=9)
print(run.config["lr"])
wandb.finish()
