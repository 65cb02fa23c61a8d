"""Lets everything that looks at functions rather than calling them look at the loss and dropout functions."""

import inspect
import pickle
import traceback
import warnings

import torch
import torch.nn.functional as F
from torch import nn

warnings.simplefilter("always")
torch.manual_seed(0)
x, y = torch.randn(8, 3), torch.randint(0, 3, (8,))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(3, 3), nn.Dropout(0.1)

    def forward(self, inputs, labels):
        return F.cross_entropy(F.dropout(self.drop(self.layer(inputs)), 0.2, self.training), labels)


@torch.jit.script
def scripted(inputs, labels):
    return torch.nn.functional.cross_entropy(inputs, labels) + F.mse_loss(inputs, inputs)


class Subclass(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        print("asked for", function.__module__, function.__name__, function is F.cross_entropy)
        return super().__torch_function__(function, types, args, kwargs or {})


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(x, y).backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    print(scripted(x, y), torch.jit.script(nn.CrossEntropyLoss(label_smoothing=0.1))(x, y))
    print(torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.ReLU())).code)
    print(torch.jit.script(model)(x, y), torch.jit.trace(model, (x, y)).code)
    print(torch.fx.symbolic_trace(model).code, torch.fx.symbolic_trace(model)(x, y))
    print(torch.func.vmap(lambda a, b: F.cross_entropy(a[None], b[None]))(x, y))
    print(torch.func.grad(lambda a: F.cross_entropy(a, y))(x))
    print(torch.export.export(model, (x, y)).graph_module.code)
    print(F.cross_entropy(x.as_subclass(Subclass), y))
    print(F.mse_loss(x, x[:1]))  # a warning that names this line
model.train()
explained = torch._dynamo.explain(model)(x, y)
print(explained.graph_count, explained.graph_break_count, explained.graphs[0].code)
compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
print(compiled(x, y), compiled(x, y))
print(inspect.signature(F.cross_entropy), len(inspect.getsource(F.dropout)), F.nll_loss.__module__)
print(pickle.loads(pickle.dumps(F.cross_entropy)) is F.cross_entropy)
print(torch.overrides.get_testing_overrides()[F.cross_entropy].__code__.co_varnames)
try:
    F.cross_entropy(x, y[:3])
except ValueError:
    traceback.print_exc()
