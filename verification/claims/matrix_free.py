"""Random signs in data space: probes whose energy in range(A) has the mean IGS.

A (n × m) is the whitened factor, v_i ∈ R^n the whitened residual of sample i, 0 outside its rows;
P the projector onto range(A), IGS = Σ v_iᵀPv_i, ceiling = Σ ‖v_i‖².
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.linear_algebra import (
    column,
    dot,
    identity,
    projector,
    random_matrix,
    random_of_rank,
    total,
    zeros,
)

Signs = tuple[int, ...]


@dataclass(frozen=True)
class Whitened:
    """A, P and one column v_i for each sample."""

    factor: fmpq_mat
    projector: fmpq_mat
    residuals: tuple[fmpq_mat, ...]

    def energy(self, v: fmpq_mat) -> fmpq:
        """‖Pv‖²."""
        return dot(v, self.projector * v)

    @property
    def igs(self) -> fmpq:
        return sum((self.energy(v) for v in self.residuals), fmpq(0))

    @property
    def ceiling(self) -> fmpq:
        return sum((dot(v, v) for v in self.residuals), fmpq(0))


def whitened(factor: fmpq_mat, residuals: fmpq_mat) -> Whitened:
    """residuals: N × (C−1), row i the entries of v_i on the rows of sample i."""
    height = residuals.ncols()
    columns = []
    for i, row in enumerate(residuals.tolist()):
        v = zeros(factor.nrows(), 1)
        for c, entry in enumerate(row):
            v[i * height + c, 0] = entry
        columns.append(v)
    return Whitened(factor, projector(factor), tuple(columns))


def random_whitened(
    draw: random.Random, samples: int = 4, height: int = 2, parameters: int = 6, rank: int = 5
) -> Whitened:
    """Neither saturated nor of full column rank, by default."""
    factor = random_of_rank(draw, samples * height, parameters, rank)
    return whitened(factor, random_matrix(draw, samples, height))


def independent_signs(samples: int) -> Iterator[Signs]:
    """All 2^N of them."""
    return itertools.product((1, -1), repeat=samples)


def paired_signs(samples: int) -> Iterator[Signs]:
    """Random, but the first two samples always get the same one."""
    return ((z[0], z[0], *z[2:]) for z in independent_signs(samples))


def probe(data: Whitened, signs: Sequence[int]) -> fmpq_mat:
    """w = Σ_i z_i v_i."""
    return total([v * z for v, z in zip(data.residuals, signs, strict=True)])


def mean(values: Sequence[fmpq]) -> fmpq:
    return sum(values, fmpq(0)) / len(values)


# Statement: E‖Pw‖² = IGS and ‖w‖² = ceiling.


def split_by_rows(data: Whitened) -> Whitened:
    """The same vectors, each entry a vector of its own: one sign a row, no longer one a sample."""
    n = data.factor.nrows()
    whole = total(data.residuals)
    rows = [column([whole[i, 0] if i == j else 0 for i in range(n)]) for j in range(n)]
    return Whitened(data.factor, data.projector, tuple(rows))


def check_unbiased(
    signs: Callable[[int], Iterator[Signs]] = independent_signs, one_per_row: bool = False
) -> str:
    count = 0
    for seed in range(3):
        data = random_whitened(random.Random(seed))
        probed = split_by_rows(data) if one_per_row else data
        probes = [probe(probed, z) for z in signs(len(probed.residuals))]
        require(mean([data.energy(w) for w in probes]) == data.igs, "E‖Pw‖² = IGS")
        require(all(dot(w, w) == data.ceiling for w in probes), "‖w‖² = ceiling")
        require(data.igs < data.ceiling, "an unsaturated case")
        count += len(probes)
    return f"3 factors of rank 5 in 8 rows, all {count} sign vectors: both means exact"


UNBIASED = Claim(
    name="sign-probes-are-unbiased",
    source="beyond the paper",
    statement="w = Σ_i z_i v_i with independent random signs z_i: E‖Pw‖² = IGS; ‖w‖² = ceiling",
    status="proved",
    means="exact rational computation",
    argument="‖Pw‖² = Σ_ij z_i z_j v_iᵀPv_j and E z_i z_j = δ_ij, so E‖Pw‖² = Σ_i v_iᵀPv_i = IGS. "
    "The v_i live on the rows of different samples and are orthogonal, so ‖w‖² = Σ z_i²‖v_i‖² = "
    "ceiling for every sign vector, not only in the mean. One sign a sample, not one a row: "
    "within a sample z_i must be constant, or v_iᵀPv_i loses its cross terms. The check averages "
    "over all 2^N sign vectors exactly.",
    check=check_unbiased,
    mutations={
        "one sign for each row": {"one_per_row": True},
        "two samples share their sign": {"signs": paired_signs},
    },
)


# Statement: the variance of a probe.


def check_variance(factor: int = 2, power: int = 2, diagonal_too: bool = False) -> str:
    variances = []
    for seed, rank in ((0, 5), (1, 4), (2, 8)):
        data = random_whitened(random.Random(seed), parameters=9, rank=rank)
        outside = identity(data.factor.nrows()) - data.projector
        deficits = [
            data.ceiling - data.energy(probe(data, z))
            for z in independent_signs(len(data.residuals))
        ]
        expected = mean(deficits)
        require(expected == data.ceiling - data.igs, "E deficit = ceiling − IGS")
        variance = mean([(d - expected) ** 2 for d in deficits])
        cross = [
            dot(v, outside * u) ** power
            for i, v in enumerate(data.residuals)
            for j, u in enumerate(data.residuals)
            if diagonal_too or i != j
        ]
        require(variance == factor * sum(cross, fmpq(0)), "Var = 2 Σ_{i≠j} (v_iᵀ(I−P)v_j)²")
        variances.append(variance)
    require(variances[-1] == 0, "no variance once saturated")
    return (
        f"16 sign vectors each, ranks 5, 4, 8 of 8 rows: variances {_short(variances)}, as the "
        "formula, exactly"
    )


def _short(values: Sequence[fmpq]) -> str:
    return ", ".join(f"{float(v.p) / float(v.q):.4g}" for v in values)


VARIANCE = Claim(
    name="variance-of-a-sign-probe",
    source="beyond the paper",
    statement="Var(‖w‖² − ‖Pw‖²) = 2 Σ_{i≠j} (v_iᵀ(I−P)v_j)²: zero once saturated",
    status="proved",
    means="exact rational computation",
    argument="With Q = I − P the deficit is Σ_ij z_i z_j q_ij, q_ij = v_iᵀQv_j; its random part is "
    "2 Σ_{i<j} z_i z_j q_ij. The products z_i z_j, i < j, are uncorrelated and of variance 1 "
    "(E z_i z_j z_k z_l = 1 only if the pairs are the same), so the variance is 4 Σ_{i<j} q_ij² = "
    "2 Σ_{i≠j} q_ij². Since ‖w‖² is constant it is the variance of ‖Pw‖² as well, and q_ij = 0 "
    "when Qv_j = 0. The check enumerates the distribution.",
    check=check_variance,
    mutations={
        "the factor 2 dropped": {"factor": 1},
        "the square dropped": {"power": 1},
        "the diagonal counted": {"diagonal_too": True},
    },
)

CLAIMS = (UNBIASED, VARIANCE)
