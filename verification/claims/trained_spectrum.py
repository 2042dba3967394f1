"""The spectrum of F for one small trained network, enclosed in balls.

A 2-8-8-3 ReLU network on three Gaussians, the setting of Figure 1 with fewer units. It is trained
in float64 and its weights are rounded to multiples of 2⁻¹⁶; from there on every number is a ball.
K = AAᵀ/N has the nonzero eigenvalues λ_k of F, with eigenvectors w_k in data space, and

    IGS = Σ_i Σ_k w_k(i, y_i)² / p_{i,y_i},

the sum over the nonzero λ_k. An eigenvalue is counted by the inertia of K − t I (Sylvester), and
a share of the leading eigenvectors is bounded by the filter λ^q/(λ^q + s^q) of K.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from torch import nn

from toy.gaussian_classes import perceptron, three_gaussians
from verification.claims.claim import Disproved
from verification.oracle import factor_rows
from verification.perceptron import labelled_samples

WIDTHS, CLASSES, SAMPLES = (2, 8, 8, 3), 3, 24
STEPS, RATE, SEED = 200, 0.2, 0
FRACTION_BITS = 16
BITS, SQUARINGS = 600, 3
ORDER = 2**SQUARINGS


def inertia_above(matrix: Sequence[Sequence[arb]], threshold: arb) -> int:
    """Number of eigenvalues of a symmetric matrix above the threshold: pivots > 0 of LDLᵀ."""
    size = range(len(matrix))
    rest = [[entry - threshold * (i == j) for j, entry in enumerate(matrix[i])] for i in size]
    positive = 0
    for k in size:
        pivot = rest[k][k]
        if not (pivot > 0 or pivot < 0):
            raise Disproved(f"the sign of pivot {k} is undecided: {pivot.str(5)}")
        positive += bool(pivot > 0)
        for i in size[k + 1 :]:
            ratio = rest[i][k] / pivot
            for j in size[i:]:
                rest[j][i] -= ratio * rest[j][k]
    return positive


@dataclass(frozen=True, eq=False)
class TrainedSpectrum:
    """K (NC, NC) in balls; label_rows: of (i, y_i) in K; label_probabilities: p_{i,y_i}.

    accuracy: of the training samples. estimates: eigenvalues of K in float64, falling, which
    suggest thresholds and prove nothing.
    """

    gram: arb_mat
    label_rows: tuple[int, ...]
    label_probabilities: tuple[arb, ...]
    accuracy: float
    estimates: tuple[float, ...]

    def count_above(self, threshold: float) -> int:
        """How many eigenvalues of F are larger."""
        with ctx.workprec(BITS):
            return inertia_above(self.gram.tolist(), arb(threshold))

    def filtered(self, scale: float, weight: int = 0) -> tuple[arb, arb]:
        """Sums over k of λ_k^q/(λ_k^q + s^q): of the parts of IGS times λ_k^weight, and of λ_k.

        weight = 0: the first is a lower bound of IGS, closer for smaller s; the second of Tr F.
        """
        with ctx.workprec(BITS):
            leading = self._filter(scale)
            by_value = leading * self.gram
            matrix = by_value if weight else leading
            pairs = zip(self.label_rows, self.label_probabilities, strict=True)
            parts = (matrix[row, row] / p for row, p in pairs)
            return sum(parts, arb(0)), by_value.trace()

    def trace(self) -> arb:
        with ctx.workprec(BITS):
            return self.gram.trace()

    def _filter(self, scale: float) -> arb_mat:
        raised = self.gram
        for _ in range(SQUARINGS):
            raised = raised * raised
        shift = arb(scale) ** ORDER
        shifted = raised.tolist()
        for i, entries in enumerate(shifted):
            entries[i] += shift
        return arb_mat(shifted).solve(raised)


def slack(inner: float, outer: float) -> arb:
    """1 + (inner/outer)^q: by how much a filter at one end can miss a share."""
    with ctx.workprec(BITS):
        return 1 + (arb(inner) / arb(outer)) ** ORDER


@torch.enable_grad()
def _descend(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Full-batch gradient descent."""
    parameters = list(model.parameters())
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(x), y)
        steps = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter -= RATE * step


@lru_cache(maxsize=1)
def trained_spectrum() -> TrainedSpectrum:
    """Train, round and enclose."""
    generator = torch.Generator().manual_seed(SEED)
    x, y = three_gaussians(SAMPLES, generator)
    model = perceptron(WIDTHS, nn.ReLU, generator)
    _descend(model, x, y)
    with torch.no_grad():
        for value in [x, *model.parameters()]:
            value.mul_(2.0**FRACTION_BITS).round_().div_(2.0**FRACTION_BITS)
        accuracy = float((model(x).argmax(dim=1) == y).double().mean())
    layers = [
        (layer.weight.tolist(), layer.bias.tolist()) for layer in model if hasattr(layer, "weight")
    ]
    with ctx.workprec(BITS):
        samples = labelled_samples(layers, "relu", x.tolist(), y.tolist())
        factor = arb_mat([entries for sample in samples for entries in factor_rows(sample)])
        gram = factor * factor.transpose() / SAMPLES
    middle = np.array([[float(entry.mid()) for entry in row] for row in gram.tolist()])
    return TrainedSpectrum(
        gram,
        tuple(i * CLASSES + sample.label for i, sample in enumerate(samples)),
        tuple(sample.probabilities[sample.label] for sample in samples),
        accuracy,
        tuple(np.linalg.eigvalsh(middle)[::-1].tolist()),
    )
