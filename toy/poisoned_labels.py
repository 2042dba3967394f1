"""Figure 5 of Jang, Lee, Park, Noh (NeurIPS 2022): does the IGS keep a network from wrong labels?

A 2-16-16-3 ReLU network is trained in float64 on 60 points of three spirals, 15 of them under the
label of another class, and tested on many points with their true labels. All methods start at the
same θ and take the same number of steps of Adam on the full batch, their length falling to 0.
Adam does not see the size of a gradient: a method that only multiplies it changes nothing.

    plain              L, the mean cross-entropy
    (12) exact         L + ρ·IGS, F a mean over the 60 points
    (12) pool          the same, F a mean over these and a pool of points without labels
    (13) exact F⁺      the gradient of L at θ + δ, δ = ρ F⁺g
    ceiling            L + ρ Σ_i (exp(l_i) − 1), which the IGS is where the network is saturated
    weight decay       L + ½ ρ ‖θ‖²

Each has a control: plain training stopped as soon as its loss is down to what the method ends with.

The spirals, the numbers of points and of wrong labels are the paper's. Where the points lie, the
network, the optimizer and ρ are choices made here. Each ρ is the power of ten with the lowest mean
test loss on two seeds that are not shown, 1000 and 1001; ``--choose`` prints what it was chosen
from.

    python toy/poisoned_labels.py --output out/poisoned_labels
    python toy/poisoned_labels.py --choose
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import igsref
from igsref.curvature.factor import reduced_factor
from igsref.flat import unflatten
from igsref.training import IGS, exact_igs_penalty
from toy.command_line import save_figure, whole_number
from toy.gaussian_classes import (
    CLASS_COLOURS,
    CLASSES,
    MARKERS,
    draw_boundary,
    draw_samples,
    grid,
    perceptron,
)

WIDTHS = (2, 16, 16, CLASSES)
CLEAN, WRONG, TEST, POOL = 45, 15, 3000, 120
OUTER, INNER, TURNS, DEVIATION = 4.0, 0.6, 0.75, 0.15
STEPS, RATE = 100, 0.05
SEEDS = 4
GRID = 240
POWERS = tuple(10.0**k for k in range(-6, 1))
HIDDEN_SEEDS = 1000
"""Those that ρ was chosen on begin here."""


@dataclass(frozen=True)
class Task:
    """Training points (60, 2) with the labels that are learnt, and which of them are wrong."""

    x: Tensor
    y: Tensor
    wrong: Tensor
    test: tuple[Tensor, Tensor]
    pool: Tensor


T = TypeVar("T")
Penalty = Callable[[nn.Module, Task, float], Tensor]
"""Model, task and ρ ↦ what is added to L."""
Direction = Callable[[nn.Module, Task], dict[str, Tensor]]
"""Model and task ↦ F⁺g by the parameters' names, along which the gradient is taken elsewhere."""


@dataclass(frozen=True)
class Method:
    """A term of the loss, or a direction of δ; neither in plain training."""

    name: str
    colour: str
    line: str
    rho: float = 0.0
    penalty: Penalty | None = None
    direction: Direction | None = None


@dataclass(frozen=True)
class Run:
    """Losses before each step and after the last, (steps + 1,), and the network at the end.

    learnt: the share of the wrong labels that it gives to their points.
    """

    train: Tensor
    test: Tensor
    accuracy: float
    learnt: float
    logits: Tensor
    result: igsref.Result

    @property
    def gaps(self) -> Tensor:
        return self.test - self.train


Outcome = Mapping[str, Sequence[Run]]
"""The runs of each method, one a seed."""


def spirals(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x (N, 2) and y (N,): classes in turn, arms of three spirals with Gaussian noise."""
    y = torch.arange(samples) % CLASSES
    along = torch.rand(samples, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * (y / CLASSES + TURNS * along)
    radius = INNER + (OUTER - INNER) * along
    arm = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return arm + DEVIATION * torch.randn(arm.shape, generator=generator, dtype=arm.dtype), y


def poisoned_task(generator: torch.Generator) -> Task:
    """The same share of each class under another label, either of the other two."""
    x, y = spirals(CLEAN + WRONG, generator)
    wrong = torch.arange(len(y)) >= CLEAN
    other = torch.randint(1, CLASSES, y.shape, generator=generator)
    test, pool = spirals(TEST, generator), spirals(POOL, generator)[0]
    return Task(x, torch.where(wrong, (y + other) % CLASSES, y), wrong, test, pool)


def exact(model: nn.Module, task: Task, rho: float) -> Tensor:
    return exact_igs_penalty(model, (task.x, task.y), rho)


def pooled(model: nn.Module, task: Task, rho: float) -> Tensor:
    return exact_igs_penalty(model, (task.x, task.y), rho, fisher_data=task.pool)


def ceiling(model: nn.Module, task: Task, rho: float) -> Tensor:
    return rho * torch.expm1(cross_entropy(model(task.x), task.y, reduction="none")).sum()


def weight_decay(model: nn.Module, task: Task, rho: float) -> Tensor:
    return rho / 2 * torch.stack([p.square().sum() for p in model.parameters()]).sum()


def natural_gradient(model: nn.Module, task: Task) -> dict[str, Tensor]:
    """F⁺g = A⁺ Σ_i v_i for g = Aᵀ Σ_i v_i/N and F = AᵀA/N, A⁺ cut at rounding."""
    problem = igsref.as_problem(model, (task.x, task.y))
    inverse = torch.linalg.pinv(reduced_factor(problem))
    return unflatten(inverse @ problem.residuals().flatten(), problem.function.parameters)


# Okabe and Ito's colours, told apart by colour-blind readers too.
METHODS = (
    Method("plain", "#000000", "-"),
    Method("(12) exact", "#D55E00", "-", 1e-1, penalty=exact),
    Method("(12) pool", "#E69F00", "--", 1e-2, penalty=pooled),
    Method("(13) exact F⁺", "#CC79A7", "-.", 1e-5, direction=natural_gradient),
    Method("ceiling", "#56B4E9", ":", 1e-1, penalty=ceiling),
    Method("weight decay", "#009E73", "--", 1e-2, penalty=weight_decay),
)


def train(method: Method, task: Task, seed: int, steps: int) -> Run:
    """θ from the seed, then so many steps; the same numbers for the same seed."""
    model = perceptron(WIDTHS, nn.ReLU, torch.Generator().manual_seed(seed))
    adam = torch.optim.Adam(model.parameters(), lr=RATE, foreach=False)
    schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 1 / steps, total_iters=steps - 1)
    optimizer = adam
    if method.direction is not None:
        optimizer = IGS(
            model,
            adam,
            rho=method.rho,
            normalised=False,
            preconditioner=lambda gradients: method.direction(model, task),
        )
    losses = [both_losses(model, task)]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(task.x), task.y)
        if method.penalty is not None:
            loss = loss + method.penalty(model, task, method.rho)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        schedule.step()
        losses.append(both_losses(model, task))
    return measured(model, task, torch.tensor(losses, dtype=torch.float64))


@torch.no_grad()
def both_losses(model: nn.Module, task: Task) -> tuple[float, float]:
    x, y = task.test
    return float(cross_entropy(model(task.x), task.y)), float(cross_entropy(model(x), y))


def measured(model: nn.Module, task: Task, losses: Tensor) -> Run:
    x, y = task.test
    with torch.no_grad():
        accuracy = float((model(x).argmax(dim=1) == y).double().mean())
        given = model(task.x).argmax(dim=1) == task.y
        learnt = float(given[task.wrong].double().mean())
        logits = model(grid(GRID)[1])
    with warnings.catch_warnings():
        # The report says to how many digits the IGS is known.
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        result = igsref.exact_igs(model, (task.x, task.y))
    return Run(losses[:, 0], losses[:, 1], accuracy, learnt, logits, result)


def stopped(plain: Run, train_loss: float) -> int:
    """The first step of plain training with no larger training loss; the last, if there is none."""
    reached = (plain.train <= train_loss).nonzero()
    return int(reached[0, 0]) if len(reached) else len(plain.train) - 1


def experiment(seeds: int, steps: int, processes: int = 1) -> tuple[list[Task], Outcome]:
    """Every method on the task and from the θ of each seed, some seeds at a time."""
    tasks = [poisoned_task(torch.Generator().manual_seed(seed)) for seed in range(seeds)]
    runs = mapped(all_methods, processes, tasks, range(seeds), [steps] * seeds)
    return tasks, {method.name: [own[k] for own in runs] for k, method in enumerate(METHODS)}


def mapped(function: Callable[..., T], processes: int, *arguments: Iterable[Any]) -> list[T]:
    """What the function gives of each set of arguments, some at a time."""
    if processes == 1:
        return list(map(function, *arguments))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(function, *arguments))


def all_methods(task: Task, seed: int, steps: int) -> list[Run]:
    torch.set_num_threads(1)  # torch adds in one order then, in any process
    return [train(method, task, seed, steps) for method in METHODS]


def hidden_losses(processes: int, steps: int) -> dict[str, dict[float, float]]:
    """Method ↦ ρ ↦ mean test loss over the two hidden seeds, inf where a training ended early."""
    tried = [replace(m, rho=rho) for m in METHODS if m.rho for rho in POWERS]
    jobs = [(method, HIDDEN_SEEDS + k, steps) for method in tried for k in range(2)]
    losses = mapped(hidden_loss, processes, *zip(*jobs, strict=True))
    found: dict[str, dict[float, float]] = {}
    for method, pair in zip(tried, zip(losses[::2], losses[1::2], strict=True), strict=True):
        found.setdefault(method.name, {})[method.rho] = sum(pair) / 2
    return found


def hidden_loss(method: Method, seed: int, steps: int) -> float:
    torch.set_num_threads(1)
    task = poisoned_task(torch.Generator().manual_seed(seed))
    try:
        return float(train(method, task, seed, steps).test[-1])
    except (ArithmeticError, ValueError):  # of numbers that are no longer finite
        return math.inf


def choice(losses: Mapping[str, Mapping[float, float]]) -> str:
    """A line for each method: its mean test loss by ρ, and where that is lowest."""
    lines = [f"{'mean test loss':<14} " + " ".join(f"{rho:>7g}" for rho in POWERS) + "  lowest at"]
    for name, own in losses.items():
        shown = " ".join(f"{own[rho]:>7.3f}" for rho in POWERS)
        lines.append(f"{name:<14} {shown}  {min(own, key=lambda rho: own[rho]):g}")
    return "\n".join(lines)


def figures(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """Of each method, each number of the table for each seed."""
    return {name: numbers(runs, outcome["plain"]) for name, runs in outcome.items()}


def numbers(runs: Sequence[Run], plain: Sequence[Run]) -> dict[str, list[float]]:
    stops = [stopped(p, float(run.train[-1])) for run, p in zip(runs, plain, strict=True)]
    return {
        "train loss": [float(run.train[-1]) for run in runs],
        "test loss": [float(run.test[-1]) for run in runs],
        "gap": [float(run.gaps[-1]) for run in runs],
        "accuracy": [run.accuracy for run in runs],
        "wrong learnt": [run.learnt for run in runs],
        "IGS": [run.result.value for run in runs],
        "saturation": [run.result.saturation for run in runs],
        "early test": [float(p.test[k]) for p, k in zip(plain, stops, strict=True)],
        "early gap": [float(p.gaps[k]) for p, k in zip(plain, stops, strict=True)],
    }


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over the seeds and its standard error."""
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std()) / len(values) ** 0.5


def report(outcome: Outcome) -> str:
    table = figures(outcome)
    columns = list(table["plain"])
    seeds, steps = len(outcome["plain"]), len(outcome["plain"][0].train) - 1
    lines = [
        f"{'-'.join(map(str, WIDTHS))} ReLU network, {CLEAN} + {WRONG} points, {TEST} test points, "
        f"{steps} steps of Adam, mean ± standard error over {seeds} seeds",
        f"{'method':<14} {'ρ':>7} "
        + " ".join(f"{column:>15}" for column in columns)
        + "  rounding",
        *(
            f"{method.name:<14} {method.rho:>7g} "
            + " ".join(f"{shown(table[method.name][column]):>15}" for column in columns)
            + f" {open_to_rounding(outcome[method.name]):>9.0e}"
            for method in METHODS
        ),
        "early: plain training, stopped at the training loss of the method",
        "rounding: the largest share of a seed's IGS that float64 leaves open",
        "",
        conclusion(table),
    ]
    return "\n".join(lines)


def open_to_rounding(runs: Sequence[Run]) -> float:
    return max(run.result.rounding_error / run.result.value for run in runs)


def shown(values: Sequence[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.3g} ± {error:.2g}"


def conclusion(table: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """What the numbers of the table say, in one sentence."""
    plain, exact = table["plain"]["gap"], table["(12) exact"]["gap"]
    change = [b - a for a, b in zip(plain, exact, strict=True)]
    mean, error = mean_and_error(change)
    best = min(table, key=lambda name: mean_and_error(table[name]["test loss"])[0])
    beaten = [
        name
        for name, own in table.items()
        if mean_and_error(own["early test"])[0] < mean_and_error(own["test loss"])[0]
    ]
    return (
        f"The exact penalty (12) narrows the gap of plain training in {sum(c < 0 for c in change)} "
        f"of {len(change)} seeds (mean change {mean:+.2g} ± {error:.2g}); {best} ends with the "
        f"lowest mean test loss; plain training stopped at an equal training loss has a lower mean "
        f"than {', '.join(beaten) or 'no method'}."
    )


def boundaries_picture(outcome: tuple[Task, Sequence[tuple[Method, Run]]]) -> Figure:
    """The decisions of each method after the last step, for one seed."""
    task, runs = outcome
    figure = Figure(figsize=(7.0, 5.6), layout="constrained")
    for panel, (method, run), letter in zip(
        figure.subplots(2, 3).flatten(), runs, "abcdef", strict=True
    ):
        draw_samples(panel, task.x, task.y, run.logits, size=14, alpha=0.9)
        draw_boundary(panel, run.logits, "black", "-")
        panel.scatter(
            *task.x[task.wrong].T, s=46, facecolors="none", edgecolors="black", linewidths=0.9
        )
        panel.set_title(
            f"({letter})  {method.name}\n"
            f"gap {float(run.gaps[-1]):.2f}, accuracy {run.accuracy:.0%}",
            loc="left",
        )
    figure.legend(handles=point_handles(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def point_handles() -> list[Line2D]:
    points = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=f"label {c}")
        for c, (colour, marker) in enumerate(zip(CLASS_COLOURS, MARKERS, strict=True), start=1)
    ]
    ring = {"markerfacecolor": "none", "markersize": 7}
    wrong = Line2D([], [], color="black", marker="o", linestyle="", label="wrong label", **ring)
    return [*points, wrong]


def losses_picture(outcome: Outcome) -> Figure:
    """Training and test losses at every step, means over the seeds."""
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method in METHODS:
        runs = outcome[method.name]
        drawn = {"color": method.colour, "linestyle": method.line, "linewidth": 1.3}
        for panel, part in ((left, "train"), (right, "test")):
            mean = torch.stack([getattr(run, part) for run in runs]).mean(dim=0)
            panel.plot(mean, label=method.name, **drawn)
    label_losses(left, "(a)  training loss, wrong labels in it")
    label_losses(right, f"(b)  test loss, true labels ({TEST} points)")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def label_losses(panel: Axes, title: str) -> None:
    panel.set(xlabel="step", ylabel="mean cross-entropy / nats", ylim=(0, None))
    panel.set_title(title, loc="left")


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """--output, --choose and three numbers; a mistake ends the script with a line that names it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path("out/poisoned_labels")
    parser.add_argument("--output", type=Path, default=folder, help="folder (%(default)s)")
    parser.add_argument("--seeds", type=whole_number, default=SEEDS, help="how many (%(default)s)")
    parser.add_argument("--steps", type=whole_number, default=STEPS, help="of Adam (%(default)s)")
    parser.add_argument("--processes", type=whole_number, default=2, help="(%(default)s)")
    parser.add_argument("--choose", action="store_true", help="print test losses by ρ, no more")
    options = parser.parse_args(argv)
    if not 2 <= options.seeds <= HIDDEN_SEEDS:
        parser.error(
            f"--seeds must lie in 2, which a standard error needs, to {HIDDEN_SEEDS}; "
            f"got {options.seeds}"
        )
    if options.steps < 2:
        parser.error(f"--steps must be at least 2; got {options.steps}")
    if options.processes < 1:
        parser.error(f"--processes must be at least 1; got {options.processes}")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output must name a folder that can be made or written to: {error}")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    options = options_of(argv)
    if options.choose:
        print(choice(hidden_losses(options.processes, options.steps)))
        return
    tasks, outcome = experiment(options.seeds, options.steps, options.processes)
    print(report(outcome), end="\n\n")
    numbers_of_all = options.output / "figure5.json"
    stored = {
        "points": [CLEAN, WRONG],
        "steps": options.steps,
        "rhos": {method.name: method.rho for method in METHODS},
        "methods": figures(outcome),
    }
    numbers_of_all.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", "utf-8")
    one = tasks[0], [(method, outcome[method.name][0]) for method in METHODS]
    boundaries = save_figure(boundaries_picture, one, options.output / "boundaries")
    losses = save_figure(losses_picture, outcome, options.output / "losses")
    for path in [numbers_of_all, *boundaries, *losses]:
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
