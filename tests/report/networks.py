"""A small convolutional network with images, and a perceptron, for reports."""

import torch
from torch import nn


def images(count=6, side=5, channels=1):
    """Images of three classes, and a convolution with a linear layer on top; not saturated."""
    drawn = torch.Generator().manual_seed(0)
    x = torch.rand(count, channels, side, side, generator=drawn, dtype=torch.float64)
    y = torch.arange(count) % 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolution = nn.Conv2d(channels, 1, 3)
        model = nn.Sequential(
            convolution, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3)
        )
    return model.double().eval(), (x, y)


def perceptron(count=8):
    """A 4-6-3 network with more parameters than rows; saturated."""
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=drawn, dtype=torch.float64)
    y = torch.randint(0, 3, (count,), generator=drawn)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    return model.double().eval(), (x, y)
