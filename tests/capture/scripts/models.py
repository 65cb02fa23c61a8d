"""Trains each model that is named, a few steps, and prints its losses. With a folder each is a session of its own."""

import contextlib
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
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


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc1(x.flatten(1)))
        return self.fc3(torch.tanh(self.fc2(x)))


def lenet():
    model = LeNet()
    for m in model.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)
    train(model, images(1, 28))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self, stages):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        blocks, inputs = [], 8
        for outputs, stride, count in stages:
            layers = [BasicBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(count)]
            blocks.append(nn.Sequential(*layers))
            inputs = outputs
        self.stages = nn.Sequential(*blocks)
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.stages(F.relu(self.bn1(self.conv1(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


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


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Embedding(50, 32), nn.Parameter(torch.zeros(1, 12, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.position).mean(1))


def encoder():
    train(Encoder(), tokens(), optimizer=None)


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head = n_head
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(c, dim=2)
        q, k, v = (part.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


class LayerNorm(nn.Module):
    def __init__(self, ndim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.ln_1, self.attn = LayerNorm(n_embd), CausalSelfAttention(n_embd, n_head)
        self.ln_2 = LayerNorm(n_embd)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(n_embd, 4 * n_embd), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * n_embd, n_embd)}
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        h = self.mlp["c_proj"](self.mlp["gelu"](self.mlp["c_fc"](self.ln_2(x))))
        return x + h


class GPT(nn.Module):
    def __init__(self, layers=4):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(50, 32), nn.Embedding(12, 32)
        self.h = nn.ModuleList(Block(32, 4) for _ in range(layers))
        self.ln_f, self.lm_head = LayerNorm(32), nn.Linear(32, 50, bias=False)
        self.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, x):
        x = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def next_token(outputs):
    return F.cross_entropy(outputs.flatten(0, 1), torch.zeros(outputs.shape[0] * outputs.shape[1], dtype=torch.long))


def gpt():
    model = GPT()
    decay = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    train(model, tokens(), next_token, torch.optim.AdamW(groups, lr=1e-3))


class Classifier(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.rnn = cell(16, 24, num_layers=2, batch_first=True)
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][:, -1])


def lstm():
    train(Classifier(nn.LSTM), tokens())


def gru():
    train(Classifier(nn.GRU), tokens())


class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1))
        self.append(nn.Conv2d(outputs, outputs, 3, padding=1)).append(nn.LeakyReLU(0.1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.middle = DoubleConv(3, 8), DoubleConv(8, 16), DoubleConv(16, 32)
        self.up2, self.dec2 = nn.ConvTranspose2d(32, 16, 2, 2), DoubleConv(32, 16)
        self.up1, self.dec1 = nn.ConvTranspose2d(16, 8, 2, 2), DoubleConv(16, 8)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        c = self.dec2(torch.cat([self.up2(c), b], 1))
        return self.out(self.dec1(torch.cat([self.up1(c), a], 1)))


def unet():
    train(UNet(), images(), lambda out: F.binary_cross_entropy_with_logits(out, torch.ones_like(out)))


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 8 * i), nn.ReLU(), nn.Conv2d(8 + 8 * i, 8, 3, padding=1)) for i in range(3)
        )
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.last(x.mean((2, 3)))


def densenet():
    train(DenseNet(), images())


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.net.append(nn.Linear(32, 20)).append(nn.Tanh())

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid())

    def forward(self, x):
        return self.net(x)


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


class TiedAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(20, 8)
        self.bias = nn.Parameter(torch.zeros(20))

    def forward(self, x):
        return F.linear(torch.sigmoid(self.encoder(x)), self.encoder.weight.t(), self.bias)


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
    from hpkb.capture import session

    for name in sys.argv[2:]:
        torch.manual_seed(1)
        place = Path(sys.argv[1], name)
        if sys.argv[1] != "-":
            place.mkdir()
            session.start(str(place))
        print(f"--- {name}")
        globals()[name]()
        session.stop()
