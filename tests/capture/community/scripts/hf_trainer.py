"""A tiny GPT-2 made locally and trained with the Hugging Face Trainer."""

import json
from dataclasses import dataclass, field

import torch
from transformers import GPT2Config, GPT2LMHeadModel, HfArgumentParser, Trainer, TrainingArguments


@dataclass
class ModelArguments:
    n_layer: int = field(default=2)
    n_embd: int = field(default=32)


class Tokens(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        generator = torch.Generator().manual_seed(seed)
        start = torch.randint(0, 50, (n, 12), generator=generator)
        self.ids = torch.stack([start, (start + 1) % 50], dim=2).flatten(1)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "labels": self.ids[i]}


def main():
    model_args, training_args = HfArgumentParser((ModelArguments, TrainingArguments)).parse_args_into_dataclasses()
    config = GPT2Config(
        vocab_size=50, n_positions=24, n_layer=model_args.n_layer, n_embd=model_args.n_embd, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    trainer = Trainer(model, training_args, train_dataset=Tokens(320, 0), eval_dataset=Tokens(64, 1))
    trainer.train()
    metrics = trainer.evaluate()
    with open("results.json", "w") as file:
        json.dump({"eval_loss": metrics["eval_loss"]}, file)


if __name__ == "__main__":
    main()
