"""A recurrent network with click on the command line and TensorBoard for the curves."""

import json

import click
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter


class Tagger(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.lstm = nn.LSTM(8, hidden, num_layers=2, dropout=0.3, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


@click.command()
@click.option("--lr", default=0.01, show_default=True)
@click.option("--hidden-size", default=24)
@click.option("--batch-size", default=40)
@click.option("--epochs", default=3)
@click.option("--patience", default=2)
def main(lr, hidden_size, batch_size, epochs, patience):
    torch.manual_seed(3)
    x = torch.randn(600, 12, 8)
    y = (x[:, :, 0].sum(1, keepdim=True) > 0).float()
    train_loader = DataLoader(TensorDataset(x[:480], y[:480]), batch_size=batch_size, shuffle=True)
    valid_loader = DataLoader(TensorDataset(x[480:], y[480:]), batch_size=60)
    model = Tagger(hidden_size)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=lr, alpha=0.95)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)
    criterion = nn.BCEWithLogitsLoss()
    writer = SummaryWriter("runs")
    step = 0
    for epoch in range(epochs):
        model.train()
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.5)
            optimizer.step()
            writer.add_scalar("Loss/train", loss.item(), step)
            step += 1
        scheduler.step()
        model.eval()
        with torch.no_grad():
            logits = [(model(inputs), targets) for inputs, targets in valid_loader]
            valid_loss = sum(criterion(out, targets).item() for out, targets in logits) / len(logits)
            accuracy = sum(((out > 0) == (targets > 0.5)).float().sum().item() for out, targets in logits) / 120
        writer.add_scalar("Loss/valid", valid_loss, step)
        writer.add_scalar("Accuracy/valid", accuracy, step)
    writer.close()
    with open("results.json", "w") as file:
        json.dump({"train_loss": loss.item(), "Loss/valid": valid_loss, "Accuracy/valid": accuracy}, file)


if __name__ == "__main__":
    main(standalone_mode=False)
