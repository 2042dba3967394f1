"""The trace of an operator that is known by its products alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.linalg.products import Product, applied, random_signs, seeded

_LEAST = 4
"""Products without which there is no standard error: one of a sketch, its image, two probes."""

_BLOCKS = 4
"""Blocks beside the sketch: signs, what they are drawn from, images, products of the two."""


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
    block: the most columns that the product is given at once; it changes nothing but rounding.

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
    basis = torch.linalg.qr(_sketch(product, generator, m, sketched, width, device)).Q
    parts = basis.split(width, dim=1)
    inside = math.fsum(float((part * applied(product, part)).sum()) for part in parts)
    outside = []
    for columns in _signs(generator, m, total - 2 * sketched, width, device):
        columns -= basis @ (basis.mT @ columns)
        outside += (columns * applied(product, columns)).sum(dim=0).tolist()
    spread = torch.tensor(outside, dtype=torch.float64)
    error = float(spread.std()) / math.sqrt(len(outside))
    return TraceEstimate(inside + float(spread.mean()), error, total)


def sketch_vectors(products: int, block: int) -> int:
    """Vectors of length m that are held: the images of the sketch, their basis, and some blocks."""
    return 2 * (products // 3) + _BLOCKS * block


def _sketch(
    product: Product,
    generator: torch.Generator,
    size: int,
    count: int,
    width: int,
    device: torch.device | str,
) -> Float64[Tensor, "m count"]:
    """A S, S random signs."""
    out = torch.empty(size, count, dtype=torch.float64, device=device)
    parts = out.split(width, dim=1)
    signs = _signs(generator, size, count, width, device)
    for part, columns in zip(parts, signs, strict=True):
        part.copy_(applied(product, columns))
    return out


def _signs(
    generator: torch.Generator, size: int, count: int, width: int, device: torch.device | str
) -> Iterator[Float64[Tensor, "m k"]]:
    """Random signs, some columns at a time, drawn one by one: the same for every width."""
    for start in range(0, count, width):
        drawn = [random_signs(generator, size, 1) for _ in range(min(width, count - start))]
        yield torch.cat(drawn, dim=1).to(device)


def _basis_trace(product: Product, size: int, width: int, device: torch.device | str) -> float:
    """Σ_i e_iᵀ A e_i."""
    entries = []
    for start in range(0, size, width):
        places = torch.arange(start, min(start + width, size), device=device)
        unit = torch.zeros(size, len(places), dtype=torch.float64, device=device)
        unit[places, places - start] = 1.0
        entries += applied(product, unit)[places, places - start].tolist()
    return math.fsum(entries)
