"""How the eigenvalues of a symmetric operator are spread, by stochastic Lanczos quadrature."""

import math
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import checked_integer, checked_positive
from igsref.linalg.lanczos import Decomposition
from igsref.linalg.products import Product, random_signs, seeded

_BESIDE = 6
"""Vectors beside the basis: the next one, its image, what is left of that, and their copies."""


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """Gauss quadratures of the spectral measures of some probes, of total weight 1 each.

    nodes, weights: (probes, steps). products: columns that were multiplied.
    exact: whether the probes are a basis; then the mean over them is the density itself, up to
        the degree of the quadratures, 2·steps − 1.
    """

    nodes: Float64[Tensor, "probes steps"]
    weights: Float64[Tensor, "probes steps"]
    products: int
    exact: bool

    def moment(self, degree: SupportsIndex) -> tuple[float, float]:
        """Tr(A^d)/m, d ≤ 2·steps − 1, and the standard error of the mean over the probes.

        The error is 0 where the probes are a basis and NaN for one random probe.

        Raises ValueError for a degree that the quadratures do not reach.
        """
        power, most = checked_integer("degree", degree, least=0), 2 * self.nodes.shape[1] - 1
        if power > most:
            raise ValueError(f"degree must be at most 2·steps − 1, {most}; got {power}")
        each = (self.weights * self.nodes**power).sum(dim=1)
        error = 0.0 if self.exact else math.nan
        if len(each) > 1 and not self.exact:
            error = float(each.std() / math.sqrt(len(each)))
        return float(each.mean()), error

    def smoothed(
        self, grid: Float64[Tensor, " points"], width: float
    ) -> Float64[Tensor, " points"]:
        """The density convolved with a Gaussian of standard deviation ``width``, on a grid.

        Raises ValueError unless the width is positive.
        """
        checked_positive("width", width)
        out = torch.zeros_like(grid)
        for nodes, weights in zip(self.nodes, self.weights, strict=True):
            kernel = torch.exp(-0.5 * ((grid[:, None] - nodes) / width) ** 2)
            out += kernel @ weights
        return out / (len(self.nodes) * width * math.sqrt(2 * math.pi))


def lanczos_quadrature(
    product: Product,
    size: SupportsIndex,
    *,
    probes: SupportsIndex,
    steps: SupportsIndex,
    seed: SupportsIndex = 0,
    device: torch.device | str = "cpu",
) -> SpectralDensity:
    """Stochastic Lanczos quadrature: how the eigenvalues of a symmetric operator are spread.

    For a vector z of random signs, zᵀ f(A) z/m has the mean Tr f(A)/m, and the quadrature of s
    Lanczos steps from z gives it exactly for polynomials f of degree up to 2s − 1 (Golub &
    Welsch 1969; Ubaru, Chen, Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos
    quadrature", SIAM J. Matrix Anal. Appl. 38, 2017). Reorthogonalised in full: s vectors of
    memory. Where Lanczos breaks down it goes on from a random vector, whose nodes weigh 0.

    product: V ↦ A V, float64, called with single columns (m, 1). size: m.
    probes: random vectors; with m or more of them the unit vectors are taken instead.
    steps: nodes of each quadrature, at most m.
    seed: of the random vectors; the global random states neither enter nor change.

    Raises ValueError for numbers out of range and for a product that gives another shape or
    numbers that are not finite; TypeError for other types.
    """
    m, s = checked_integer("size", size, least=1), checked_integer("steps", steps, least=1)
    count = min(checked_integer("probes", probes, least=1), m)
    if s > m:
        raise ValueError(f"steps must be at most size, {m}; got {s}")
    generator = seeded(seed)
    nodes, weights = [], []
    for probe in range(count):
        if count == m:
            start = torch.zeros(m, dtype=torch.float64)
            start[probe] = 1.0
        else:
            start = random_signs(generator, m, 1)[:, 0] / math.sqrt(m)
        # The vectors of one probe are let go before those of the next are there.
        values, vectors = torch.linalg.eigh(_projected(product, start, s, generator, device))
        nodes.append(values)
        weights.append(vectors[0].square())
    return SpectralDensity(torch.stack(nodes), torch.stack(weights), count * s, count == m)


def quadrature_vectors(steps: int) -> int:
    """Vectors of length m that are held: the basis, and what is made orthogonal to it."""
    return steps + _BESIDE


def _projected(
    product: Product,
    start: Float64[Tensor, " m"],
    steps: int,
    generator: torch.Generator,
    device: torch.device | str,
) -> Float64[Tensor, "steps steps"]:
    """The tridiagonal matrix of so many Lanczos steps."""
    space = Decomposition(len(start), steps, generator, device)
    space.next = start.to(space.rows)[None]
    for _ in range(steps):
        space.expand(product)
    return space.projected
