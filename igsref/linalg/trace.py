"""The trace of an operator that is known by its products alone."""

import math
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.linalg.products import Product, applied, random_signs, seeded

_LEAST = 4
"""Products without which there is no standard error: one of a sketch, its image, two probes."""


@dataclass(frozen=True)
class TraceEstimate:
    """value ± standard_error, from that many products (columns)."""

    value: float
    standard_error: float
    products: int


def trace_estimate(
    product: Product,
    size: SupportsIndex,
    *,
    products: SupportsIndex,
    seed: SupportsIndex = 0,
    block: SupportsIndex = 1,
    device: torch.device | str = "cpu",
) -> TraceEstimate:
    """Tr A by Hutch++ (Meyer, Musco, Musco, Woodruff, SOSA 2021): unbiased, for any square A.

    With Q an orthonormal basis of A S, S random signs, and P = I − QQᵀ,

        Tr A = Tr QᵀAQ + Tr PAP,

    the first exactly and the second as a mean of zᵀPAPz over further random signs z: a third of
    the products each. Directions of large eigenvalues are in Q, so that for a symmetric
    semi-definite A the error falls like Tr A/products; if the rank is at most products/3 there is
    no error but rounding.

    standard_error is the sample standard deviation of the zᵀPAPz over the square root of their
    number. Given Q these are independent and their mean is Tr PAP, so its square is an unbiased
    estimate of the variance of value − Tr A. The variance estimate is itself rough where the
    probes are few (products/3), and the error of the value is not Gaussian then. It knows nothing
    of rounding.

    (XTrace, Epperly, Tropp, Webber 2024, has smaller errors from as many products, but its
    estimates are not independent of each other, and their spread is no such estimate.)

    product: V ↦ A V, (m, block) to (m, block), float64 on the device. size: m.
    products: at least 4. With m or more of them the unit vectors are taken instead: m products,
        the trace itself, and a standard error of 0.
    seed: of the random signs; the global random states neither enter nor change.
    block: the most columns that the product is given at once. Memory is products/3 vectors more.

    Raises ValueError for numbers out of range and for a product that gives another shape or
    numbers that are not finite; TypeError for other types.

    >>> trace_estimate(lambda V: 2.0 * V, 3, products=3)
    TraceEstimate(value=6.0, standard_error=0.0, products=3)
    """
    m, width = checked_integer("size", size, least=1), checked_integer("block", block, least=1)
    total = checked_integer("products", products, least=min(_LEAST, m))
    generator = seeded(seed)
    if total >= m:
        return TraceEstimate(_basis_trace(product, m, width, device), 0.0, m)
    sketched = total // 3
    signs = random_signs(generator, m, sketched).to(device)
    basis = torch.linalg.qr(_images(product, signs, width)).Q
    inside = float((basis * _images(product, basis, width)).sum())
    probes = random_signs(generator, m, total - 2 * sketched).to(device)
    probes -= basis @ (basis.mT @ probes)
    outside = (probes * _images(product, probes, width)).sum(dim=0)
    error = float(outside.std()) / math.sqrt(len(outside))
    return TraceEstimate(inside + float(outside.mean()), error, total)


def _basis_trace(product: Product, size: int, width: int, device: torch.device | str) -> float:
    """Σ_i e_iᵀ A e_i."""
    entries = []
    for start in range(0, size, width):
        places = torch.arange(start, min(start + width, size), device=device)
        unit = torch.zeros(size, len(places), dtype=torch.float64, device=device)
        unit[places, places - start] = 1.0
        entries += applied(product, unit)[places, places - start].tolist()
    return math.fsum(entries)


def _images(
    product: Product, columns: Float64[Tensor, "m k"], width: int
) -> Float64[Tensor, "m k"]:
    """A V, some columns at a time."""
    return torch.cat([applied(product, part) for part in columns.split(width, dim=1)], dim=1)
