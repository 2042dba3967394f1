"""Networks for EKFAC, and blocks of it held against the dense Fisher matrix."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import igsref
from igsref.curvature.kfac.block import Block
from tests.strategies import Residual, classes, convolutional, fill_, gaussian

AGREEMENT = 1e-10
"""Of two float64 ways to one block of F, as a share of its largest entry in the basis."""


class Twice(nn.Module):
    """One convolution called at two resolutions: a module used twice, positions of two counts."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        fine = torch.tanh(self.conv(x))
        coarse = torch.tanh(self.conv(fine[:, :, ::2, ::2]))
        return self.head(fine.mean(dim=(2, 3)) + coarse.mean(dim=(2, 3)))


class Merged(nn.Module):
    """Tokens of all samples merged into the first axis for a layer, as windows of images are."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        tokens = torch.tanh(self.mix(x.reshape(-1, 3)))
        return self.head(tokens.reshape(len(x), -1, 4).square().mean(dim=1))


class Tokens(nn.Module):
    """Linear layers on (samples, tokens, entries), whose output is changed in place."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(3, 4), nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.head(self.mix(x).relu_().mean(dim=1))


def images(*layers: nn.Module) -> nn.Sequential:
    """Layers on images, with a pooled linear head; outputs have four channels."""
    return nn.Sequential(
        *layers, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def signals(*layers: nn.Module) -> nn.Sequential:
    """The same on signals."""
    return nn.Sequential(*layers, nn.Tanh(), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(8, 3))


KRONECKER: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 3)), (3,)),
    "MLP without biases": (
        lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)),
        (3,),
    ),
    "in place": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)),
        (3,),
    ),
    "tokens, in place": (Tokens, (5, 3)),
    "tokens merged with samples": (Merged, (5, 3)),
    "linear called twice": (lambda: Residual(3), (3,)),
    "convolution called twice": (Twice, (2, 4, 4)),
    "stride, padding, dilation": (
        lambda: images(nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1))),
        (2, 5, 6),
    ),
    "two convolutions, no bias": (
        lambda: images(
            nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.GELU(), nn.Conv2d(3, 4, 2, bias=False)
        ),
        (2, 4, 4),
    ),
    "groups": (lambda: images(nn.Conv2d(4, 4, 3, groups=2)), (4, 4, 4)),
    "depthwise": (lambda: images(nn.Conv2d(4, 4, 2, groups=4, bias=False)), (4, 3, 4)),
    "padding to the same size": (
        lambda: images(nn.Conv2d(2, 4, (1, 3), padding="same", dilation=2)),
        (2, 4, 3),
    ),
    "padding none, by name": (lambda: images(nn.Conv2d(2, 4, 2, padding="valid")), (2, 4, 3)),
    "padding around": (
        lambda: images(nn.Conv2d(2, 4, 3, padding=(1, 2), padding_mode="circular")),
        (2, 4, 3),
    ),
    "padding by reflection": (
        lambda: images(nn.Conv2d(2, 4, (3, 2), padding="same", padding_mode="reflect")),
        (2, 4, 3),
    ),
    "convolution of signals": (
        lambda: signals(nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2)),
        (2, 9),
    ),
    "signals in groups": (lambda: signals(nn.Conv1d(2, 4, 3, groups=2, padding="same")), (2, 5)),
    "batch norm": (lambda: convolutional(normalised=True), (1, 5, 5)),
}
"""Name → (how to make the model, shape of one input)."""


def network(name: str, samples: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    """(model in evaluation mode and float64, x, y)."""
    build, shape = KRONECKER[name]
    return (
        fill_(build().double(), 1, gain=1.5).eval(),
        gaussian(2, samples, *shape),
        classes(3, samples, 3),
    )


def problem_of(name: str, samples: int = 5, **options) -> igsref.Problem:
    """The problem of such a network."""
    model, x, y = network(name, samples)
    return igsref.as_problem(model, (x, y), **options)


def basis(block: Block) -> Tensor:
    """U of a block, in the order of its entries, all groups together."""
    groups, outputs, inputs = block.entries.shape
    parts = []
    for group in range(groups):
        left, right = (
            torch.eye(side, dtype=torch.float64) if part is None else part[group].double()
            for side, part in ((outputs, block.output_basis), (inputs, block.input_basis))
        )
        parts.append(torch.kron(left.contiguous(), right.contiguous()))
    return torch.block_diag(*parts)


def fisher_block(fisher: Tensor, block: Block) -> Tensor:
    """What F has on a block's entries, in their order."""
    places = block.entries.flatten()
    return fisher[places][:, places]


def assert_scalings_are_fishers(block: Block, fisher: Tensor, *, share: float = AGREEMENT) -> None:
    """S is the diagonal of UᵀFU, and U is orthogonal."""
    u = basis(block)
    torch.testing.assert_close(u.mT @ u, torch.eye(len(u)).double(), rtol=0, atol=share)
    expected = (u.mT @ fisher_block(fisher, block) @ u).diagonal()
    assert float(expected.max()) > 0
    atol = share * float(expected.max())
    torch.testing.assert_close(block.scalings.flatten().double(), expected, rtol=0, atol=atol)
