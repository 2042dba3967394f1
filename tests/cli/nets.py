"""What a user's module might hold, for commands: written into a folder, and imported from there."""

SOURCE = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3))

def data():
    g = torch.Generator().manual_seed(0)
    return torch.randn(12, 4, generator=g), torch.randint(0, 3, (12,), generator=g)

net = small()
pair = data()
number = 3

def broken():
    raise RuntimeError("no such thing")

def gone():
    raise SystemExit(7)

def seven():
    return 7

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = small()

    def forward(self, shift, scale):
        return self.own(shift * scale)
"""
