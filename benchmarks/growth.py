"""How many steps the Krylov bracket takes as the data or the network grow, as exponents.

    IGSREF_DATA=FOLDER python benchmarks/growth.py
    python benchmarks/growth.py --data synthetic --train 60 --samples 4 8 --factors 1 --few 4

In N: the ResNet-8 of benchmarks/scale.py. In m: WRN-10-k, whose parameters grow as k², each trained
as long, at one N. A certificate shows each to be saturated, so that the probe's value is known. An
exponent is the slope of log steps over log N or log m, by least squares: 0 is no growth.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

import igsref
from benchmarks.shares import Found, krylov_shares, processor_time
from experiments.cifar_igs import DATA, images
from experiments.tables import in_plain_text
from experiments.training import Trained, train_or_load
from igsref.geometry.compressed import saturation_certificate

GROWN = (0.01, 0.001)
LIMIT = 60
HEADER = ["network", "N", "rows", "m", "loss", "to 1%", "to 0.1%", "CPU s", "certificate, CPU s"]


@dataclass(frozen=True)
class Point:
    """One network on so many samples."""

    network: str
    samples: int
    rows: int
    parameters: int
    loss: float
    found: Found
    certified: float

    def row(self) -> list[str]:
        """Sizes, steps, CPU seconds of the run and of the certificate."""
        steps = [str(self.found.steps_to(target) or "–") for target in GROWN]
        sizes = [str(self.samples), str(self.rows), str(self.parameters), f"{self.loss:.3f}"]
        seconds = [f"{self.found.seconds[self.found.last]:.0f}", f"{self.certified:.0f}"]
        return [self.network, *sizes, *steps, *seconds]


def measured(network: str, model: nn.Module, data: tuple[Tensor, Tensor]) -> Point:
    """Certify that the network is saturated, and count the steps to that.

    Raises RuntimeError where it is not shown: the true value is not known then.
    """
    problem = igsref.as_problem(model, data)
    with processor_time() as certified:
        certificate = saturation_certificate(problem)
    if not certificate.full:
        raise RuntimeError(f"{network}, N = {problem.num_samples}: full row rank was not shown")
    found = krylov_shares(problem, preconditioned=True, weighted=True, limit=LIMIT)
    loss = float(problem.likelihood.loss(problem.labelled_logits, problem.targets).mean())
    sizes = (problem.num_samples, problem.num_rows, problem.num_parameters)
    return Point(network, *sizes, loss, found, certified[0])


def exponent(sizes: Sequence[float], steps: Sequence[float]) -> float:
    """The slope of log steps over log sizes; NaN for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(steps), 1)[0])


def exponents(points: Sequence[Point], size: str) -> str:
    """The exponents of the steps to each target, of the points that reached it."""
    out = []
    for target in GROWN:
        reached = [(getattr(p, size), p.found.steps_to(target)) for p in points]
        pairs = [(s, steps) for s, steps in reached if steps is not None]
        slope = exponent([s for s, _ in pairs], [steps for _, steps in pairs])
        out.append(f"{slope:.2f} (to {100 * target:g}%, {len(pairs)} of {len(points)} points)")
    return ", ".join(out)


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=DATA, default="cifar10")
    parser.add_argument("--train", type=int, default=5000, help="images the ResNet-8 is trained on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2, 4], help="k of WRN-10-k")
    parser.add_argument("--few", type=int, default=50, help="N of these")
    parser.add_argument("--output", type=Path, default=Path("out/cifar"))
    return parser.parse_args(argv)


def first_samples(trained: Trained, samples: int) -> tuple[Tensor, Tensor]:
    """The first of the training images in a random order, the same for every network."""
    order = torch.randperm(len(trained.data), generator=torch.Generator().manual_seed(0))
    x, y = (part[order[:samples]] for part in trained.data.data)
    return x, y


def main(argv: list[str] | None = None) -> None:
    """Print a line for each point as soon as it is there, then both tables and exponents."""
    chosen = parsed(argv)
    data = images(chosen.data, chosen.train, seed=0)
    few = images(chosen.data, max(chosen.few, 2 * chosen.train // 5), seed=0)
    in_samples, in_parameters = [], []
    trained = train_or_load("resnet8", data, epochs=chosen.epochs, folder=chosen.output)
    for samples in chosen.samples:
        point = measured("resnet8", trained.model, first_samples(trained, samples))
        in_samples.append(point)
        print("  ".join(point.row()), file=sys.stderr, flush=True)
    for factor in chosen.factors:
        name = f"wrn10_{factor}"
        trained = train_or_load(name, few, epochs=chosen.epochs, folder=chosen.output)
        point = measured(name, trained.model, first_samples(trained, chosen.few))
        in_parameters.append(point)
        print("  ".join(point.row()), file=sys.stderr, flush=True)
    print(in_plain_text([HEADER, *(point.row() for point in [*in_samples, *in_parameters])]))
    print(f"{torch.get_num_threads()} threads; {data.name}")
    print(f"exponent of the steps in N: {exponents(in_samples, 'samples')}")
    print(f"exponent of the steps in m: {exponents(in_parameters, 'parameters')}")


if __name__ == "__main__":
    main()
