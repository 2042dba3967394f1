"""The networks of the benchmarks, in arrays so that they travel to processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from igsref.transforms.symmetries import hidden_widths, scale_nodes

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Network:
    """A ReLU perceptron and its labelled samples, in arrays, so that it travels to processes.

    layers: (weight, bias) from input to output, float64.
    """

    name: str
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    inputs: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """m."""
        return sum(weight.size + bias.size for weight, bias in self.layers)

    @property
    def rows(self) -> int:
        """N(C−1)."""
        return len(self.labels) * (len(self.layers[-1][1]) - 1)


def three_gaussians(widths: Sequence[int], samples: int) -> Network:
    """The network of the paper's Figure 1, on three Gaussians in the plane."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 2.0], [-(3**0.5), -1.0], [3**0.5, -1.0]], dtype=torch.float64)
    labels = torch.arange(samples) % 3
    noise = torch.randn(samples, 2, generator=generator, dtype=torch.float64)
    return _trained("Three Gaussians", widths, centres[labels] + 0.7 * noise, labels, steps=100)


def digits(widths: Sequence[int], samples: int) -> Network:
    """A perceptron on the first handwritten digits of scikit-learn, pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(pixels[:samples] / 16.0)
    return _trained("Digits", widths, inputs, torch.from_numpy(labels[:samples]), steps=100)


def repeated_gaussians(widths: Sequence[int], samples: int) -> Network:
    """A Gaussian per class; one input in ten comes a second time, under another label.

    Copies share their rows of the Jacobian, so that the value is not the ceiling however wide
    the network. ``samples`` counts the copies.
    """
    generator = torch.Generator().manual_seed(1)
    features, classes = widths[0], widths[-1]
    centres = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (samples,), generator=generator)
    noise = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    inputs, copies = centres[labels] + noise, -(-samples // 10)
    inputs[-copies:] = inputs[:copies]
    labels[-copies:] = (labels[:copies] + 1) % classes
    return _trained("Gaussians, some repeated", widths, inputs, labels, steps=20)


def _trained(
    name: str, widths: Sequence[int], inputs: Tensor, labels: Tensor, *, steps: int
) -> Network:
    """Full-batch Adam, stopped while the smallest class probability is far above 1e-12."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _perceptron(widths)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return as_network(name, model, inputs.numpy(), labels.numpy())


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        modules += [nn.Linear(fan_in, fan_out, dtype=torch.float64), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def as_network(name: str, model: nn.Sequential, inputs: np.ndarray, labels: np.ndarray) -> Network:
    parameters = [parameter.detach().numpy() for parameter in model.parameters()]
    layers = tuple(zip(parameters[::2], parameters[1::2], strict=True))
    return Network(name, layers, inputs, labels)


def torch_model(network: Network) -> nn.Sequential:
    """The same network as a module."""
    widths = [network.inputs.shape[1], *(len(bias) for _, bias in network.layers)]
    model = _perceptron(widths)
    arrays = [array for layer in network.layers for array in layer]
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(array))
    return model


def node_scaled(network: Network) -> Network:
    """Every hidden unit scaled by 10^(6·N(0,1))."""
    generator = torch.Generator().manual_seed(2)
    model = torch_model(network)
    factors = [
        10.0 ** (6.0 * torch.randn(width, generator=generator, dtype=torch.float64))
        for width in hidden_widths(model)
    ]
    return as_network(network.name, scale_nodes(model, factors), network.inputs, network.labels)
