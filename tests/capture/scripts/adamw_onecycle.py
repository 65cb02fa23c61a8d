import torch
from torch import nn

torch.manual_seed(5)
x = torch.randn(64, 4)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
decayed = [p for p in model.parameters() if p.ndim > 1]
others = [p for p in model.parameters() if p.ndim < 2]
groups = [{"params": others, "weight_decay": 0.0, "lr": 2e-3}, {"params": decayed, "weight_decay": 0.1}]
optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.8, 0.95), eps=1e-7)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.02, 0.01], total_steps=20, cycle_momentum=False)
for _ in range(20):
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
    print(f"rate={optimizer.param_groups[1]['lr']!r}")
    optimizer.step()
    scheduler.step()
