"""Figure 2 of Jang, Lee, Park, Noh (NeurIPS 2022): what a change of parameters does to sharpness.

A trained network is written in other coordinates by the paper's map

    η_k = ((θ_k − θ̂_k)² + b)^a (θ_k − θ̂_k) + η̂_k,                                          (1)

with several a and b, and Tr(H), λ_max(H), the Fisher–Rao norm, the flatness of Rangamani et al.
and of Petzka et al. and the IGS are measured before and after. The function is the same, so a
measure of the function and its landscape should be; the picture shows after/before.

(a) θ̂ = θ, as in the authors' code. At that point ∂η/∂θ = b^a I and ∂²η/∂θ² = 0: the map is a
    change of unit, and every measure but the IGS is multiplied by exactly b^(−2a).
(b) θ̂ = the initial weights, where the map is not linear at θ and there is no such form.
(c) The same with the norm of the whole vector, (‖θ − θ̂‖² + b)^a, as Dinh et al. (ICML 2017).

η̂ = θ̂ throughout; with η̂ = 0 the network of (a) would stand at η = 0, where the Fisher–Rao norm
is 0 and the norms that Rangamani et al. divide by are. The network, 2-8-8-3 with tanh, its data,
a and b are choices made here.

    python toy/reparametrization.py --output out/reparametrization
"""

import sys
from collections.abc import Callable, Sequence
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
from igsref.transforms import Bijection, ElementwisePower, RadialPower
from toy.command_line import arguments, save_figure
from toy.gaussian_classes import CLASSES, perceptron, three_gaussians, train

# Smooth, so that Proposition 3.1 holds at every θ; and the rank of its F is known exactly, so that
# the bracket of its IGS is tight on both sides.
WIDTHS, ACTIVATION = (2, 8, 8, CLASSES), nn.Tanh
STEPS, RATE = 300, 0.02

BASELINES = ("Tr(H)", "λmax(H)", "Fisher–Rao", "Rangamani et al.", "Petzka et al.")
EXPONENTS = (0.5, -0.5)
SOFTENINGS = (0.1, 0.3, 1.0, 3.0, 10.0)
PANELS: tuple[tuple[str, str, type[Bijection]], ...] = (
    ("trained", "elementwise", ElementwisePower),
    ("initial", "elementwise", ElementwisePower),
    ("initial", "radial", RadialPower),
)
# Rounding can do no more than 8e-11 to the default network, by the bound in the tests.
CLOSED_FORM = 1e-9

TITLES = (
    r"(a)  $\hat\theta = \theta$ (dotted: $b^{-2a}$)",
    r"(b)  $\hat\theta = \theta_0$, elementwise",
    r"(c)  $\hat\theta = \theta_0$, norm of the vector",
)
LABELS = ("Tr $H$", r"$\lambda_{\max}(H)$", "Fisher–Rao", "Rangamani et al.", "Petzka et al.")
# Five steps of viridis, told apart by colour-blind readers too, and in grey.
COLOURS = ("#440154", "#3B528B", "#21918C", "#5EC962", "#D9C50A")
MARKERS = {0.5: "o", -0.5: "D"}
# Each (a, b) has its own height within the row of a measure, so that equal ratios stay apart.
HEIGHTS = {0.5: -0.23, -0.5: 0.23}
SPACING = 0.085


@dataclass(frozen=True)
class Case:
    """One network in other coordinates, against itself.

    center: what θ̂ is, "trained" (θ) or "initial". shape: "elementwise" or "radial".
    exponent, softening: a, b. ratios: name → measure(after)/measure(before).
    igs_ends: between which the ratio of the exact IGS lies, as the two brackets have it.
    rounding: what rounding is estimated to leave of that ratio open.
    """

    center: str
    shape: str
    exponent: float
    softening: float
    ratios: dict[str, float]
    igs_ends: tuple[float, float]
    rounding: float

    @property
    def promised(self) -> float | None:
        """b^(−2a), for every measure but the IGS, where the map is a scalar; else nothing."""
        return self.softening ** (-2 * self.exponent) if self.center == "trained" else None

    @property
    def deviation(self) -> float:
        """How far the ratios are from b^(−2a), relative, at worst; 0 where nothing is promised."""
        if self.promised is None:
            return 0.0
        return max(abs(self.ratios[name] / self.promised - 1) for name in BASELINES)


@dataclass(frozen=True)
class Trained:
    """A network, its data, and the weights with which its training began, (m,)."""

    model: nn.Sequential
    x: Tensor
    y: Tensor
    initial: Tensor

    @property
    def weights(self) -> Tensor:
        """θ, (m,)."""
        return parameters_to_vector(self.model.parameters()).detach()


@dataclass(frozen=True)
class Experiment:
    """What picture and tables show. before: measures of the network as it is."""

    trained: Trained
    before: igsref.Comparison
    cases: tuple[Case, ...]


def experiment(
    samples: int, seed: int, softenings: Sequence[float] = SOFTENINGS, steps: int = STEPS
) -> Experiment:
    """Draw the samples, train, and measure in all coordinates; the same for the same seed."""
    trained = trained_network(samples, seed, steps)
    before = igsref.compare(trained.model, (trained.x, trained.y), measures=[*BASELINES, "IGS"])
    cases = tuple(
        measured_case(trained, before, center, shape, power, exponent, softening)
        for center, shape, power in PANELS
        for exponent in EXPONENTS
        for softening in softenings
    )
    worst = max(case.deviation for case in cases)
    assert worst <= CLOSED_FORM, f"a measure is off its closed form by {worst:.3g} of it"
    return Experiment(trained, before, cases)


def trained_network(samples: int, seed: int, steps: int = STEPS) -> Trained:
    """Data, initial weights and a training to a moderate confidence, all from the seed."""
    generator = torch.Generator().manual_seed(seed)
    x, y = three_gaussians(samples, generator)
    model = perceptron(WIDTHS, ACTIVATION, generator)
    initial = parameters_to_vector(model.parameters()).detach().clone()
    train(model, x, y, steps=steps, rate=RATE)
    return Trained(model, x, y, initial)


def measured_case(
    trained: Trained,
    before: igsref.Comparison,
    center: str,
    shape: str,
    power: Callable[..., Bijection],
    exponent: float,
    softening: float,
) -> Case:
    """Measure the network under the map with these parameters."""
    origin = trained.weights if center == "trained" else trained.initial
    model = igsref.reparametrize(trained.model, power(exponent, softening, origin, origin))
    old = before.result
    assert old is not None
    # The rank of F is the same in all coordinates, which an upper end that is tight needs to know.
    after = igsref.compare(
        model,
        (trained.x, trained.y),
        measures=[*BASELINES, "IGS"],
        rank_bound=old.rank_upper,
    )
    new = after.result
    assert new is not None
    return Case(
        center=center,
        shape=shape,
        exponent=exponent,
        softening=softening,
        ratios={name: after[name].value / before[name].value for name in (*BASELINES, "IGS")},
        igs_ends=(new.lower / old.upper, new.upper / old.lower),
        rounding=old.rounding_error / old.value + new.rounding_error / new.value,
    )


def picture(outcome: Experiment) -> Figure:
    """A panel for each kind of map: measures from top to bottom, ratios along a log axis."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for panel, (center, shape, _), title in zip(panels, PANELS, TITLES, strict=True):
        chosen = [c for c in outcome.cases if (c.center, c.shape) == (center, shape)]
        draw_panel(panel, chosen)
        panel.set_title(title, loc="left", fontsize=8)
    panels[0].sharex(panels[1])
    panels[0].set_yticks(range(len(LABELS) + 1), [*LABELS, "IGS"])
    panels[0].get_yticklabels()[-1].set_fontweight("bold")
    panels[0].set_ylim(len(LABELS) + 0.5, -0.5)
    figure.legend(
        handles=legend(outcome.cases),
        loc="outside lower center",
        ncols=len(EXPONENTS) + len(COLOURS) + 1,
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    return figure


def draw_panel(panel: Axes, cases: Sequence[Case]) -> None:
    bottom = len(LABELS) - 0.5
    panel.axhspan(bottom, bottom + 1, color="0.93", zorder=0)
    for boundary in range(1, len(LABELS)):
        panel.axhline(boundary - 0.5, color="0.85", linewidth=0.5, zorder=0)
    panel.axvline(1, color="black", linewidth=0.8, zorder=1)
    for promised in {case.promised for case in cases} - {None, 1.0}:
        panel.plot([promised] * 2, [-0.5, bottom], ":", color="0.6", linewidth=0.7, zorder=1)
    softenings = softenings_of(cases)
    for case in cases:
        draw_case(panel, case, softenings.index(case.softening))
    panel.set_xscale("log")
    panel.set_xlabel("after / before")
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", which="minor", length=0)


def softenings_of(cases: Sequence[Case]) -> list[float]:
    return sorted({case.softening for case in cases})


def draw_case(panel: Axes, case: Case, place: int) -> None:
    """Its ratios; hollow where the measure has changed its sign, at the size that it has then."""
    height = HEIGHTS[case.exponent] + SPACING * (place - (len(COLOURS) - 1) / 2)
    for row, name in enumerate((*BASELINES, "IGS")):
        ratio = case.ratios[name]
        panel.plot(
            abs(ratio),
            row + height,
            MARKERS[case.exponent],
            markersize=3.6 if case.exponent > 0 else 3.1,
            color=COLOURS[place],
            markerfacecolor=COLOURS[place] if ratio > 0 else "white",
            markeredgewidth=0.8,
        )


def legend(cases: Sequence[Case]) -> list[Line2D]:
    names = {0.5: "$a = 1/2$", -0.5: "$a = -1/2$"}
    handles = [
        Line2D([], [], color="0.35", marker=MARKERS[a], linestyle="", markersize=4, label=names[a])
        for a in EXPONENTS
    ]
    if any(ratio < 0 for case in cases for ratio in case.ratios.values()):
        hollow = {"marker": "o", "markerfacecolor": "white", "markersize": 4}
        handles.append(Line2D([], [], color="0.35", linestyle="", label="below 0", **hollow))
    for b, colour in zip(softenings_of(cases), COLOURS, strict=False):
        square = {"marker": "s", "linestyle": "", "markersize": 5}
        handles.append(Line2D([], [], color=colour, label=f"$b = {b:g}$", **square))
    return handles


def report(outcome: Experiment) -> str:
    trained, result = outcome.trained, outcome.before.result
    assert result is not None
    deviation = max(case.deviation for case in outcome.cases)
    return "\n\n".join(
        [
            f"{'-'.join(map(str, WIDTHS))} tanh network, m = {len(trained.initial)}, "
            f"N = {len(trained.y)}, IGS {result.value:.6g} of at most {result.ceiling:.6g}, "
            f"rank of F {result.rank}",
            str(outcome.before),
            "after/before; b^(−2a) is promised to all but the IGS where θ̂ = θ, 1 to the IGS",
            case_table(outcome.cases),
            f"worst |seen/promised − 1| where θ̂ = θ: {deviation:.1e}",
        ]
    )


def case_table(cases: Sequence[Case]) -> str:
    """A row for each map. IGS − 1, and how far from 1 the brackets let the exact ratio be."""
    names = ("Tr(H)", "λmax(H)", "Fisher–Rao", "Rangamani", "Petzka")
    head = "".join(f"{name:>11}" for name in names)
    lines = [f"map          θ̂           a     b  b^(−2a){head}   IGS − 1  within"]
    for case in cases:
        promised = "–" if case.promised is None else f"{case.promised:.4g}"
        seen = "".join(f"{case.ratios[name]:>11.4g}" for name in BASELINES)
        below, above = (end - 1 for end in case.igs_ends)
        lines.append(
            f"{case.shape:<12} {case.center:<8} {case.exponent:>+4.1f} {case.softening:>5g} "
            f"{promised:>8}{seen} {case.ratios['IGS'] - 1:>+9.0e}  [{below:+.0e}, {above:+.0e}]"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(
        argv,
        description=__doc__.splitlines()[0],
        output="out/reparametrization",
        samples=300,
        fewest=CLASSES,
        why="one for each class",
    )
    outcome = experiment(options.samples, options.seed)
    print(report(outcome), end="\n\n")
    for path in save_figure(picture, outcome, options.output / "reparametrization"):
        print(f"wrote {path}")


if __name__ == "__main__":
    # As fast for so small a network, and torch then adds in one order on any number of cores.
    torch.set_num_threads(1)
    main()
