"""A trained network with more rows than parameters: by a sketch, by EKFAC, and densely.

    IGSREF_DATA=FOLDER python benchmarks/tall.py
    python benchmarks/tall.py --data synthetic --samples 60 --hidden 3 --epochs 2

A 196-H-10 ReLU network on MNIST halved to 14 × 14 pixels, with rows and parameters for which both
routes are at hand. The dense route gives the true energies of matrixfree_igs' own right-hand sides
(ten samples and a probe of the others); of the others, the share of their sum that they find.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import igsref
from benchmarks.processes import timed
from benchmarks.shares import HEADER, Found, processor_time
from experiments.data import load_data, random_images
from experiments.files import DataNotFound
from experiments.tables import in_plain_text
from igsref.geometry.right_hand_sides import RightHandSides, right_hand_sides

SIDE = 14
ROUTES = ("sketch", "ekfac")
HEAVIEST, PROBES = 10, 1


def images(name: str, samples: int) -> tuple[Tensor, Tensor]:
    """Flattened images of 14 × 14 pixels, and labels."""
    if name == "synthetic":
        drawn = random_images(0, samples, in_channels=1, side=SIDE)
        return drawn.images.flatten(1), drawn.labels
    stored = load_data(name, "train", samples)
    return nn.functional.avg_pool2d(stored.images, 2).flatten(1), stored.labels


def trained(data: tuple[Tensor, Tensor], hidden: int, epochs: int) -> nn.Module:
    """196-hidden-10 by Adam, learning rate 2e-3, batches of 100, under a seed."""
    x, y = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(SIDE**2, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(y)).split(100):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    return model


def sides_of(problem: igsref.Problem) -> RightHandSides:
    """The right-hand sides of matrixfree_igs."""
    places = (problem.residuals(), problem.members, problem.pool_size)
    return right_hand_sides(*places, heaviest=HEAVIEST, probes=PROBES, seed=0)


def true_value(problem: igsref.Problem, memory: int) -> tuple[float, float]:
    """Σ ‖P w‖² of the right-hand sides but the last, and the CPU seconds of the dense route."""
    sides = sides_of(problem)
    with processor_time() as seconds:
        energies = igsref.as_geometry(problem, memory=memory).energy(sides.matrix)
    return float(energies[: HEAVIEST + PROBES].sum()), seconds[0]


def krylov_found(problem: igsref.Problem, route: str, value: float, limit: int) -> Found:
    """matrixfree_igs with one preconditioner, to the last share that is asked for."""
    call = timed(
        lambda: igsref.matrixfree_igs(
            problem, preconditioner=route, tolerance=1e-3, max_iterations=limit
        )
    )
    history = call.value.history
    shares = {step.number: step.value / value for step in history}
    # Steps know wall seconds since the first one; what came before belongs to all of them.
    busy = call.cpu / call.wall
    left = {step.number: busy * (history[-1].seconds - step.seconds) for step in history}
    return Found(route, shares, {number: call.cpu - rest for number, rest in left.items()})


def measured(problem: igsref.Problem, memory: int, limit: int) -> Iterator[Found]:
    """The dense route first, whose numbers are the truth of the others."""
    value, seconds = true_value(problem, memory)
    yield Found(igsref.plan(problem, memory=memory).route, {0: 1.0}, {0: seconds})
    for route in ROUTES:
        yield krylov_found(problem, route, value, limit)


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=("mnist", "synthetic"), default="mnist")
    parser.add_argument("--samples", type=int, default=2500)
    parser.add_argument("--hidden", type=int, nargs="+", default=[14, 27])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument(
        "--memory", type=int, default=6 * 2**30, help="of the dense route, in bytes"
    )
    parser.add_argument("--limit", type=int, default=60, help="steps")
    chosen = parser.parse_args(argv)
    most = max((SIDE**2 + 1) * hidden + 10 * (hidden + 1) for hidden in chosen.hidden)
    if min(chosen.hidden) < 1 or 9 * chosen.samples <= most:
        parser.error(f"9 · --samples rows must outnumber the {most} parameters of --hidden, ≥ 1")
    return chosen


def main(argv: list[str] | None = None) -> None:
    """A table for each width, after what plan says of it."""
    chosen = parsed(argv)
    try:
        data = images(chosen.data, chosen.samples)
    except DataNotFound as error:
        raise SystemExit(str(error)) from None
    for hidden in chosen.hidden:
        problem = igsref.as_problem(trained(data, hidden, chosen.epochs), data)
        loss = float(problem.likelihood.loss(problem.labelled_logits, problem.targets).mean())
        print(f"196-{hidden}-10, {chosen.data}, loss {loss:.3f}, {torch.get_num_threads()} threads")
        print(f"plan: {igsref.plan(problem, memory=chosen.memory)}")
        rows = []
        for found in measured(problem, chosen.memory, chosen.limit):
            rows.append(found.row())
            print("  ".join(found.row()), file=sys.stderr, flush=True)
        print(in_plain_text([HEADER, *rows]), flush=True)


if __name__ == "__main__":
    main()
