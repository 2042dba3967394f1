"""IGS of a small classifier of real handwritten digits: what it says, and what survives a scaling.

A ReLU network learns some of scikit-learn's 8×8 digits. Printed are its information-geometric
sharpness, the ceiling that the training losses set, the samples that carry it, and the hierarchy
of gradients (section 2.2 of Jang, Lee, Park, Noh, NeurIPS 2022). Then each hidden unit's incoming
weights are multiplied, and its outgoing weights divided, by a factor of up to 10^±6. That is the
same function, so its sharpness is the same: `exact_igs` says so, the textbook route does not.

    python toy/digits.py --output out/digits

Written there: spectrum.png, the eigenvalues of F before and after; heaviest.png, the ten digits
that carry most of the IGS.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

import igsref
from igsref.transforms.symmetries import scale_nodes

EPOCHS, BATCH, LEARNING_RATE = 30, 50, 3e-3
FEW = 60
CUT = 1e-5  # the textbook counts eigenvalues up to this multiple of the largest as 0
TEXTBOOKS = ((torch.float64, CUT), (torch.float64, 1e-12), (torch.float32, CUT))

# Okabe & Ito, colours that stay apart for colour-blind readers.
ORANGE, SKY, GREEN, BLUE, VERMILLION = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
GREY = "0.6"
Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Digits:
    """Images (N, 64) in [0, 1] with labels (N,), and numbers (N,), their places in the data set."""

    images: Tensor
    labels: Tensor
    numbers: Tensor

    def __getitem__(self, chosen: slice) -> "Digits":
        return Digits(self.images[chosen], self.labels[chosen], self.numbers[chosen])

    @property
    def data(self) -> Data:
        """What igsref takes as data."""
        return self.images, self.labels


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices: a second thread mostly waits for the first, for long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the report and write the pictures."""
    options = parse(argv)
    console = Console(highlight=False)
    generator = torch.Generator().manual_seed(options.seed)
    digits = shuffled_digits(generator)
    train, test = digits[: options.samples], digits[options.samples :]
    model = network(options.hidden, generator)
    fit(model, train.data, generator)
    scaled = scale_nodes(model, [extreme_factors(options.hidden, generator)])

    result = igsref.exact_igs(model, train.data)
    hierarchy = igsref.gradient_hierarchy(model, train.data)
    p = probabilities(model, train)
    print_network(console, model, train, test)
    print_result(console, result)
    print_meaning(console, result)
    few = train[:FEW]
    pool = {"fisher_data": digits.images, "members": torch.arange(len(few.labels))}
    print_few(console, igsref.exact_igs(model, few.data), igsref.exact_igs(model, few.data, **pool))
    print_heaviest(console, p, train, result)
    print_hierarchy(console, hierarchy, result.rank)
    print_expectation(console, hierarchy, p, train)
    print_comparison(console, model, scaled, train.data, result.value)
    after = igsref.eigenvalues(scaled, train.data)
    options.output.mkdir(parents=True, exist_ok=True)
    draw_spectra(hierarchy, after, result).savefig(options.output / "spectrum.png", dpi=150)
    draw_heaviest(p, train, result).savefig(options.output / "heaviest.png", dpi=150)
    print(f"Pictures: spectrum.png and heaviest.png in {options.output}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="IGS of a small classifier of handwritten digits.")
    parser.add_argument("--output", type=Path, default=Path("out/digits"), help="folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=400, help="training samples, 10 to 1500")
    parser.add_argument("--hidden", type=int, default=16, help="hidden units, at least 2")
    options = parser.parse_args(argv)
    if not 10 <= options.samples <= 1500 or options.hidden < 2:
        got = f"got {options.samples} and {options.hidden}"
        parser.error(f"--samples must lie in 10 to 1500, --hidden be at least 2; {got}")
    return options


def shuffled_digits(generator: torch.Generator) -> Digits:
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=generator)
    return Digits(torch.tensor(pixels)[order] / 16, torch.tensor(labels)[order], order)


def network(hidden: int, generator: torch.Generator) -> nn.Sequential:
    """64-hidden-10 with ReLU, in float64; He's initialisation, from the generator alone."""
    new = partial(nn.utils.skip_init, nn.Linear, dtype=torch.float64)
    model = nn.Sequential(new(64, hidden), nn.ReLU(), new(hidden, 10))
    for layer in (model[0], model[2]):
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(layer.bias)
    return model.eval()


def fit(model: nn.Module, data: Data, generator: torch.Generator) -> None:
    images, labels = data
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels), generator=generator).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()


def extreme_factors(hidden: int, generator: torch.Generator) -> Tensor:
    """10^(6u), u uniform in [−1, 1]; the first and the last unit take the two ends."""
    u = 2 * torch.rand(hidden, generator=generator, dtype=torch.float64) - 1
    u[0], u[-1] = 1.0, -1.0
    return 10 ** (6 * u)


@torch.no_grad()
def probabilities(model: nn.Module, digits: Digits) -> Tensor:
    return model(digits.images).softmax(dim=1)


def accuracy(model: nn.Module, digits: Digits) -> float:
    right = probabilities(model, digits).argmax(dim=1) == digits.labels
    return float(right.double().mean())


def new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def print_network(console: Console, model: nn.Module, train: Digits, test: Digits) -> None:
    console.print(
        f"[bold]A 64-{model[0].out_features}-10 ReLU network on {len(train.labels)} handwritten "
        f"digits[/bold]: {accuracy(model, train):.1%} of them right, "
        f"{accuracy(model, test):.1%} of {len(test.labels)} others."
    )


def print_result(console: Console, result: igsref.Result) -> None:
    table = new_table("What exact_igs says", "quantity")
    table.add_column("value")
    shown = "shown: full row rank" if result.saturated else "not saturated"
    rows = {
        "IGS": f"{result.value:.12g}",
        "bracket": bracket(result),
        "known to (estimate)": f"±{result.rounding_error:.0e}",
        "IGS / N": f"{result.value / result.num_samples:.6g}",
        "ceiling, Σ expm1(loss)": f"{result.ceiling:.12g}",
        "saturation": f"{result.saturation:.6g} ({shown})",
        "rank of F": f"{result.rank}{'' if result.clear_rank else ' (no clear gap)'}, exactly "
        f"{result.rank_lower} to {result.rank_upper}",
        "rows of the factor, N(C−1)": str(result.num_rows),
        "parameters m": str(result.num_parameters),
        "training loss": f"{result.loss:.6g} nats",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def print_meaning(console: Console, result: igsref.Result) -> None:
    """Two sentences on value/ceiling, for this result."""
    if result.saturated:
        console.print("The IGS equals its ceiling, which the training losses alone decide.")
        console.print("It says nothing about this network that its losses do not say.")
        return
    console.print(
        f"The training losses alone would allow an IGS of {result.ceiling:.5g}; this network "
        f"reaches {result.saturation:.1%} of it, since its F has only rank {result.rank} in a data "
        f"space of {result.num_rows} dimensions. Only because {1 - result.saturation:.1%} is "
        "missing does the IGS depend on the network's geometry at all: at a saturation of 1 it "
        "would be a function of the losses and of nothing else."
    )


def print_few(console: Console, few: igsref.Result, pooled: igsref.Result) -> None:
    """Fewer samples, where the IGS is its ceiling; and what a pool of inputs does about it."""
    verdict = "saturated, a function of the losses alone" if few.saturated else "not saturated"
    console.print(
        f"\n[bold]The same network on only {few.num_samples} of them[/bold] ({few.num_rows} rows, "
        f"rank {few.rank}): IGS {few.value:.9g}, ceiling {few.ceiling:.9g}: {verdict}.\n"
        f"[bold]With a Fisher matrix over all {pooled.pool_size} digits[/bold], which needs no "
        f"labels ({pooled.num_rows} rows, rank {pooled.rank}): IGS {pooled.value:.9g} in "
        f"{bracket(pooled)}, {pooled.saturation:.1%} of its ceiling {pooled.ceiling:.9g}. What is "
        "missing is a property of the network that its losses do not tell. The upper end stays "
        f"near the ceiling as long as the rank is known to lie in {pooled.rank_lower} to "
        f"{pooled.rank_upper} only.\n"
    )


def bracket(result: igsref.Result) -> str:
    return f"\\[{result.lower:.9g}, {result.upper:.9g}] ({result.grade})"


def print_heaviest(console: Console, p: Tensor, train: Digits, result: igsref.Result) -> None:
    total = sum(share for _, share in result.heaviest())
    table = new_table(
        f"The ten samples that carry {total:.0%} of the IGS",
        *("number", "label", "prediction", "p(label)", "share"),
    )
    for place, share in result.heaviest():
        number, label = int(train.numbers[place]), int(train.labels[place])
        values = str(label), str(int(p[place].argmax())), f"{float(p[place, label]):.2g}"
        table.add_row(f"#{number}", *values, f"{share:.1%}")
    console.print(table)


def group_bounds(classes: int, rank: int) -> dict[str, tuple[int, int]]:
    """Places of the outliers, the secondary eigenvalues and the bulk in the falling spectrum."""
    first, second = min(classes, rank), min(classes * (classes - 1), rank)
    return {"outliers": (0, first), "secondary": (first, second), "bulk": (second, rank)}


def print_hierarchy(console: Console, hierarchy: igsref.Hierarchy, rank: int) -> None:
    """The three groups, seen and predicted by Appendix A."""
    table = new_table(
        "Hierarchy of gradients: eigenvalues λ of F and their shares of Tr F",
        *("group", "count", "λ", "share", "λ, App. A", "share, App. A"),
    )
    outliers, secondary = hierarchy.predicted_shares
    columns = (
        group_bounds(hierarchy.num_classes, rank).items(),
        (hierarchy.outliers, hierarchy.secondary, hierarchy.bulk),
        (extent(hierarchy.predicted_outliers), extent(hierarchy.predicted_secondary), "–"),
        (f"{outliers:.1%}", f"{secondary:.1%}", "–"),
    )
    for (name, (start, stop)), share, *predicted in zip(*columns, strict=True):
        seen = extent(hierarchy.eigenvalues[start:stop])
        table.add_row(name, str(stop - start), seen, f"{share:.1%}", *predicted)
    console.print(table)


def extent(values: Tensor) -> str:
    return f"{float(values[0]):.2g} … {float(values[-1]):.2g}" if len(values) else "–"


def print_expectation(
    console: Console, hierarchy: igsref.Hierarchy, p: Tensor, train: Digits
) -> None:
    """How far the assumption of Appendix A holds here, and whether its groups stay apart."""
    wrong = p.scatter(1, train.labels[:, None], 0.0)
    likeliest = float(wrong.amax(dim=1).sum() / wrong.sum())
    crossing = int((hierarchy.predicted_secondary > hierarchy.predicted_outliers[-1]).sum())
    console.print(
        "Appendix A assumes that all wrong classes of a sample are equally likely, each with "
        f"{1 / (hierarchy.num_classes - 1):.0%} of what the label leaves; here the likeliest one "
        f"has {likeliest:.0%} of it. Its prediction is rough: {crossing} of its secondary "
        "eigenvalues are larger than the smallest of its outliers.\n"
    )


def textbook(model: nn.Module, data: Data, dtype: torch.dtype, rcond: float) -> float:
    """The value, or NaN where LAPACK's eigh gives up on F."""
    try:
        return igsref.textbook_igs(model, data, dtype=dtype, rcond=rcond)
    except torch.linalg.LinAlgError:
        return math.nan


def print_comparison(
    console: Console, model: nn.Sequential, scaled: nn.Sequential, data: Data, exact: float
) -> None:
    """IGS before and after the scaling by every route; exact: of the model, by exact_igs."""
    table = new_table(
        "The same function, its hidden units scaled by factors from 10^−6 to 10^+6",
        *("route", "IGS before", "IGS after", "change"),
    )
    after = igsref.exact_igs(scaled, data).value
    table.add_row("exact_igs", *compared(exact, after, torch.float64))
    for dtype, rcond in TEXTBOOKS:
        name = f"textbook, {str(dtype).removeprefix('torch.')}, cut {rcond:.0e}"
        values = (textbook(each, data, dtype, rcond) for each in (model, scaled))
        table.add_row(name, *compared(*values, dtype))
    console.print(table)
    console.print(
        "The textbook route forms F and counts eigenvalues below the cut, a multiple of the "
        "largest one, as 0. Scaling the units decides which eigenvalues these are, in either "
        "precision. A smaller cut only postpones this: below 1e-16 of its largest eigenvalue, a "
        "float64 F holds nothing but rounding.\n"
    )


def compared(before: float, after: float, dtype: torch.dtype) -> tuple[str, str, str]:
    """Both values, with the digits that dtype is worth, and the relative change."""
    digits = 12 if dtype == torch.float64 else 7
    values = ["eigh failed" if math.isnan(v) else f"{v:.{digits}g}" for v in (before, after)]
    change = after / before - 1
    return *values, f"{change:+.1%}" if abs(change) > 1e-3 else f"{change:+.0e}"


def draw_spectra(hierarchy: igsref.Hierarchy, after: Tensor, result: igsref.Result) -> Figure:
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_spectrum(left, hierarchy, after, result)
    draw_groups(right, hierarchy, result.rank)
    return figure


def draw_spectrum(
    axes: Axes, hierarchy: igsref.Hierarchy, after: Tensor, result: igsref.Result
) -> None:
    """λ/λ_max of F by index, before and after the scaling, with what cuts and rounding hide."""
    before = hierarchy.eigenvalues
    floor = max(result.num_rows, result.num_parameters) * torch.finfo(torch.float64).eps ** 2
    draw_eigenvalues(axes, before / before[0], floor, BLUE, "as trained")
    draw_eigenvalues(axes, after / after[0], floor, VERMILLION, "units scaled by $10^{\\pm 6}$")
    axes.plot([], [], ".", color=GREY, label="rounding, no digit left")
    axes.set(xscale="log", yscale="log", xlim=(0.8, 2 * len(before)), ylim=(1e-40, 1e5))
    shade_groups(axes, group_bounds(hierarchy.num_classes, result.rank))
    mark_floors(axes, floor)
    axes.set(xlabel="index of the eigenvalue", ylabel="eigenvalue of F / largest eigenvalue")
    axes.set_title("One function, two spectra, and what a route cannot see")
    axes.legend(loc="lower left", framealpha=1, markerscale=2)


def draw_eigenvalues(axes: Axes, values: Tensor, floor: float, colour: str, label: str) -> None:
    index, values = np.arange(1, len(values) + 1), values.numpy()
    seen, rounding = values > floor, (values > 0) & (values <= floor)
    axes.plot(index[seen], values[seen], ".", color=colour, markersize=4, label=label)
    axes.plot(index[rounding], values[rounding], ".", color=GREY, markersize=3)


def shade_groups(axes: Axes, bounds: dict[str, tuple[int, int]]) -> None:
    """A band and a name for each group, inside the limits; the bulk ends at the rank."""
    low, high = axes.get_xlim()
    for (name, (start, stop)), colour in zip(bounds.items(), (ORANGE, SKY, GREEN), strict=True):
        if stop == start:
            continue
        left, right = max(low, start + 0.5 * (start > 0)), min(high, stop + 0.5)
        axes.axvspan(left, right, color=colour, alpha=0.15, linewidth=0)
        where = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top"}
        axes.text(math.sqrt(left * right), 0.98, f"{name}\n{stop - start}", **where)


def mark_floors(axes: Axes, factor: float) -> None:
    """Below these multiples of λ_max a route does not look, or has no correct digit."""
    floors = (
        (CUT, "cut of the textbook route, $10^{-5}$", 3),
        (torch.finfo(torch.float32).eps, "rounding of F in float32", -11),
        (torch.finfo(torch.float64).eps, "rounding of F in float64", -11),
        (factor, "rounding of the factor A in float64 (F is AᵀA/N)", -12),
    )
    for level, text, points in floors:
        axes.axhline(level, color="0.3", linestyle="--", linewidth=0.8)
        axes.annotate(text, (0.9, level), (0, points), textcoords="offset points", fontsize=9)


def draw_groups(axes: Axes, hierarchy: igsref.Hierarchy, rank: int) -> None:
    """The largest eigenvalues of F beside those that Appendix A predicts."""
    classes, largest = hierarchy.num_classes, float(hierarchy.eigenvalues[0])
    draw_eigenvalues(axes, hierarchy.eigenvalues[:rank], 0.0, BLUE, "as trained")
    draw_predicted(axes, hierarchy.predicted_outliers, 1, "o", "Appendix A, outliers")
    draw_predicted(axes, hierarchy.predicted_secondary, classes + 1, "s", "Appendix A, secondary")
    limits = {"xlim": (0.8, 4 * classes**2), "ylim": (1e-5 * largest, 50 * largest)}
    axes.set(xscale="log", yscale="log", **limits)
    shade_groups(axes, group_bounds(classes, rank))
    axes.set(xlabel="index of the eigenvalue", ylabel="eigenvalue of F")
    axes.set_title("The hierarchy of gradients, seen and predicted")
    axes.legend(loc="lower left", framealpha=1)


def draw_predicted(axes: Axes, values: Tensor, first: int, marker: str, label: str) -> None:
    index, style = np.arange(first, first + len(values)), {"fillstyle": "none", "markersize": 5}
    axes.plot(index, values.numpy(), marker, color="black", label=label, **style)


def draw_heaviest(p: Tensor, train: Digits, result: igsref.Result) -> Figure:
    """The ten digits with the largest g_i F⁺ g_iᵀ."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, hspace=0.06)
    for axes, (place, share) in zip(figure.subplots(2, 5).flat, result.heaviest(), strict=True):
        label, guess = int(train.labels[place]), int(p[place].argmax())
        axes.imshow(train.images[place].view(8, 8).numpy(), cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(
            f"#{int(train.numbers[place])}: {label} → {guess}\n{share:.1%}",
            color=BLUE if label == guess else VERMILLION,
        )
        axes.set(xticks=[], yticks=[])
    figure.suptitle("Number: label → prediction, share of the IGS (wrong predictions in red)")
    return figure


if __name__ == "__main__":
    main()
