"""Handwritten digits with Ray Train: a network that several workers train together.

hpkb log --experiment digits -- python examples/clusters/ray_train.py --workers 2

Workers on a Ray that was started before do not have this process's environment: so the two variables by which hpkb
enters a process are given to them. Without `hpkb log` there are none, and nothing is given.
"""

import argparse
import os
import sys
from pathlib import Path

import ray
import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EXAMPLES = str(Path(__file__).resolve().parents[1])
OF_HPKB = ("HPKB_RUN_DIR", "PYTHONPATH")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--batch-size", type=int, default=50, help="of each worker")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--storage", default=str(Path.home() / "ray_results"), help="a folder that all nodes see")
    return parser.parse_args()


def train(config):
    """What each worker does."""
    sys.path.insert(0, EXAMPLES)
    import data

    torch.manual_seed(config["seed"])
    images, labels = map(torch.from_numpy, data.digits())
    loader = DataLoader(TensorDataset(images[:1000], labels[:1000]), config["batch_size"], shuffle=True)
    loader = ray.train.torch.prepare_data_loader(loader)
    model = ray.train.torch.prepare_model(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.SGD(model.parameters(), config["lr"], momentum=0.9)
    loss_function = nn.CrossEntropyLoss()
    for epoch in range(1, config["epochs"] + 1):
        if ray.train.get_context().get_world_size() > 1:
            loader.sampler.set_epoch(epoch)
        for inputs, targets in loader:
            loss = loss_function(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            val_loss = loss_function(model(images[1000:]), labels[1000:]).item()
        ray.train.report({"epoch": epoch, "val_loss": val_loss})


def main():
    args = parse_arguments()
    given = {name: os.environ[name] for name in OF_HPKB if name in os.environ}
    ray.init(runtime_env={"env_vars": given})
    trainer = ray.train.torch.TorchTrainer(
        train,
        train_loop_config={name: getattr(args, name) for name in ("lr", "batch_size", "epochs", "seed")},
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=torch.cuda.is_available()),
        run_config=RunConfig(storage_path=args.storage),
    )
    trainer.fit()


if __name__ == "__main__":
    main()
