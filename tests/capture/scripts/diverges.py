import torch

weight = torch.ones(1, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=1e20)
for _ in range(6):
    optimizer.zero_grad()
    loss = (weight**4).sum()
    loss.backward()
    optimizer.step()
    print(f"loss: {loss.item()}")
