"""A vision transformer in miniature, with accelerate: bfloat16, accumulation, linear warm-up and decay."""

import argparse
import json
import math

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import get_linear_schedule_with_warmup


class PatchTransformer(nn.Module):
    def __init__(self, d_model=24, depth=2, dropout=0.05):
        super().__init__()
        self.patch = nn.Conv2d(1, d_model, 2, 2)
        self.position = nn.Parameter(torch.zeros(16, d_model))
        layer = nn.TransformerEncoderLayer(d_model, 2, 48, dropout, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(d_model, 10)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.encoder(x).mean(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    parser.add_argument("--weight_decay", type=float, default=0.02)
    parser.add_argument("--per_device_train_batch_size", type=int, default=20)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=4)
    parser.add_argument("--num_train_epochs", type=int, default=2)
    parser.add_argument("--num_warmup_steps", type=int, default=6)
    parser.add_argument("--seed", type=int, default=21)
    args = parser.parse_args()
    accelerator = Accelerator(
        cpu=True, mixed_precision="bf16", gradient_accumulation_steps=args.gradient_accumulation_steps
    )
    set_seed(args.seed)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)
    train_dataloader = DataLoader(TensorDataset(x[:1600], y[:1600]), args.per_device_train_batch_size, shuffle=True)
    eval_dataloader = DataLoader(TensorDataset(x[1600:], y[1600:]), batch_size=197)
    model = PatchTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    steps = args.num_train_epochs * math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
    lr_scheduler = get_linear_schedule_with_warmup(optimizer, args.num_warmup_steps, steps)
    model, optimizer, train_dataloader, eval_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, eval_dataloader, lr_scheduler
    )
    for _ in range(args.num_train_epochs):
        model.train()
        for inputs, targets in train_dataloader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 2.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            losses = [nn.functional.cross_entropy(model(inputs), targets).item() for inputs, targets in eval_dataloader]
    if accelerator.is_main_process:
        with open("results.json", "w") as file:
            json.dump({"val_loss": sum(losses) / len(losses)}, file)


if __name__ == "__main__":
    main()
