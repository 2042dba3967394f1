"""Figure 4 of Jang, Lee, Park, Noh (NeurIPS 2022): steps that carry a boundary through a sample.

A 2-16-16-3 ReLU network is trained in float64 on three Gaussians in the plane. Along the
eigenvector u_k of F with eigenvalue λ_k, sample i reaches the boundary between its class y and
its rival c, the other class with the largest logit, after the step ε_ik u_k: to first order

    ε_ik = −(f_y − f_c)/(a_c·u_k),   a_c = ∂(f_y − f_c)/∂θ,

and exactly at a root of f_y − f_c. The first picture shows the boundaries before and after both
steps, for one sample and *leading* eigenvectors: along those of tiny λ_k the first-order step is
so long that it says nothing about the network. The second holds the two steps against each other
for all samples and the 10 leading eigenvectors, and shows how little of the invariant sum
Σ_k 1/(ε_ik² λ_k), equation (11), the leading eigenvectors hold.

Where the Gaussians lie, the network, its training and the sample are choices made here.

    python toy/margins.py --output out/margins
"""

import json
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
from torch.nn.utils import parameters_to_vector

import igsref
from toy.command_line import arguments, save_figure
from toy.gaussian_classes import (
    CLASS_COLOURS,
    CLASSES,
    MARKERS,
    draw_boundary,
    draw_samples,
    grid,
    legend_handles,
    moved_logits,
    perceptron,
    three_gaussians,
    train,
)

WIDTHS = (2, 16, 16, CLASSES)
TOP = 10
SHOWN = (1, 2, 3, 5)
LEADING = 3
STEPS, RATE = 300, 0.05
GRID = 240
FEWEST = 30

BEFORE, EXACT, FIRST = ("black", "-"), ("#D55E00", "--"), ("#0072B2", ":")
GREY, PURPLE = "0.55", "#CC79A7"


@dataclass(frozen=True)
class Panel:
    """The two steps of the chosen sample along u_k, and the logits on the grid after each."""

    k: int
    first: float
    exact: float
    after_first: Tensor
    after_exact: Tensor


@dataclass(frozen=True)
class Experiment:
    """What pictures and table show.

    limit: the longest exact step looked at, ‖θ‖. parts: shares of the sum (11), and lengths: the
    first-order |ε|, of all samples and eigenvectors, (N, rank F).
    """

    x: Tensor
    y: Tensor
    accuracy: float
    eigenvalues: Tensor
    logits: Tensor
    margins: igsref.Margins
    first: igsref.Crossings
    exact: igsref.Crossings
    parts: Tensor
    lengths: Tensor
    sample: int
    panels: tuple[Panel, ...]
    limit: float


def experiment(samples: int, seed: int) -> Experiment:
    """Draw the samples, train, and measure; the same numbers for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    x, y = three_gaussians(samples, generator)
    model = perceptron(WIDTHS, nn.ReLU, generator)
    train(model, x, y, steps=STEPS, rate=RATE)
    geometry = igsref.as_geometry(model, (x, y))
    problem, rank = geometry.problem, geometry.space.dimension
    spectrum = igsref.spectrum(problem, k=rank)
    vectors = spectrum.eigenvectors
    everywhere = igsref.first_order_crossings(problem, directions=vectors)
    leading, rivals = vectors[:, :TOP], everywhere.rivals
    limit = float(parameters_to_vector(model.parameters()).detach().norm())
    first = igsref.first_order_crossings(problem, directions=leading, rivals=rivals)
    exact = igsref.exact_crossings(problem, directions=leading, rivals=rivals, limit=limit)
    found = igsref.margins(geometry)
    sums = found.sums.gather(1, rivals[:, None])
    sample = chosen_sample(model, problem, vectors, exact)
    return Experiment(
        x=x,
        y=y,
        accuracy=float(found.correct.double().mean()),
        eigenvalues=spectrum.eigenvalues,
        logits=moved_logits(model, 0 * vectors[:, 0], grid(GRID)[1]),
        margins=found,
        first=first,
        exact=exact,
        parts=1 / (everywhere.nearest.square() * spectrum.eigenvalues) / sums,
        lengths=everywhere.nearest.abs(),
        sample=sample,
        panels=tuple(panels(model, vectors, first, exact, sample)),
        limit=limit,
    )


def chosen_sample(
    model: nn.Module, problem: igsref.Problem, vectors: Tensor, exact: igsref.Crossings
) -> int:
    """The correct sample of median gap that the decisions cross at every exact step shown.

    At such a step no third class has overtaken the two that are equal there.
    """
    labels, rows = problem.targets.argmax(dim=1), torch.arange(problem.num_samples)
    gap = problem.logits[rows, labels] - problem.logits[rows, exact.rivals]
    fit = [i for i in rows[gap > 0].tolist() if all(decides(model, problem, vectors, exact, i))]
    if not fit:
        raise SystemExit(f"no sample is crossed along all of k = {SHOWN}; take another --seed")
    return sorted(fit, key=lambda i: float(gap[i]))[len(fit) // 2]


def decides(
    model: nn.Module, problem: igsref.Problem, vectors: Tensor, exact: igsref.Crossings, sample: int
) -> list[bool]:
    """For each k shown, whether the two largest logits are equal after the exact step."""
    steps = [float(exact.nearest[sample, k - 1]) for k in SHOWN]
    x = problem.samples.inputs(slice(sample, sample + 1))[0][0]
    verdicts = []
    for k, step in zip(SHOWN, steps, strict=True):
        finite = math.isfinite(step)
        top = moved_logits(model, (step if finite else 0.0) * vectors[:, k - 1], x)[0].topk(2)
        verdicts.append(finite and float(top.values[0] - top.values[1]) < 1e-9)
    return verdicts


def panels(
    model: nn.Module, vectors: Tensor, first: igsref.Crossings, exact: igsref.Crossings, sample: int
) -> list[Panel]:
    made = []
    for k in SHOWN:
        steps = [float(found.nearest[sample, k - 1]) for found in (first, exact)]
        after = [moved_logits(model, step * vectors[:, k - 1], grid(GRID)[1]) for step in steps]
        made.append(Panel(k, *steps, *after))
    return made


def boundaries_picture(outcome: Experiment) -> Figure:
    """One panel of boundaries for each k in SHOWN."""
    figure = Figure(figsize=(7.0, 7.6), layout="constrained")
    for panel, shown, letter in zip(
        figure.subplots(2, 2).flatten(), outcome.panels, "abcd", strict=True
    ):
        draw_boundaries(panel, outcome, shown, letter)
    figure.suptitle(
        "Boundaries before and after the step that carries one through the ringed sample,\n"
        "along leading eigenvectors of F (beyond them first-order steps are too long to mean much)",
        fontsize=8.5,
    )
    figure.legend(handles=legend(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_boundaries(panel: Axes, outcome: Experiment, shown: Panel, letter: str) -> None:
    draw_samples(panel, outcome.x, outcome.y, outcome.logits, size=12, alpha=0.8)
    draw_boundary(panel, outcome.logits, *BEFORE)
    draw_boundary(panel, shown.after_first, *FIRST)
    draw_boundary(panel, shown.after_exact, *EXACT)
    chosen, own = outcome.x[outcome.sample], int(outcome.y[outcome.sample])
    panel.scatter(
        *chosen, s=22, c=CLASS_COLOURS[own], marker=MARKERS[own], edgecolors="black", zorder=6
    )
    panel.scatter(*chosen, s=150, facecolors="none", edgecolors="black", linewidths=1.4, zorder=5)
    panel.set_title(
        f"({letter})  $k = {shown.k}$: first-order $\\epsilon$ = {signed(shown.first)}, "
        f"exact {signed(shown.exact)}",
        loc="left",
    )


def signed(step: float) -> str:
    return f"{step:+.3g}".replace("-", "−")


def legend() -> list[Line2D]:
    ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
    chosen = Line2D([], [], color="black", marker="o", linestyle="", label="the sample", **ring)
    names = ("boundary at $\\theta$", "after the first-order step", "after the exact step")
    boundaries = dict(zip(names, (BEFORE, FIRST, EXACT), strict=True))
    return [*legend_handles(boundaries), chosen]


def steps_picture(outcome: Experiment) -> Figure:
    """First-order against exact steps, and what the leading eigenvectors hold of the sum."""
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_steps(left, outcome)
    draw_shares(right, outcome)
    return figure


def draw_steps(panel: Axes, outcome: Experiment) -> None:
    """|ε| of both kinds; where there is no crossing within the limit, a mark above the limit."""
    first, exact = outcome.first.nearest.abs(), outcome.exact.nearest.abs()
    beyond = 2.2 * outcome.limit
    groups = (
        (slice(LEADING, None), GREY, "s", f"$k = {LEADING + 1},\\ldots,{TOP}$"),
        (slice(0, LEADING), PURPLE, "D", f"$k = 1,\\ldots,{LEADING}$"),
    )
    for which, colour, marker, label in groups:
        x, y = first[:, which].flatten(), exact[:, which].flatten()
        inside = torch.isfinite(y)
        drawn = {"c": colour, "marker": marker, "linewidths": 0, "alpha": 0.55}
        panel.scatter(x[inside], y[inside], s=7, label=label, zorder=3, **drawn)
        panel.scatter(x[~inside], torch.full_like(x[~inside], beyond), s=7, zorder=2, **drawn)
    ends = [float(exact.min()) / 1.5, 3.3 * outcome.limit]
    panel.plot(ends, ends, color="black", linewidth=0.8, zorder=1)
    panel.axhline(1.45 * outcome.limit, color="black", linewidth=0.6, linestyle=(0, (4, 3)))
    panel.set(xscale="log", yscale="log", ylim=ends)
    panel.text(
        0.02,
        2.2 * outcome.limit,
        f"never: {outcome.exact.never:.0%}",
        va="center",
        transform=panel.get_yaxis_transform(),
    )
    panel.set(xlabel="first-order $|\\epsilon_{ik}|$", ylabel="exact $|\\epsilon_{ik}|$")
    panel.legend(loc="lower right", frameon=False, handletextpad=0.2)
    panel.set_title(f"(a)  {len(outcome.y)} samples × {TOP} leading eigenvectors", loc="left")


def draw_shares(panel: Axes, outcome: Experiment) -> None:
    """Median and quartiles over the samples of the share of (11) that the first k hold."""
    shares = outcome.parts.cumsum(dim=1)
    k = torch.arange(1, shares.shape[1] + 1)
    low, middle, high = shares.quantile(torch.tensor([0.25, 0.5, 0.75]).double(), dim=0)
    panel.fill_between(k, low, high, color=PURPLE, alpha=0.3, linewidth=0, label="quartiles")
    panel.plot(k, middle, color=PURPLE, linewidth=1.5, label="median of the samples")
    panel.axvline(TOP, color="black", linewidth=0.6, linestyle=(0, (4, 3)))
    panel.annotate(f"$k = {TOP}$ ", (TOP, 0.65), ha="right", va="bottom")
    panel.set(xscale="log", xlabel="number of leading eigenvectors", ylim=(0, 1.04))
    panel.set(ylabel="share of $\\sum_k 1/(\\epsilon_{ik}^2\\lambda_k)$", xlim=(1, len(k)))
    panel.legend(loc="upper left", frameon=False)
    panel.set_title(f"(b)  the invariant sum (11), {len(k)} eigenvectors", loc="left")


def figures(outcome: Experiment) -> dict[str, object]:
    """The numbers that are printed and written."""
    return {
        "samples": len(outcome.y),
        "accuracy": outcome.accuracy,
        "rank": len(outcome.eigenvalues),
        "limit": outcome.limit,
        "eigenvalues": outcome.eigenvalues[:TOP].tolist(),
        "sample": outcome.sample,
        "steps": [
            {"k": panel.k, "first_order": panel.first, "exact": panel.exact}
            for panel in outcome.panels
        ],
        "leading": [group(outcome, *span) for span in ((1, LEADING), (LEADING + 1, TOP))],
        "never": outcome.exact.never,
        "share_of_sum": float(outcome.parts[:, :TOP].sum(dim=1).median()),
        "exact_over_first_order_sum": sum_ratio(outcome),
        "longer_than_theta": [longer(outcome, slice(TOP)), longer(outcome, slice(TOP, None))],
        "margins": outcome.margins.smallest.tolist(),
        "saturation": float(rival_saturation(outcome).median()),
    }


def group(outcome: Experiment, start: int, stop: int) -> dict[str, float]:
    """The eigenvectors start..stop: how the exact step compares with the first-order one."""
    exact = outcome.exact.nearest[:, start - 1 : stop]
    first = outcome.first.nearest[:, start - 1 : stop]
    crossed = torch.isfinite(exact)
    ratio = (exact.abs() / first.abs())[crossed]
    return {
        "from": start,
        "to": stop,
        "never": float(1 - crossed.double().mean()),
        "within_10_percent": float(((exact / first - 1).abs() < 0.1).double().mean()),
        "other_side": float((exact * first < 0)[crossed].double().mean()),
        "median_ratio": float(ratio.median()),
    }


def longer(outcome: Experiment, which: slice) -> float:
    """Share of the first-order steps along some eigenvectors that are longer than θ."""
    return float((outcome.lengths[:, which] > outcome.limit).double().mean())


def sum_ratio(outcome: Experiment) -> dict[str, float]:
    """Σ_k 1/(ε² λ) over the leading eigenvectors, exact over first order: over the samples."""
    weight = outcome.eigenvalues[:TOP]
    exact, first = (
        (1 / (found.nearest.square() * weight)).sum(dim=1)
        for found in (outcome.exact, outcome.first)
    )
    ratio = exact / first
    return {
        name: float(ratio.quantile(q)) for name, q in (("least", 0), ("median", 0.5), ("most", 1))
    }


def rival_saturation(outcome: Experiment) -> Tensor:
    return outcome.margins.saturation.gather(1, outcome.first.rivals[:, None])


def report(outcome: Experiment) -> str:
    numbers = figures(outcome)
    ratio = sum_ratio(outcome)
    lines = [
        f"{'-'.join(map(str, WIDTHS))} ReLU network, N = {len(outcome.y)}, training accuracy "
        f"{outcome.accuracy:.1%}, rank of F {len(outcome.eigenvalues)}, "
        f"median saturation {numbers['saturation']:.3f}",
        "",
        f"steps of sample {outcome.sample} along leading eigenvectors",
        "  k         λ_k  first order       exact",
        *(
            f"{p.k:>3} {value:>11.3e} {p.first:>12.4f} {p.exact:>11.4f}"
            for p, value in zip(
                outcome.panels, outcome.eigenvalues[[k - 1 for k in SHOWN]].tolist(), strict=True
            )
        ),
        "",
        f"all samples; exact steps up to ‖θ‖ = {outcome.limit:.2f}",
        "      k  never cross  within 10%  other side  median |exact|/|first order|",
        *(
            f"{g['from']:>3}–{g['to']:<3} {g['never']:>12.1%} {g['within_10_percent']:>11.1%} "
            f"{g['other_side']:>11.1%} {g['median_ratio']:>28.3f}"
            for g in numbers["leading"]
        ),
        "",
        f"share of Σ 1/(ε²λ) in the first {TOP} eigenvectors: median {numbers['share_of_sum']:.1%}",
        f"first-order steps longer than θ: {numbers['longer_than_theta'][0]:.1%} of those, "
        f"{numbers['longer_than_theta'][1]:.1%} of the others",
        f"that part of the sum with exact steps over the same to first order: "
        f"least {ratio['least']:.3g}, median {ratio['median']:.3g}, most {ratio['most']:.3g}",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(
        argv,
        description=__doc__.splitlines()[0],
        output="out/margins",
        samples=90,
        fewest=FEWEST,
        why=f"F must have {TOP} eigenvalues above 0, and a sample be crossed along all k shown",
    )
    outcome = experiment(options.samples, options.seed)
    print(report(outcome), end="\n\n")
    boundaries = save_figure(boundaries_picture, outcome, options.output / "margins")
    steps = save_figure(steps_picture, outcome, options.output / "first_order")
    numbers = options.output / "margins.json"
    numbers.write_text(json.dumps(figures(outcome), indent=2) + "\n")
    for path in [*boundaries, *steps, numbers]:
        print(f"wrote {path}")


if __name__ == "__main__":
    # As fast for so small a network, and torch then adds in one order on any number of cores.
    torch.set_num_threads(1)
    main()
