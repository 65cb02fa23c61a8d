"""A generative adversarial network on two-dimensional rings: two optimizers that take turns."""

import argparse
import json
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr_g", type=float, default=2e-4)
parser.add_argument("--lr_d", type=float, default=4e-4)
parser.add_argument("--b1", type=float, default=0.5)
parser.add_argument("--batch_size", type=int, default=50)
parser.add_argument("--n_epochs", type=int, default=3)
parser.add_argument("--latent_dim", type=int, default=6)
parser.add_argument("--seed", type=int, default=99)
opt = parser.parse_args()

random.seed(opt.seed)
np.random.seed(opt.seed)
torch.manual_seed(opt.seed)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(opt.latent_dim, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, x):
        return self.model(x)


angle = torch.rand(600) * 2 * torch.pi
dataloader = DataLoader(TensorDataset(torch.stack([angle.cos(), angle.sin()], 1)), batch_size=opt.batch_size, shuffle=True)
generator, discriminator = Generator(), Discriminator()
adversarial_loss = nn.BCELoss()
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=opt.lr_d, betas=(opt.b1, 0.999))
optimizer_G = torch.optim.Adam(generator.parameters(), lr=opt.lr_g, betas=(opt.b1, 0.999))

for epoch in range(opt.n_epochs):
    for (real,) in dataloader:
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        fake = generator(torch.randn(len(real), opt.latent_dim))
        optimizer_D.zero_grad()
        d_loss = (adversarial_loss(discriminator(real), ones) + adversarial_loss(discriminator(fake.detach()), zeros)) / 2
        d_loss.backward()
        optimizer_D.step()
        optimizer_G.zero_grad()
        g_loss = adversarial_loss(discriminator(fake), ones)
        g_loss.backward()
        optimizer_G.step()
    print(f"[Epoch {epoch}/{opt.n_epochs}] [D loss: {d_loss.item():f}] [G loss: {g_loss.item():f}]")
with open("results.json", "w") as file:
    json.dump({"d_loss": d_loss.item(), "g_loss": g_loss.item()}, file)
