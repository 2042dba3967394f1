"""Residual networks, with channels that several layers make and read, and data not saturated."""

import torch
from torch import Tensor, nn

from tests.strategies import classes, gaussian
from tests.transforms.networks import Block, ready


class Stream(nn.Module):
    """A stream of channels to which one layer, called twice, adds what it made of them."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.stem, self.layer = nn.Linear(2, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for _ in range(2):
            x = torch.relu(x + self.layer(x))
        return self.head(x)


def blocks() -> nn.Module:
    """A stem and a residual block, with BatchNorm and a sum in place."""
    stem = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)
    return nn.Sequential(
        *stem, Block(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3, bias=False)
    )


RESIDUAL = {
    "stream": (Stream, "layer", (2,), 40),
    "shared channels of blocks": (blocks, "0", (1, 5, 5), 70),
    "inside of a block": (blocks, "3.conv1", (1, 5, 5), 70),
}
"""Name → (how to make the model, a layer, shape of one input, samples)."""


def residual(name: str, seed: int) -> tuple[nn.Module, str, tuple[Tensor, Tensor]]:
    """(model, layer, (x, y)) of a named case."""
    build, layer, shape, samples = RESIDUAL[name]
    data = gaussian(seed + 5, samples, *shape), classes(seed + 6, samples, 3)
    return ready(build(), seed), layer, data
