"""What the tests draw: networks of many architectures, data, factors; all from seeds."""

from collections.abc import Callable
from itertools import pairwise

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

SEEDS = st.integers(0, 2**20)
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


def fill_(model: nn.Module, seed: int, gain: float = 1.0) -> nn.Module:
    """Parameters of size gain/√fan-in from a generator of their own; returns the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            fan_in = value[0].numel() if value.ndim > 1 else 4
            draw = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(gain * draw / fan_in**0.5)
    return model


def gaussian(seed: int, *shape: int) -> Tensor:
    """Standard normal float64 numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def classes(seed: int, samples: int, count: int) -> Tensor:
    """Labels 0..count−1."""
    return torch.randint(count, (samples,), generator=torch.Generator().manual_seed(seed))


def mlp(
    seed: int, widths: list[int], activation: type[nn.Module], *, bias: bool = True
) -> nn.Sequential:
    """A fully connected network in float64."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers += [activation()] * (i > 0) + [nn.Linear(fan_in, fan_out, bias=bias)]
    return fill_(nn.Sequential(*layers).double(), seed, gain=1.5)


@st.composite
def relu_networks(draw: Callable) -> tuple[nn.Sequential, Tensor, Tensor]:
    """(model, x, y): homogeneous MLPs, pre-activations off 0; every other one with N(C−1) > m."""
    activation = draw(st.sampled_from([nn.ReLU, nn.LeakyReLU]))
    hidden = draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    seed = draw(SEEDS)
    model = mlp(seed, [inputs, *hidden, outputs], activation, bias=draw(st.booleans()))
    enough = sum(p.numel() for p in model.parameters()) // (outputs - 1)
    samples = draw(st.integers(1, 8))
    samples = enough + samples if draw(st.booleans()) else min(samples, enough)
    return model, gaussian(seed + 1, samples, inputs), classes(seed + 2, samples, outputs)


class Residual(nn.Module):
    """x + a two-layer branch, twice with the same weights: a module used twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = x + self.branch(x)
        return self.head(x)


class TiedAutoencoder(nn.Module):
    """Two layers that share one weight matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, width)
        self.decoder = nn.Linear(width, width)
        self.decoder.weight = self.encoder.weight
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decoder(torch.tanh(self.encoder(x))))


class Attention(nn.Module):
    """Self-attention over a short sequence of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(dim=1))


class Recurrent(nn.Module):
    """A GRU or LSTM over a short sequence."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = cell(3, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Branching(nn.Module):
    """Looks at values, which vmap refuses; computes what its layers would."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().max().item() > 1e6:
            return self.layers(x / 2)
        return self.layers(x)


def convolutional(*, normalised: bool) -> nn.Module:
    """Convolutions, with or without BatchNorm (in evaluation mode, statistics set)."""
    norm = nn.BatchNorm2d(3) if normalised else nn.Identity()
    if normalised:
        norm.load_state_dict(
            {
                **norm.state_dict(),
                "running_mean": torch.tensor([0.1, -0.2, 0.3]),
                "running_var": torch.tensor([0.5, 1.0, 2.0]),
            }
        )
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(8, 3)
    )


def _perceptron(activation: type[nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Linear(3, 5), activation(), nn.Linear(5, 4), activation(), nn.Linear(4, 3)
    )


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution": (lambda: convolutional(normalised=False), (1, 5, 5)),
    "batch norm": (lambda: convolutional(normalised=True), (1, 5, 5)),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)),
        (4,),
    ),
    "residual, module used twice": (lambda: Residual(4), (4,)),
    "tied weights": (lambda: TiedAutoencoder(4), (4,)),
    "attention and embedding": (Attention, ()),
    "LSTM": (lambda: Recurrent(nn.LSTM), (4, 3)),
    "GRU": (lambda: Recurrent(nn.GRU), (4, 3)),
    "refused by vmap": (Branching, (4,)),
    **{
        f"MLP with {name}": (_perceptron(activation), (3,))
        for name, activation in ACTIVATIONS.items()
    },
}
"""Name → (how to make the model, shape of one input; () for five token numbers)."""


def architecture(name: str, seed: int, samples: int) -> tuple[nn.Module, Tensor, Tensor]:
    """(model in evaluation mode and float64, x, y) of a named architecture."""
    build, shape = ARCHITECTURES[name]
    model = fill_(build().double(), seed).eval()
    x = gaussian(seed + 1, samples, *shape) if shape else classes(seed + 1, samples * 5, 7)
    return model, x if shape else x.view(samples, 5), classes(seed + 2, samples, 3)
