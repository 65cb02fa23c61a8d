"""accelerate with a tracker, then the Hugging Face Trainer, which stops early and restores its best weights."""

import sys

import torch
from accelerate import Accelerator
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

folder = sys.argv[1]
accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=folder)
accelerator.init_trackers("project", config={"lr": 0.25, "note": "here"})
accelerator.log({"warming": 0.5}, step=3)
accelerator.end_training()


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, labels=None):
        return {"loss": (self.layer(x) - labels).square().mean()}


class Stopping(Trainer):
    def evaluate(self, *args, **kwargs):
        metrics = {"eval_score": {2: 1.0, 4: 3.0, 6: 2.0}.get(self.state.global_step, 0.0)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


data = [{"x": torch.ones(2), "labels": torch.ones(1)} for _ in range(32)]
arguments = TrainingArguments(
    folder, max_steps=20, per_device_train_batch_size=4, learning_rate=1e-3, logging_steps=1, eval_strategy="steps",
    eval_steps=2, save_strategy="steps", save_steps=2, load_best_model_at_end=True, metric_for_best_model="eval_score",
    greater_is_better=True, report_to="tensorboard", use_cpu=True, disable_tqdm=True,
)  # fmt: skip
trainer = Stopping(Model(), arguments, train_dataset=data, eval_dataset=data, callbacks=[EarlyStoppingCallback(1)])
trainer.train()
