"""What does the IGS step (13) change? The cosine of what it adds to the gradient with the gradient.

Equation (13) of Jang, Lee, Park, Noh (NeurIPS 2022) descends along the gradient at θ + δ,
δ = ρ F⁺g. To first order in ρ that is

    g + ρ H F⁺ g,

and where H = F, the paper's own premise, it is (1 + ρ) g: a longer step in the same direction. So
whatever (13) does beyond a learning rate comes from where H and F differ, from the damping of F,
and from higher orders. A ReLU network learns scikit-learn's 8×8 digits; at some epochs the cosine
of H F_λ⁺ g with g is measured, with dense H and F:

    all       g and H of all samples
    batches   g and H of a batch of 30, F of all samples: what a training would see; the median

F_λ⁺ = (F + λ)⁻¹ with λ as a share of λmax(F), and the pseudo-inverse for 0, eigenvalues below m·eps
of the largest counted as 0.

    python toy/igs_step.py --output out/igs_step
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

import igsref
from igsref.randomness import preserved_random_state
from toy.command_line import arguments

HIDDEN, CLASSES, SIDE = 12, 10, 8
SAMPLES, BATCH, RATE = 300, 30, 0.1
EPOCHS = (0, 1, 5, 20, 100)
DAMPINGS = (0.1, 1e-3, 1e-6, 0.0)


@dataclass(frozen=True)
class Stage:
    """After some epochs. difference: ‖H − F‖/‖F‖ in Frobenius norms.

    everything, batches: the cosine for each of ``DAMPINGS``.
    """

    epochs: int
    loss: float
    difference: float
    everything: tuple[float, ...]
    batches: tuple[float, ...]


def digits(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many images in [0, 1], float64, and their labels."""
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(seed))
    places = order[:count]
    images = torch.tensor(found.data, dtype=torch.float64) / 16
    return images[places], torch.tensor(found.target)[places]


def stages(x: Tensor, y: Tensor, seed: int) -> list[Stage]:
    """SGD on batches in random order, looked at after each of ``EPOCHS``."""
    with preserved_random_state():  # torch's layers fill themselves
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(SIDE**2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    model.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for epoch in range(EPOCHS[-1] + 1):
        if epoch in EPOCHS:
            found.append(stage(model, x, y, epoch))
        for places in torch.randperm(len(x), generator=generator).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(x[places]), y[places]).backward()
            optimizer.step()
    return found


def stage(model: nn.Module, x: Tensor, y: Tensor, epoch: int) -> Stage:
    F, H = igsref.fisher(model, (x, y)), igsref.hessian(model, (x, y))
    inverses = [damped_inverse(F, share) for share in DAMPINGS]
    batches = []
    for part in zip(x.split(BATCH), y.split(BATCH), strict=True):
        batches.append(cosines(igsref.hessian(model, part), gradient(model, *part), inverses))
    return Stage(
        epoch,
        loss=cross_entropy(model(x), y).item(),
        difference=float((H - F).norm() / F.norm()),
        everything=cosines(H, gradient(model, x, y), inverses),
        batches=tuple(statistics.median(own) for own in zip(*batches, strict=True)),
    )


def cosines(H: Tensor, g: Tensor, inverses: Sequence[Tensor]) -> tuple[float, ...]:
    """Of H F_λ⁺ g with g, for each F_λ⁺."""
    return tuple(float(cosine_similarity(H @ (inverse @ g), g, dim=0)) for inverse in inverses)


def damped_inverse(F: Tensor, share: float) -> Tensor:
    """(F + λ)⁻¹, λ that share of the largest eigenvalue; the pseudo-inverse for 0."""
    values, vectors = torch.linalg.eigh(F)
    largest = values[-1]
    if share:
        return vectors @ ((values + share * largest).reciprocal()[:, None] * vectors.mT)
    kept = values > len(values) * torch.finfo(F.dtype).eps * largest
    vectors = vectors[:, kept]
    return vectors @ (values[kept].reciprocal()[:, None] * vectors.mT)


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of the mean loss, in θ's order."""
    parts = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def report(found: Sequence[Stage], samples: int) -> str:
    """A line for each stage."""
    shares = " ".join(f"{share:>7g}" for share in DAMPINGS)
    lines = [
        f"{SIDE**2}-{HIDDEN}-{CLASSES} ReLU network, {samples} digits; cosine of H F⁺ g with g, by "
        "λ/λmax",
        f"{'epochs':>6} {'loss':>7} {'|H−F|/|F|':>9} | all: {shares} | batches: {shares}",
    ]
    for own in found:
        everything, batches = (
            " ".join(f"{value:>7.3f}" for value in values)
            for values in (own.everything, own.batches)
        )
        lines.append(
            f"{own.epochs:>6} {own.loss:>7.3f} {own.difference:>9.3f} |      {everything} |"
            f"          {batches}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(
        argv,
        description=__doc__.splitlines()[0],
        output="out/igs_step",
        samples=SAMPLES,
        fewest=BATCH,
        why="a batch",
    )
    torch.set_num_threads(1)
    found = stages(*digits(options.samples, options.seed), options.seed)
    print(report(found, options.samples))
    path = options.output / "igs-step.json"
    stored = {"samples": options.samples, "stages": [asdict(own) for own in found]}
    path.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
