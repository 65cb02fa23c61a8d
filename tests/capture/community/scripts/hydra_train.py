"""A regression configured with Hydra."""

import json

import hydra
import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class MLP(nn.Module):
    def __init__(self, hidden, dropout):
        super().__init__()
        layers, width = [], 10
        for units in hidden:
            layers += [nn.Linear(width, units), nn.Tanh(), nn.Dropout(dropout)]
            width = units
        self.net = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)


def fit(model, loader, optimizer, loss_fn):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def evaluate(model, val_loader, loss_fn):
    model.eval()
    total = 0.0
    for x, y in val_loader:
        total += loss_fn(model(x), y).item() * len(x)
    return total / len(val_loader.dataset)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    torch.manual_seed(cfg.seed)
    x = torch.randn(500, 10)
    y = x[:, :3].sum(1, keepdim=True).sin()
    train_set, val_set = random_split(TensorDataset(x, y), [400, 100])
    train_loader = DataLoader(train_set, batch_size=cfg.trainer.batch_size, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=64)
    model = MLP(cfg.model.hidden, cfg.model.dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.optimizer.lr, weight_decay=cfg.optimizer.weight_decay)
    for _ in range(cfg.trainer.epochs):
        train_loss = fit(model, train_loader, optimizer, nn.MSELoss())
        val_loss = evaluate(model, val_loader, nn.MSELoss())
    with open("results.json", "w") as file:
        json.dump({"train_loss": train_loss, "val_loss": val_loss}, file)


if __name__ == "__main__":
    main()
