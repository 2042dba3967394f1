"""Three Gaussian classes in the plane, a small perceptron that tells them apart, and its picture.

Class c ∈ {0, 1, 2} is N(μ_c, σ² I) with μ_c = r (cos α_c, sin α_c), α_c = π/2 + 2πc/3. The picture
is of a square around 0: the samples by class, the decisions as their ground, and boundaries.
"""

import copy
import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, skip_init, vector_to_parameters

CLASSES = 3
RADIUS, DEVIATION = 2.0, 0.9
MOMENTUM, DECAY = 0.9, 2e-3
HALF_WIDTH = 5.0

# Okabe and Ito's colours, told apart by colour-blind readers too.
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73")
MARKERS = ("o", "s", "^")
LINE_WIDTH = 1.5


def three_gaussians(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x (N, 2) and y (N,): classes in turn, means on a circle, one isotropic covariance."""
    y = torch.arange(samples) % CLASSES
    angle = math.pi / 2 + 2 * math.pi / CLASSES * y.double()
    mean = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)
    return mean + DEVIATION * torch.randn(mean.shape, generator=generator, dtype=mean.dtype), y


def perceptron(
    widths: Sequence[int], activation: type[nn.Module], generator: torch.Generator
) -> nn.Sequential:
    """Linear layers in float64, U(±1/√fan_in) as torch initialises, from the generator."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [skip_init(nn.Linear, inputs, outputs, dtype=torch.float64), activation()]
        for parameter in layers[-2].parameters():
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return nn.Sequential(*layers[:-1])


def train(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, rate: float) -> None:
    """Full-batch gradient descent with momentum μ and weight decay d, to a moderate confidence.

    v ← μ v + ∇L(θ) + d θ, then θ ← θ − rate·v, with v = 0 before the first step.
    """
    descent = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=DECAY, foreach=False
    )
    for _ in range(steps):
        descent.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        descent.step()


@torch.no_grad()
def moved_logits(model: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
    """Logits (N, C) of the network at θ + delta; the model itself stays at θ."""
    moved = copy.deepcopy(model)
    vector_to_parameters(parameters_to_vector(model.parameters()) + delta, moved.parameters())
    return moved(x)


def grid(side: int) -> tuple[Tensor, Tensor]:
    """One axis of the square that is drawn, (side,), and its points, (side², 2)."""
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, side, dtype=torch.float64)
    return axis, torch.cartesian_prod(axis, axis).flip(1)


def draw_samples(
    panel: Axes, x: Tensor, y: Tensor, logits: Tensor, *, size: float, alpha: float
) -> None:
    """The samples by class, on a ground of the decisions; logits: on the grid, (side², C)."""
    side = math.isqrt(len(logits))
    axis = grid(side)[0]
    levels = [c - 0.5 for c in range(CLASSES + 1)]
    decisions = logits.argmax(dim=1).view(side, side)
    panel.contourf(axis, axis, decisions, levels=levels, colors=CLASS_COLOURS, alpha=0.13)
    for c, (colour, marker) in enumerate(zip(CLASS_COLOURS, MARKERS, strict=True)):
        drawn = {"c": colour, "marker": marker, "alpha": alpha, "linewidths": 0, "zorder": 2}
        panel.scatter(*x[y == c].T, s=size, **drawn)
    span, ticks = (-HALF_WIDTH, HALF_WIDTH), (-4, 0, 4)
    panel.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", xticks=ticks, yticks=ticks)
    panel.set(xlim=span, ylim=span)


def draw_boundary(panel: Axes, logits: Tensor, colour: str, line: str) -> None:
    """Where the two largest logits are equal: class 0 against the others, then 1 against 2."""
    side = math.isqrt(len(logits))
    axis = grid(side)[0]
    first, second, third = logits.view(side, side, CLASSES).unbind(dim=-1)
    others = torch.maximum(second, third)
    between = torch.where(first > others, torch.nan, second - third)
    drawn = {"colors": colour, "linestyles": line, "linewidths": LINE_WIDTH, "zorder": 3}
    for field in (first - others, between):
        # A network that never decides for one of the classes has no boundary to it.
        if float(field.nan_to_num(1.0).min()) < 0 < float(field.nan_to_num(-1.0).max()):
            panel.contour(axis, axis, field, levels=[0.0], **drawn)


def legend_handles(boundaries: Mapping[str, tuple[str, str]]) -> list[Line2D]:
    """A class and a boundary in turn; boundaries: label → colour and line, one for each class."""
    classes = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=f"class {c}")
        for c, (colour, marker) in enumerate(zip(CLASS_COLOURS, MARKERS, strict=True), start=1)
    ]
    lines = [
        Line2D([], [], color=colour, linestyle=line, linewidth=LINE_WIDTH, label=label)
        for label, (colour, line) in boundaries.items()
    ]
    return [handle for pair in zip(classes, lines, strict=True) for handle in pair]
