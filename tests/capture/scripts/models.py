"""Trains each model that is named, a few steps, and prints its losses. With a folder each is a session of its own."""

import contextlib

import torch
import torch.nn.functional as F
from networks import (
    GPT,
    Classifier,
    DenseNet,
    Discriminator,
    Encoder,
    Generator,
    LeNet,
    ResNet,
    TiedAutoencoder,
    UNet,
)
from sessions import run_each
from torch import nn


def classes(outputs):
    return F.cross_entropy(outputs, torch.arange(len(outputs)) % outputs.shape[1])


def train(model, make_input, loss_of=classes, optimizer=None, steps=3, context=contextlib.nullcontext):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        inputs = make_input()
        optimizer.zero_grad()
        with context():
            loss = loss_of(model(inputs))
        loss.backward()
        optimizer.step()
        print(f"loss: {loss.item()!r} {torch.rand(()).item()!r}")


def images(channels=3, size=16):
    return lambda: torch.randn(4, channels, size, size)


def vectors(features=20):
    return lambda: torch.randn(8, features)


def tokens(length=12):
    return lambda: torch.randint(0, 50, (4, length))


def mlp():
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))
    train(model, vectors(), steps=12)


def lenet():
    model = LeNet()
    for m in model.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)
    train(model, images(1, 28))


def resnet():
    model = ResNet([(8, 1, 2), (16, 2, 2)])
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    train(model, images())


def projected():
    """Only shortcuts with a projection, as in a wide ResNet of ten layers."""
    train(ResNet([(16, 1, 1), (32, 2, 1)]), images())


def vgg():
    layers, inputs = [], 3
    for outputs in (8, 8, "M", 16, 16, "M"):
        if outputs == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
    features = nn.Sequential(*layers)

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = features
            self.classifier = nn.Sequential(nn.Linear(256, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10))

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    train(VGG(), images(), steps=10)


def encoder():
    train(Encoder(), tokens(), optimizer=None)


def next_token(outputs):
    return F.cross_entropy(outputs.flatten(0, 1), torch.zeros(outputs.shape[0] * outputs.shape[1], dtype=torch.long))


def gpt():
    model = GPT()
    decay = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    train(model, tokens(), next_token, torch.optim.AdamW(groups, lr=1e-3))


def lstm():
    train(Classifier(nn.LSTM), tokens())


def gru():
    train(Classifier(nn.GRU), tokens())


def unet():
    train(UNet(), images(), lambda out: F.binary_cross_entropy_with_logits(out, torch.ones_like(out)))


def densenet():
    train(DenseNet(), images())


def gan():
    def weights(m):
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight.data, 0.0, 0.02)

    netG, netD = Generator().apply(weights), Discriminator().apply(weights)
    optD, optG = torch.optim.Adam(netD.parameters(), 1e-4), torch.optim.Adam(netG.parameters(), 1e-4)
    for _ in range(3):
        fake = netG(torch.randn(6, 8))
        optD.zero_grad()
        F.binary_cross_entropy(netD(torch.randn(6, 20)), torch.ones(6, 1)).backward()
        F.binary_cross_entropy(netD(fake.detach()), torch.zeros(6, 1)).backward()
        optD.step()
        optG.zero_grad()
        loss = F.binary_cross_entropy(netD(fake), torch.ones(6, 1))
        loss.backward()
        optG.step()
        print(f"loss: {loss.item()!r}")


def autoencoder():
    train(TiedAutoencoder(), vectors(), lambda out: F.mse_loss(out, torch.zeros_like(out)))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 50, "n_positions": 12, "n_embd": 32, "n_layer": 3, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    train(model, tokens(), lambda out: next_token(out.logits))


def compiled():
    train(torch.compile(GPT(2), backend="aot_eager"), tokens(), next_token)


def distributed():
    import os

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    train(nn.parallel.DistributedDataParallel(ResNet([(8, 1, 2)])), images())
    torch.distributed.destroy_process_group()


def lightning():
    import lightning as L

    class Task(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.loss = ResNet([(8, 1, 3)]), nn.CrossEntropyLoss()

        def training_step(self, batch, _):
            return self.loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3)

    data = torch.utils.data.TensorDataset(torch.randn(8, 3, 8, 8), torch.arange(8))
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **options)
    trainer.fit(Task(), torch.utils.data.DataLoader(data, 4))


def loaded():
    model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 5))
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
    train(model, vectors(), context=lambda: torch.autocast("cpu", torch.bfloat16))


def by_hand():
    """Weights set without `nn.init`, and in half the precision."""
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02)
    train(model.bfloat16(), lambda: torch.randn(8, 20).bfloat16())


def frozen():
    """A backbone that takes no gradients: of its connections nothing can be seen."""

    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = ResNet([(8, 1, 2)]), nn.Linear(10, 5)

        def forward(self, x):
            return self.head(self.backbone(x))

    model = Probe()
    model.backbone.requires_grad_(False)
    train(model, images(), optimizer=torch.optim.SGD(model.head.parameters(), lr=0.1))


def twins():
    """Two networks side by side are no stack; a loss of two parts is no residual connection."""

    class Critics(nn.Module):
        def __init__(self):
            super().__init__()
            self.q1, self.q2 = self.critic(), self.critic()

        def critic(self):
            class Critic(nn.Sequential):
                pass

            return Critic(nn.Linear(20, 16), nn.ELU(), nn.Linear(16, 1)) if not hasattr(self, "q1") else type(self.q1)(
                nn.Linear(20, 16), nn.ELU(), nn.Linear(16, 1)
            )

        def forward(self, x):
            return self.q1(x), self.q2(x)

    train(Critics(), vectors(), lambda out: (out[0] ** 2).mean() + (out[1] ** 2).mean())


def scaled():
    """Mixed precision with a scaler whose first steps overflow."""
    model = nn.Linear(20, 5)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.01), torch.amp.GradScaler("cpu", init_scale=2.0**17)
    for _ in range(6):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = classes(model(torch.randn(8, 20))) * 8
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        print(f"loss: {loss.item()!r} {scaler.get_scale()}")


if __name__ == "__main__":
    run_each(globals(), before=lambda: torch.manual_seed(1))
