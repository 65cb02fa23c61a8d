"""A LightningModule without a logger, whose training stops early and whose best weights are read back."""

import json
import logging
import sys
import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")
how, folder = sys.argv[1:]


class Module(L.LightningModule):
    def __init__(self, lr=0.05, widths=(4, 8)):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, _):
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss)
        self.log("my_loss", loss)
        return loss

    def validation_step(self, batch, _):
        scores = [9.0] if self.trainer.sanity_checking else [0.1, 0.5, 0.4, 0.3, 0.2, 0.1]
        self.log("score", torch.tensor(scores[self.current_epoch]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


data = TensorDataset(torch.randn(40, 4))
stopping = EarlyStopping("score", mode="max", patience=2)
keeping = ModelCheckpoint(f"{folder}/kept", monitor="score", mode="max")
trainer = L.Trainer(
    max_epochs=6, accelerator="cpu", log_every_n_steps=1, logger=how == "logger" and TensorBoardLogger(folder),
    callbacks=[stopping, keeping], enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
module = Module()
trainer.fit(module, DataLoader(data, 8, shuffle=True), DataLoader(data, 8))
module.load_state_dict(torch.load(keeping.best_model_path, weights_only=True)["state_dict"])
print(json.dumps([trainer.global_step, trainer.current_epoch]))
