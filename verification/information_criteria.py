"""Sign and 1/N of the information criteria, by simulation: equations (8) and (9).

    python verification/information_criteria.py --datasets 4000 --samples 4000

Five models with m = 2 or 3 parameters on a distribution over finitely many pairs (x, y), so that
the test loss is an exact sum. Every drawn data set is fitted by Newton's method to |gradient| ≤
1e-12, and its gap, test loss − training loss, set beside TIC, IGS/N (TIC with F) and AIC (m/N).

The gap is measured with a control variate: L(θ*) − L_N(θ*), of mean exactly 0, is subtracted from
it, θ* the minimum of the test loss. That leaves its mean as it is and takes off most of its noise.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from igsref.likelihoods import Bernoulli, Gaussian, Likelihood
from igsref.measures.criteria import aic, fisher_tic, tic

CONVERGED = 1e-12
MOST_STEPS = 50
CRITERIA = ("TIC", "IGS/N", "AIC")
Logits = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Scenario:
    """A model, the distribution of (x, y), and which criteria theory says are the gap.

    logits: θ (m,), x (S, d) ↦ (S, 1). x, y: the pairs, (S, d) and (S, 1), with their
    probabilities, (S,). start: near the minimum of the test loss.
    """

    name: str
    likelihood: Likelihood
    logits: Logits
    x: Tensor
    y: Tensor
    probability: Tensor
    start: Tensor
    right: tuple[str, ...]

    def losses(self, theta: Tensor) -> Tensor:
        """Loss of every pair, (S,)."""
        return self.likelihood.loss(self.logits(theta, self.x), self.y)

    def mean_loss(self, theta: Tensor, weights: Tensor) -> Tensor:
        """Mean loss of a data set in which the pairs have these weights."""
        return weights @ self.losses(theta)


def linear(theta: Tensor, x: Tensor) -> Tensor:
    """θ_0 + θ_1 x_1 + …"""
    return (theta[0] + x @ theta[1:])[:, None]


def unit(theta: Tensor, x: Tensor) -> Tensor:
    """A hidden unit whose output weight is fixed, 2 tanh(θ_0 + θ_1 x_1 + …)."""
    return 2 * linear(theta, x).tanh()


def exponential(theta: Tensor, x: Tensor) -> Tensor:
    """exp(θ_0 + θ_1 x_1 + …)."""
    return linear(theta, x).exp()


GRID = list(product((-1.5, 0.0, 1.5), (-1.0, 0.0, 1.0)))
LINE = {-3.0: 0.05, -1.0: 0.15, -0.3: 0.3, 0.3: 0.3, 1.0: 0.15, 3.0: 0.05}


def coin(probability: float) -> list[tuple[float, float]]:
    """(y, its probability) of a coin."""
    return [(1.0, probability), (0.0, 1 - probability)]


def either_side(mean: float, deviation: float) -> list[tuple[float, float]]:
    """y with that mean and standard deviation."""
    return [(mean + deviation, 0.5), (mean - deviation, 0.5)]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def scenario(
    name: str,
    likelihood: Likelihood,
    logits: Logits,
    inputs: Sequence[tuple[tuple[float, ...], float]],
    labels: Callable[..., list[tuple[float, float]]],
    start: Sequence[float],
    right: tuple[str, ...],
) -> Scenario:
    """All pairs of (input, its probability) with the labels of that input."""
    pairs = [(x, y, p * q) for x, p in inputs for y, q in labels(*x)]
    # The type is said: a list of floats would pass through float32.
    x, y, probability, start = (
        torch.tensor(column, dtype=torch.float64) for column in (*zip(*pairs, strict=True), start)
    )
    return Scenario(name, likelihood, logits, x, y[:, None], probability, start, right)


def scenarios() -> list[Scenario]:
    """Two true models, three false ones."""
    grid = [(x, 1 / len(GRID)) for x in GRID]
    line = [((x,), p) for x, p in LINE.items()]
    return [
        scenario(
            "logistic regression, true",
            Bernoulli(), linear, grid, lambda a, b: coin(sigmoid(0.3 + a - 0.7 * b)),
            (0.3, 1.0, -0.7), CRITERIA,
        ),
        scenario(
            "hidden unit, true",
            Bernoulli(), unit, grid,
            lambda a, b: coin(sigmoid(2 * math.tanh(0.2 + 0.8 * a - 0.4 * b))),
            (0.2, 0.8, -0.4), CRITERIA,
        ),
        scenario(
            "logistic regression, wrong link",
            Bernoulli(), linear, line,
            lambda x: coin(0.5 + (0.4 if abs(x) < 2 else 0.3) * math.tanh(4 * x)),
            (0.0, 1.6), ("TIC", "IGS/N"),
        ),
        scenario(
            "linear regression, variance 2",
            Gaussian(), linear, grid, lambda a, b: either_side(a, 2**0.5),
            (0.0, 1.0, 0.0), ("TIC", "IGS/N"),
        ),
        scenario(
            "exponential regression, wrong mean",
            Gaussian(), exponential, grid,
            lambda a, b: either_side(1 + 0.5 * a + 0.3 * b - 0.2 * a * a, 0.5),
            (-0.5, 0.5, 0.3), ("TIC",),
        ),
    ]  # fmt: skip


def fitted(scene: Scenario, weights: Tensor, start: Tensor) -> Tensor:
    """Minima of the mean losses with weights (R, S), by Newton's method; (R, m)."""
    gradient, curvature = vmap(grad(scene.mean_loss)), vmap(jacrev(grad(scene.mean_loss)))
    theta = start
    for _ in range(MOST_STEPS):
        g, H = gradient(theta, weights), curvature(theta, weights)
        if float(g.abs().max()) <= CONVERGED:
            if not float(torch.linalg.eigvalsh(H).min()) > 0:
                raise ArithmeticError(f"{scene.name}: Newton's method ended at no minimum")
            return theta
        theta = theta - torch.linalg.solve(H, g)
    raise ArithmeticError(f"{scene.name}: no minimum after {MOST_STEPS} steps")


@dataclass(frozen=True, eq=False)
class Draws:
    """Of every drawn data set: its weights (R, S), its fit (R, m), gap and criteria, (R,) each."""

    scene: Scenario
    samples: int
    weights: Tensor
    theta: Tensor
    gap: Tensor
    criteria: dict[str, Tensor]

    def scaled(self, values: Tensor) -> tuple[float, float]:
        """N times the mean, and its standard error."""
        return self.samples * float(values.mean()), self.samples * _standard_error(values)

    def deviation(self, criterion: str) -> float:
        """Criterion minus gap in standard errors of that difference."""
        difference = self.criteria[criterion] - self.gap
        return float(difference.mean()) / _standard_error(difference)


def _standard_error(values: Tensor) -> float:
    return float(values.std()) / len(values) ** 0.5


def draw(scene: Scenario, datasets: int, samples: int, seed: int) -> Draws:
    """Draw data sets, fit each, measure gaps and criteria."""
    generator = torch.Generator().manual_seed(seed)
    true = fitted(scene, scene.probability[None], scene.start[None])
    weights = torch.stack(
        [
            torch.multinomial(scene.probability, samples, replacement=True, generator=generator)
            .bincount(minlength=len(scene.probability))
            .double()
            for _ in range(datasets)
        ]
    ) / samples  # fmt: skip
    theta = fitted(scene, weights, true.expand(datasets, -1))
    excess = scene.probability - weights
    gap = (excess * vmap(scene.losses)(theta)).sum(dim=1) - excess @ scene.losses(true[0])
    return Draws(scene, samples, weights, theta, gap, criteria(scene, weights, theta, samples))


def criteria(scene: Scenario, weights: Tensor, theta: Tensor, samples: int) -> dict[str, Tensor]:
    """(1/N) Tr(H⁻¹C), (1/N) Tr(F⁺C) and m/N as they are written, for every data set."""

    def outputs(theta: Tensor) -> Tensor:
        return scene.logits(theta, scene.x)[:, 0]

    g, J = vmap(jacrev(scene.losses))(theta), vmap(jacrev(outputs))(theta)
    metric = vmap(lambda theta: scene.likelihood.metric(scene.logits(theta, scene.x)))(theta)
    C = torch.einsum("rs,rsi,rsj->rij", weights, g, g)
    F = torch.einsum("rs,rsi,rsj->rij", weights * metric[..., 0, 0], J, J)
    H = vmap(jacrev(grad(scene.mean_loss)))(theta, weights)
    m = torch.full_like(weights[:, 0], theta.shape[1])
    traces = {"TIC": _trace(H, C), "IGS/N": _trace(F, C), "AIC": m}
    return {name: trace / samples for name, trace in traces.items()}


def _trace(metric: Tensor, covariance: Tensor) -> Tensor:
    return torch.linalg.solve(metric, covariance).diagonal(dim1=1, dim2=2).sum(dim=1)


def library_error(draws: Draws, datasets: int) -> float:
    """Largest relative difference to what igsref says of the first data sets, sample by sample."""
    worst = 0.0
    for number in range(datasets):
        counts = (draws.samples * draws.weights[number]).round().long()
        x, y = (value.repeat_interleave(counts, dim=0) for value in (draws.scene.x, draws.scene.y))
        model = (lambda p, x: draws.scene.logits(p["theta"], x), {"theta": draws.theta[number]})
        problem = {"likelihood": draws.scene.likelihood}
        found = {
            "TIC": tic(model, (x, y), **problem).value,
            "IGS/N": fisher_tic(model, (x, y), **problem).value,
            "AIC": aic(model, (x, y), **problem).value,
        }
        for name, value in found.items():
            worst = max(worst, abs(value / float(draws.criteria[name][number]) - 1))
    return worst


def table(found: Sequence[Draws]) -> str:
    """N times everything, and how many standard errors each criterion is away from the gap."""
    lines = [
        f"{'':<36}{'N × gap':>16}" + "".join(f"{f'N × {name}':>18}" for name in CRITERIA),
    ]
    for draws in found:
        gap, error = draws.scaled(draws.gap)
        cells = [f"{draws.scene.name:<36}{f'{gap:.3f} ± {error:.3f}':>16}"]
        for name in CRITERIA:
            value, _ = draws.scaled(draws.criteria[name])
            cells.append(f"{f'{value:.3f} ({draws.deviation(name):+.1f})':>18}")
        lines.append("".join(cells))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Print the table, and where theory and simulation disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=4000, help="data sets of each scenario")
    parser.add_argument("--samples", type=int, default=4000, help="N, samples of a data set")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    found = [
        draw(scene, arguments.datasets, arguments.samples, arguments.seed) for scene in scenarios()
    ]
    print(
        f"{arguments.datasets} data sets of N = {arguments.samples}; ± one standard error; in "
        f"brackets the distance from the gap in standard errors\n\n{table(found)}\n"
    )
    worst = max(library_error(draws, datasets=1) for draws in found)
    print(f"igsref.tic, fisher_tic and aic of single data sets: the same to {worst:.0e}")
    for draws in found:
        for name in CRITERIA:
            agrees = abs(draws.deviation(name)) <= 3
            if agrees != (name in draws.scene.right):
                print(f"not as theory says: {draws.scene.name}, {name}")


if __name__ == "__main__":
    main()
