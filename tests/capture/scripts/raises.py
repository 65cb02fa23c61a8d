import torch
from torch.utils.data import DataLoader, Dataset


class Broken(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            raise ValueError("example 5 is broken")
        return torch.ones(2)


weight = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for batch in DataLoader(Broken(), batch_size=2):
    ((weight - batch) ** 2).mean().backward()
    optimizer.step()
