"""A character-level transformer on English text.

python examples/char_transformer.py --lr 0.01 --optimizer adamw --schedule cosine
"""

import argparse

import data
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, StepLR
from torch.utils.data import DataLoader, Dataset

N_CHARACTERS = 24_000  # of which the last 15% validate


class Windows(Dataset):
    """The text cut into windows of `context` characters, each with the same window one character later."""

    def __init__(self, tokens, context):
        self.tokens, self.context = tokens, context

    def __len__(self):
        return (len(self.tokens) - 1) // self.context

    def __getitem__(self, index):
        start = index * self.context
        window = self.tokens[start : start + self.context + 1]
        return window[:-1], window[1:]


class CharTransformer(nn.Module):
    def __init__(self, vocabulary, context, width, depth, dropout):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.1 * torch.randn(context, width))
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))

    def forward(self, tokens):
        x = self.token(tokens) + self.position
        return self.head(self.blocks(x, mask=self.mask, is_causal=True))


def parse_args():
    parser = argparse.ArgumentParser(description="A character-level transformer on English text.")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="adamw")
    parser.add_argument("--momentum", type=float, default=0.9, help="of SGD")
    parser.add_argument("--schedule", choices=["constant", "cosine", "step", "warm_restarts"], default="cosine")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--context", type=int, default=16, help="characters that a prediction may look back")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def configure_optimizer(args, model):
    if args.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay
    )


def configure_scheduler(args, optimizer, steps):
    if args.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if args.schedule == "step":
        return StepLR(optimizer, step_size=steps // 3 + 1, gamma=0.2)
    if args.schedule == "warm_restarts":  # three cycles, each twice as long as the one before
        return CosineAnnealingWarmRestarts(optimizer, T_0=steps // 7 + 1, T_mult=2)
    return None


def cross_entropy(model, x, y):
    return nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def estimate_loss(model, loader):
    model.eval()
    total = sum(cross_entropy(model, x, y).item() * len(x) for x, y in loader)
    model.train()
    return total / len(loader.dataset)


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    text = data.english_text()[:N_CHARACTERS]
    vocabulary = {character: index for index, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([vocabulary[character] for character in text])
    cut = len(tokens) * 85 // 100
    train_loader = DataLoader(Windows(tokens[:cut], args.context), args.batch_size, shuffle=True)
    val_loader = DataLoader(Windows(tokens[cut:], args.context), batch_size=256)

    model = CharTransformer(len(vocabulary), args.context, args.width, args.depth, args.dropout)
    optimizer = configure_optimizer(args, model)
    scheduler = configure_scheduler(args, optimizer, args.epochs * len(train_loader))
    step = 0
    for epoch in range(args.epochs):
        for x, y in train_loader:
            loss = cross_entropy(model, x, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            step += 1
            if step % 25 == 0:
                print(f"step: {step}, train_loss: {loss.item():.4f}")
        print(f"step: {step}, epoch: {epoch + 1}, val_loss: {estimate_loss(model, val_loader):.4f}")


if __name__ == "__main__":
    main()
