"""Small networks with every kind of channel group, and how their outputs are compared."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.closeness import EPS, assert_within
from tests.strategies import Attention, Residual, fill_, gaussian, mlp


def set_statistics_(model: nn.Module, seed: int) -> nn.Module:
    """Running means and variances of BatchNorm as after training; returns the model."""
    for number, module in enumerate(model.modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.copy_(gaussian(seed + number, module.num_features))
            module.running_var.copy_(gaussian(seed - number, module.num_features).square() + 0.5)
    return model


def ready(model: nn.Module, seed: int) -> nn.Module:
    """In float64 and evaluation mode, parameters and statistics drawn from the seed."""
    return set_statistics_(fill_(model.double(), seed), seed + 1).eval()


def vgg(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Convolutions, BatchNorm, pooling, flattening of several positions a channel."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), activation()),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), activation()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(20, 6), activation()),
        nn.Linear(6, 3),
    )


class Block(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return out.relu()


class ResNet(nn.Module):
    """A stem and two blocks whose shortcuts share one set of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(self.blocks(x).mean((2, 3)))


class Depthwise(nn.Module):
    """Depthwise and pointwise convolutions, flattened by view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.pointwise = nn.Conv2d(4, 5, 1)
        self.doubled = nn.Conv2d(5, 10, 2, groups=5)
        self.head = nn.Linear(250, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.depthwise(functional.relu(self.stem(x))))
        x = functional.leaky_relu(self.doubled(functional.relu(self.pointwise(x))))
        return self.head(x.view(x.size(0), -1))


class Tokens(nn.Module):
    """A network over positions, flattened with the channels on the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.first = nn.Linear(4, 5)
        self.last = nn.Linear(25, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(torch.relu(self.embedding(tokens)))).flatten(1))


def grouped() -> nn.Sequential:
    """A convolution in groups of several channels, and GroupNorm over several and over all."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(3, 6)),
        *(nn.ReLU(), nn.Conv2d(6, 5, 1), nn.GroupNorm(1, 5), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    )


def normalised_perceptron() -> nn.Sequential:
    """BatchNorm over vectors, with and without an affine map, and LayerNorm."""
    return nn.Sequential(
        *(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5)),
        *(nn.BatchNorm1d(5, affine=False), nn.ReLU(), nn.Linear(5, 4), nn.LayerNorm(4), nn.ReLU()),
        nn.Linear(4, 3),
    )


def images(seed: int, samples: int = 4) -> Tensor:
    """Inputs of two 8×8 maps."""
    return gaussian(seed, samples, 2, 8, 8)


def tokens(seed: int, samples: int = 4) -> Tensor:
    """Inputs of five token numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(7, (samples, 5), generator=generator)


def generator(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def flat(model: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def sensitivity(model: nn.Module, x: Tensor) -> Tensor:
    """Σ_i |θ_i ∂f/∂θ_i| of every logit, over all entries of parameters and of float buffers.

    What relative errors of eps in all entries can move, in units of eps and to first order. A
    rounded sum or activation is a relative error of the weights that make or read it.
    """
    logits = model(x)
    total = torch.zeros_like(logits).detach().flatten()
    for number, logit in enumerate(logits.flatten()):
        slopes = torch.autograd.grad(
            logit, list(model.parameters()), retain_graph=True, allow_unused=True
        )
        for value, slope in zip(model.parameters(), slopes, strict=True):
            total[number] += 0.0 if slope is None else (value * slope).abs().sum().detach()
    # Running statistics are constants to autograd: differences with a step of 2⁻²⁰.
    changed, total = copy.deepcopy(model), total.view_as(logits)
    with torch.no_grad():
        for buffer in (b for b in changed.buffers() if b.is_floating_point()):
            for entry in buffer.view(-1):
                before = entry.clone()
                entry.mul_(1 + 2.0**-20)
                total += (changed(x) - logits).abs() * 2.0**20
                entry.copy_(before)
    return total


def roundings(model: nn.Module) -> int:
    """Roundings on the way from an input to a logit: a sum of n terms has n, the rest at most 8.

    8 for each tensor: the rounded factor, the scaled entry twice, the bias, a normalisation.
    """
    return sum(8 + (p[0].numel() if p.ndim > 1 else 0) for p in model.parameters())


def allowance(before: nn.Module, after: nn.Module, x: Tensor) -> Tensor:
    """How far logits of two networks with the same function may lie apart by rounding."""
    both = sensitivity(before, x) + sensitivity(after, x)
    return roundings(before) * EPS * both


def assert_same_function(before: nn.Module, after: nn.Module, x: Tensor) -> None:
    """Logits agree to what rounding can move, and parameters do not."""
    assert not torch.equal(flat(after), flat(before))
    assert_within(after(x).detach(), before(x).detach(), allowance(before, after, x))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "MLP with relu": (lambda: mlp(0, [3, 5, 4, 3], nn.ReLU), lambda s: gaussian(s, 4, 3)),
    "MLP with leaky relu": (
        lambda: mlp(0, [3, 5, 4, 3], nn.LeakyReLU, bias=False),
        lambda s: gaussian(s, 4, 3),
    ),
    "MLP with tanh": (lambda: mlp(0, [3, 5, 4, 3], nn.Tanh), lambda s: gaussian(s, 4, 3)),
    "MLP with gelu": (lambda: mlp(0, [3, 5, 4, 3], nn.GELU), lambda s: gaussian(s, 4, 3)),
    "MLP with norms": (normalised_perceptron, lambda s: gaussian(s, 4, 3)),
    "VGG": (vgg, images),
    "VGG with tanh": (lambda: vgg(nn.Tanh), images),
    "ResNet": (ResNet, images),
    "depthwise": (Depthwise, images),
    "grouped": (grouped, images),
    "flattened tokens": (Tokens, tokens),
    "attention": (Attention, tokens),
    "residual, module used twice": (lambda: Residual(4), lambda s: gaussian(s, 4, 4)),
}
"""Name → (how to make the model, how to draw inputs)."""

SCALABLE = [name for name in NETWORKS if name.split()[-1] not in ("tanh", "gelu", "twice")]
FLIPPABLE = ["MLP with tanh", "MLP with norms", "VGG", "VGG with tanh", "ResNet"]


def network(name: str, seed: int) -> tuple[nn.Module, Tensor]:
    """(model, x) of a named network."""
    build, draw = NETWORKS[name]
    return ready(build(), seed), draw(seed + 2)
