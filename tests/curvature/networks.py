"""Small networks with few-digit parameters whose rank of F is known."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import igsref
from igsref.curvature.rank_bound import rank_bound
from tests.curvature.jets import exact_rank
from tests.strategies import classes


def labelled(seed: int, samples: int, outputs: int, likelihood: str) -> Tensor:
    if likelihood == "categorical":
        return classes(seed, samples, outputs)
    return classes(seed, samples * outputs, 2).view(samples, outputs).double()


def dyadic_(model: nn.Module, seed: int, *, coarse: bool) -> nn.Module:
    """Few-digit parameters: coarse ones are −2..2 (zeros, ties, dead units), others k/32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            top, unit = (2, 1) if coarse else (63, 32)
            value.copy_(torch.randint(-top, top + 1, value.shape, generator=generator) / unit)
    return model.double()


def perceptron(*widths: int, between: type = nn.LeakyReLU, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [between()] * bool(layers) + [nn.Linear(fan_in, fan_out, bias=bias)]
    return nn.Sequential(*layers)


def tied(*shared: str, between: type = nn.LeakyReLU) -> nn.Sequential:
    """Three layers, of which the first two share tensors."""
    model = perceptron(2, 2, 2, 3, between=between)
    for name in shared:
        setattr(model[2], name, getattr(model[0], name))
    return model


def frozen(model: nn.Sequential, *names: str) -> nn.Sequential:
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def with_constant_bias() -> nn.Sequential:
    """A first bias that is a buffer, not a parameter."""
    model = perceptron(2, 3, 3)
    bias = torch.tensor([0.5, -0.25, 1.0], dtype=torch.float64)
    del model[0].bias
    model[0].register_buffer("bias", bias)
    return model


@dataclass(frozen=True)
class Network:
    """A network whose rank m − k − more is known: k that the bound counts, more that it does not.

    What stands still beyond k is mostly a common scaling of several units. ``spread`` of its inputs
    is enough for all its units to bend.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    k: int
    more: int = 0
    likelihood: str = "categorical"
    parameters: str = "*"
    spread: int = 1

    def instance(self, seed: int, x: Tensor) -> tuple[nn.Module, igsref.Problem]:
        model = dyadic_(self.build(), seed, coarse=False).eval()
        outputs = model(x[:1].double()).shape[1]
        data = (x, labelled(1, len(x), outputs, self.likelihood))
        return model, igsref.as_problem(
            model, data, likelihood=self.likelihood, parameters=self.parameters
        )


def some_inputs(*shape: int) -> Tensor:
    return torch.randint(-12, 13, shape, generator=torch.Generator().manual_seed(1)) / 4


def sequence(*layers: nn.Module) -> Callable[[], nn.Sequential]:
    """The same modules each time; ``dyadic_`` gives them new parameters."""
    return lambda: nn.Sequential(*layers)


def check_rank(network: Network, x: Tensor) -> None:
    """The bound is the network's, and some parameters attain it, but for what it does not count.

    Some have dead or always active units, and so a lower rank.
    """
    ranks = []
    for seed in range(6):
        model, problem = network.instance(seed, x)
        expected = problem.num_parameters - network.k
        assert rank_bound(problem).value == expected
        ranks.append(exact_rank(model, problem))
        if ranks[-1] == expected - network.more:
            break
    assert max(ranks) == expected - network.more


def batch_norm(channels: int, kind: type = nn.BatchNorm1d, *, affine: bool = True) -> nn.Module:
    """Statistics that are not those of a new layer, with deviations that are whole numbers."""
    layer = kind(channels, eps=0, affine=affine)
    layer.running_mean.copy_(0.5 - torch.arange(channels) / 4)
    layer.running_var.copy_((1 + torch.arange(channels)) ** 2)
    return layer
