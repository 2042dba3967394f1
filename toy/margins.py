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

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, skip_init

import igsref

WIDTHS = (2, 16, 16, 3)
CLASSES = WIDTHS[-1]
TOP = 10
SHOWN = (1, 2, 3, 5)
LEADING = 3
# The choices made here: means on a circle, standard deviation, full-batch gradient descent.
RADIUS, DEVIATION = 2.0, 0.9
STEPS, RATE, MOMENTUM, DECAY = 300, 0.05, 0.9, 2e-3
HALF_WIDTH, GRID = 5.0, 240
FEWEST = 30

# Okabe and Ito's colours, told apart by colour-blind readers too.
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73")
MARKERS = ("o", "s", "^")
BEFORE, EXACT, FIRST = ("black", "-"), ("#D55E00", "--"), ("#0072B2", ":")
GREY, PURPLE = "0.55", "#CC79A7"
STYLE = {
    "font.size": 8,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
}


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
    model = network(generator)
    train(model, x, y)
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
        logits=moved_logits(model, 0 * vectors[:, 0], grid()[1]),
        margins=found,
        first=first,
        exact=exact,
        parts=1 / (everywhere.nearest.square() * spectrum.eigenvalues) / sums,
        lengths=everywhere.nearest.abs(),
        sample=sample,
        panels=tuple(panels(model, vectors, first, exact, sample)),
        limit=limit,
    )


def three_gaussians(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x (N, 2) and y (N,): classes in turn, means on a circle, one isotropic covariance."""
    y = torch.arange(samples) % CLASSES
    angle = math.pi / 2 + 2 * math.pi / CLASSES * y.double()
    mean = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)
    return mean + DEVIATION * torch.randn(mean.shape, generator=generator, dtype=mean.dtype), y


def network(generator: torch.Generator) -> nn.Sequential:
    """The ReLU network, U(±1/√fan_in) as torch initialises, from the generator."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        layers += [skip_init(nn.Linear, inputs, outputs, dtype=torch.float64), nn.ReLU()]
        for parameter in layers[-2].parameters():
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return nn.Sequential(*layers[:-1])


def train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Full-batch gradient descent with momentum and weight decay, to a moderate confidence."""
    theta = list(model.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in theta]
    for _ in range(STEPS):
        slopes = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), theta)
        with torch.no_grad():
            for parameter, velocity, slope in zip(theta, velocities, slopes, strict=True):
                velocity.mul_(MOMENTUM).add_(slope.add(parameter, alpha=DECAY))
                parameter.sub_(velocity, alpha=RATE)


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
        after = [moved_logits(model, step * vectors[:, k - 1], grid()[1]) for step in steps]
        made.append(Panel(k, *steps, *after))
    return made


def grid() -> tuple[Tensor, Tensor]:
    """One axis of the square that is drawn, (GRID,), and its points, (GRID², 2)."""
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, GRID, dtype=torch.float64)
    return axis, torch.cartesian_prod(axis, axis).flip(1)


@torch.no_grad()
def moved_logits(model: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
    """Logits of the network at θ + delta; the model itself stays at θ."""
    theta = parameters_to_vector(model.parameters()) + delta
    parts = theta.split([parameter.numel() for parameter in model.parameters()])
    named = {
        name: part.view_as(parameter)
        for (name, parameter), part in zip(model.named_parameters(), parts, strict=True)
    }
    return torch.func.functional_call(model, named, x)


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
    draw_samples(panel, outcome)
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
    span, ticks = (-HALF_WIDTH, HALF_WIDTH), (-4, 0, 4)
    panel.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", xticks=ticks, yticks=ticks)
    panel.set(xlim=span, ylim=span)


def signed(step: float) -> str:
    return f"{step:+.3g}".replace("-", "−")


def draw_samples(panel: Axes, outcome: Experiment) -> None:
    """The samples by class, on a ground of the decisions at θ."""
    decisions = outcome.logits.argmax(dim=1).view(GRID, GRID)
    axis = grid()[0]
    levels = [c - 0.5 for c in range(CLASSES + 1)]
    panel.contourf(axis, axis, decisions, levels=levels, colors=CLASS_COLOURS, alpha=0.13)
    for c, (colour, marker) in enumerate(zip(CLASS_COLOURS, MARKERS, strict=True)):
        points = outcome.x[outcome.y == c].T
        panel.scatter(*points, s=12, c=colour, marker=marker, alpha=0.8, linewidths=0, zorder=2)


def draw_boundary(panel: Axes, logits: Tensor, colour: str, line: str) -> None:
    """Where the two largest logits are equal: class 0 against the others, then 1 against 2."""
    axis = grid()[0]
    first, second, third = logits.view(GRID, GRID, CLASSES).unbind(dim=-1)
    others = torch.maximum(second, third)
    between = torch.where(first > others, torch.nan, second - third)
    drawn = {"levels": [0.0], "colors": colour, "linestyles": line, "linewidths": 1.5, "zorder": 3}
    for field in (first - others, between):
        if float(field.nan_to_num(1.0).min()) < 0 < float(field.nan_to_num(-1.0).max()):
            panel.contour(axis, axis, field, **drawn)


def legend() -> list[Line2D]:
    classes = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=f"class {c}")
        for c, (colour, marker) in enumerate(zip(CLASS_COLOURS, MARKERS, strict=True), start=1)
    ]
    ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
    chosen = Line2D([], [], color="black", marker="o", linestyle="", label="the sample", **ring)
    names = ("boundary at $\\theta$", "after the first-order step", "after the exact step")
    lines = [
        Line2D([], [], color=colour, linestyle=line, linewidth=1.5, label=name)
        for name, (colour, line) in zip(names, (BEFORE, FIRST, EXACT), strict=True)
    ]
    return [classes[0], lines[0], classes[1], lines[1], classes[2], lines[2], chosen]


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


def save_pictures(outcome: Experiment, folder: Path) -> list[Path]:
    """PNG and PDF, with no date in them: the same run writes the same bytes."""
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, draw in (("margins", boundaries_picture), ("first_order", steps_picture)):
            figure, path = draw(outcome), folder / f"{name}.png"
            figure.savefig(path, dpi=200)
            figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
            paths += [path, path.with_suffix(".pdf")]
    return paths


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


def sample_count(text: str) -> int:
    """--samples: enough of them that F has TOP eigenvalues above 0 and one sample is crossed."""
    value = whole_number(text)
    if value < FEWEST:
        raise argparse.ArgumentTypeError(f"must be at least {FEWEST}; got {value}")
    return value


def whole_number(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^63 − 1; got {value}")
    return value


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path("out/margins"), help="folder (%(default)s)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of data and θ (%(default)s)")
    parser.add_argument("--samples", type=sample_count, default=90, help="N (%(default)s)")
    options = parser.parse_args(argv)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output must name a folder that can be made or written to: {error}")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(argv)
    outcome = experiment(options.samples, options.seed)
    print(report(outcome), end="\n\n")
    numbers = options.output / "margins.json"
    numbers.write_text(json.dumps(figures(outcome), indent=2) + "\n")
    for path in [*save_pictures(outcome, options.output), numbers]:
        print(f"wrote {path}")


if __name__ == "__main__":
    # As fast for so small a network, and torch then adds in one order on any number of cores.
    torch.set_num_threads(1)
    main()
