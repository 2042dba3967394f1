"""Figure 1 of Jang, Lee, Park, Noh (NeurIPS 2022): which directions of θ move the decisions.

A 2-70-70-3 ReLU network (m = 5,393 parameters) is trained in float64 on three Gaussians in the
plane. F = (1/N) Σ J_iᵀ Λ_i J_i, equation (2), has the eigenpairs (λ_k, u_k), ‖u_k‖ = 1. The
picture shows the 20 largest λ_k and the decision boundaries at θ and at θ ± ½ u_k, k = 1, 2, 10.
The tables give the same in numbers, with both sides of equation (3) for δ = ± ½ u_k,

    KL(θ ‖ θ+δ) ≈ ½ δᵀ F δ = λ_k / 8,

which holds to second order and is only roughly right for steps this long; and then the network's
IGS, equation (6). A change of parameters changes λ_k and u_k; it does not change the IGS.

The network, three Gaussians, 20 eigenvalues, k and ½ are the paper's. Where the Gaussians lie,
how many samples they give and how the network is trained are choices made here.

    python toy/three_gaussians.py --output out/three_gaussians
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn

import igsref
from toy.command_line import arguments, save_figure
from toy.gaussian_classes import (
    CLASSES,
    draw_boundary,
    draw_samples,
    grid,
    legend_handles,
    moved_logits,
    perceptron,
    three_gaussians,
    train,
)

WIDTHS = (2, 70, 70, CLASSES)
PARAMETERS = 5393
TOP = 20
MOVED = (1, 2, 10)
SIZE = 0.5
# With N = 300 every class probability stays above 1e-12, so that float64 determines the IGS.
STEPS, RATE = 300, 0.02
GRID = 300
FEWEST = math.ceil(TOP / (CLASSES - 1))

BOUNDARIES = {0.0: ("black", "-"), SIZE: ("#D55E00", "--"), -SIZE: ("#0072B2", ":")}


@dataclass(frozen=True)
class Step:
    """The network at θ + size·u_k, against the one at θ.

    logits: on the grid, (GRID², C). changed: share of the grid's decisions that differ.
    kl, quadratic: both sides of (3), in nats, on the training samples.
    """

    k: int
    size: float
    logits: Tensor
    changed: float
    kl: float
    quadratic: float


@dataclass(frozen=True)
class Experiment:
    """What picture and tables show. eigenvalues: all N(C−1) or m, falling; logits: at θ."""

    x: Tensor
    y: Tensor
    num_parameters: int
    accuracy: float
    least_probability: float
    eigenvalues: Tensor
    logits: Tensor
    steps: tuple[Step, ...]
    result: igsref.Result


def experiment(samples: int, seed: int) -> Experiment:
    """Draw the samples, train, and measure; the same numbers for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    x, y = three_gaussians(samples, generator)
    model = perceptron(WIDTHS, nn.ReLU, generator)
    train(model, x, y, steps=STEPS, rate=RATE)
    problem = igsref.as_problem(model, (x, y))
    assert problem.num_parameters == PARAMETERS, problem.num_parameters
    logits = logits_on_grid(model, torch.zeros(PARAMETERS, dtype=torch.float64))
    return Experiment(
        x=x,
        y=y,
        num_parameters=problem.num_parameters,
        accuracy=float((problem.logits.argmax(dim=1) == y).double().mean()),
        least_probability=float(problem.logits.softmax(dim=1).min()),
        eigenvalues=igsref.eigenvalues(problem),
        logits=logits,
        steps=tuple(moved(model, problem, logits)),
        result=igsref.exact_igs(problem),
    )


def moved(model: nn.Module, problem: igsref.Problem, logits: Tensor) -> list[Step]:
    """The steps of ±SIZE along the eigenvectors MOVED, against the logits at θ."""
    vectors = igsref.spectrum(problem, k=TOP).eigenvectors
    return [
        measured_step(model, problem, logits, k, size * vectors[:, k - 1], size)
        for k in MOVED
        for size in (SIZE, -SIZE)
    ]


def measured_step(
    model: nn.Module, problem: igsref.Problem, before: Tensor, k: int, delta: Tensor, size: float
) -> Step:
    after = logits_on_grid(model, delta)
    return Step(
        k=k,
        size=size,
        logits=after,
        changed=float((after.argmax(dim=1) != before.argmax(dim=1)).double().mean()),
        kl=igsref.kl_divergence(problem, step=delta),
        quadratic=igsref.fisher_quadratic(problem, step=delta),
    )


def logits_on_grid(model: nn.Module, delta: Tensor) -> Tensor:
    return moved_logits(model, delta, grid(GRID)[1])


def picture(outcome: Experiment) -> Figure:
    """Eigenvalues, and one panel of boundaries for each k in MOVED."""
    figure = Figure(figsize=(7.0, 7.3), layout="constrained")
    panels = figure.subplots(2, 2).flatten()
    draw_eigenvalues(panels[0], outcome.eigenvalues)
    for panel, k, letter in zip(panels[1:], MOVED, "bcd", strict=True):
        draw_boundaries(panel, outcome, k, letter)
    figure.legend(handles=legend(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_eigenvalues(panel: Axes, values: Tensor) -> None:
    shown = values[:TOP].tolist()
    k = range(1, len(shown) + 1)
    bottom, top = shown[-1] / 2, shown[0] * 2
    panel.vlines(k, bottom, shown, colors="0.85", linewidth=0.8, zorder=1)
    panel.semilogy(k[CLASSES:], shown[CLASSES:], "o", color="0.35", markersize=4.5)
    panel.semilogy(k[:CLASSES], shown[:CLASSES], "D", color="#CC79A7", markersize=6)
    panel.set(xlabel="$k$", ylabel=r"eigenvalue $\lambda_k$ of $F$", xticks=[1, 5, 10, 15, 20])
    panel.set_ylim(bottom, top)
    panel.set_box_aspect(1)
    panel.set_title(f"(a)  the {len(shown)} largest eigenvalues", loc="left")
    annotate_outliers(panel, values)


def annotate_outliers(panel: Axes, values: Tensor) -> None:
    """The C largest, called outliers where the widest gap among those shown is below them."""
    ratios = values[: TOP - 1] / values[1:TOP]
    name = "outliers" if int(ratios.argmax()) == CLASSES - 1 else "largest"
    share = float(values[:CLASSES].sum() / values.sum())
    panel.annotate(
        f"$C = {CLASSES}$ {name}: {share:.0%} of Tr $F$\n"
        f"$\\lambda_{CLASSES} / \\lambda_{CLASSES + 1}$ = "
        f"{float(ratios[CLASSES - 1]):.1f}",
        xy=(CLASSES + 0.35, float(values[CLASSES - 1])),
        xytext=(CLASSES + 3, float(values[0])),
        va="top",
        arrowprops={"arrowstyle": "-", "color": "#CC79A7", "linewidth": 0.9},
    )


def draw_boundaries(panel: Axes, outcome: Experiment, k: int, letter: str) -> None:
    draw_samples(panel, outcome.x, outcome.y, outcome.logits, size=9, alpha=0.75)
    draw_boundary(panel, outcome.logits, *BOUNDARIES[0.0])
    steps = [step for step in outcome.steps if step.k == k]
    for step in steps:
        draw_boundary(panel, step.logits, *BOUNDARIES[step.size])
    changed = ", ".join(f"{100 * step.changed:.2g}% ({sign(step.size)})" for step in steps)
    panel.set_title(f"({letter})  $k = {k}$: {changed} of decisions change", loc="left")


def sign(size: float) -> str:
    return "+" if size > 0 else "−"


def legend() -> list[Line2D]:
    names = {0.0: r"boundary at $\theta$", SIZE: rf"$\theta + {SIZE}\,u_k$"}
    names[-SIZE] = rf"$\theta - {SIZE}\,u_k$"
    return legend_handles({names[size]: drawn for size, drawn in BOUNDARIES.items()})


def report(outcome: Experiment) -> str:
    return "\n\n".join(
        [
            f"{'-'.join(map(str, WIDTHS))} ReLU network, m = {outcome.num_parameters:,}, "
            f"N = {len(outcome.y):,}, training accuracy {outcome.accuracy:.1%}, "
            f"smallest class probability {outcome.least_probability:.1e}",
            eigenvalue_table(outcome.eigenvalues),
            step_table(outcome.steps),
            str(outcome.result),
        ]
    )


def eigenvalue_table(values: Tensor) -> str:
    share = values / values.sum()
    rows = zip(values[:TOP].tolist(), share.tolist(), share.cumsum(0).tolist(), strict=False)
    lines = [
        f"{k:>3} {value:>11.4e} {part:>9.2%} {total:>9.2%}"
        for k, (value, part, total) in enumerate(rows, start=1)
    ]
    return "\n".join(["  k         λ_k      of Tr F  so far", *lines])


def step_table(steps: Sequence[Step]) -> str:
    lines = [
        f"{step.k:>3} {step.size:>+6} {step.changed:>19.2%} {step.kl:>14.5f} "
        f"{step.quadratic:>12.5f}"
        for step in steps
    ]
    return "\n".join(["  k   step  decisions changed  KL(θ ‖ θ+δ)      ½ δᵀFδ", *lines])


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(
        argv,
        description=__doc__.splitlines()[0],
        output="out/three_gaussians",
        samples=300,
        fewest=FEWEST,
        why=f"F has at most {CLASSES - 1} eigenvalues above 0 per sample, and {TOP} are shown",
    )
    outcome = experiment(options.samples, options.seed)
    print(report(outcome), end="\n\n")
    for path in save_figure(picture, outcome, options.output / "three_gaussians"):
        print(f"wrote {path}")


if __name__ == "__main__":
    # As fast for so small a network, and torch then adds in one order on any number of cores.
    torch.set_num_threads(1)
    main()
