"""The exact rank of a symmetric positive semidefinite rational matrix, with a certificate.

    rank ≥ r    a prime p and pivots P, |P| = r, with det K_PP ≠ 0 modulo p: a determinant that
                is not 0 modulo p is not 0.
    rank ≤ r    n − r null vectors w_q = e_q − Σ_P y_P e_P, q outside P, K w_q = 0 exactly (they are
                independent, since each has a coordinate that no other has); or a bound on the rank
                that is known from structure.

Of K = D Dᵀ: K w = 0 means ‖wᵀD‖² = 0, so these are exact relations between the rows of D. The
null vectors come by Dixon's p-adic lifting from K_PP y = K_Pq.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat, fmpz, nmod_mat

from igsref.arguments import described
from igsref.exact.arithmetic import RATIONALS, Array

_FIRST_PRIME = 2**62 + 135
_MOST_PRIMES = 8
_SECONDS_PER_NULL_BIT = 1e-8


class RankError(ArithmeticError):
    """No prime that was tried gave a certificate."""


@dataclass(frozen=True, eq=False, repr=False)
class RankCertificate:
    """Why a matrix has exactly this rank; :meth:`holds` checks it again.

    prime, pivots: K_PP is nonsingular modulo the prime. null: (n − rank, n) rationals, or None
    where ``known`` bounds the rank from above. known: a bound known from elsewhere, or None.

    >>> certified_rank(RATIONALS.zeros(2, 2))
    RankCertificate(rank 0: prime 4611686018427388073, 0 pivots, 2 null vectors)
    """

    prime: int
    pivots: tuple[int, ...]
    null: Array | None
    known: int | None

    @property
    def rank(self) -> int:
        """The exact rank."""
        return len(self.pivots)

    def __repr__(self) -> str:
        above = f"known bound {self.known}"
        if self.null is not None:
            above = f"{len(self.null)} null vectors"
        lower = f"prime {self.prime}, {len(self.pivots)} pivots"
        return f"{type(self).__name__}(rank {self.rank}: {lower}, {above})"

    def holds(self, gram: Array) -> bool:
        """Check all of it against the matrix, (n, n) rationals; the known bound is believed.

        Raises TypeError for anything but a square numpy array of ``flint.fmpq``.
        """
        _check_rationals(gram)
        pivots = list(self.pivots)
        if any(not 0 <= pivot < len(gram) for pivot in pivots):
            return False
        principal = gram[pivots][:, pivots]
        if not fmpz(self.prime).is_prime():  # FLINT would end the process
            return False
        if _reduced(principal, self.prime).rank() != len(pivots):
            return False
        if self.null is None:
            return self.known == self.rank
        if self.null.shape != (len(gram) - self.rank, len(gram)) or not len(self.null):
            return self.rank == len(gram)
        independent = fmpq_mat(self.null.tolist()).rank() == len(self.null)
        return independent and not RATIONALS.matmul(self.null, gram).any()


def _check_rationals(gram: Any) -> None:
    expected = "the (n, n) rationals of igsref.exact_gram(model, data)"
    if not isinstance(gram, np.ndarray):
        raise TypeError(f"gram must be {expected}; got {described(gram)}")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.dtype != object:
        raise TypeError(f"gram must be {expected}; got shape {gram.shape} and {gram.dtype}")
    for entry in gram.flat:
        if not isinstance(entry, fmpq):
            raise TypeError(f"gram must be {expected}; got {described(entry)} in it")


def lower_rank(gram: Array, prime: int) -> tuple[int, ...]:
    """Pivots modulo a prime, (n, n) rationals: their number is at most the exact rank.

    Columns P that span all columns of a symmetric matrix modulo p have K = XᵀK_PP X there, so
    K_PP has the full rank |P|.
    """
    echelon, rank = _reduced(gram, prime).rref()
    pivots, row = [], 0
    for column in range(echelon.ncols()):
        if row < rank and int(echelon[row, column]) != 0:
            pivots.append(column)
            row += 1
    return tuple(pivots)


def certified_rank(gram: Array, known: int | None = None) -> RankCertificate:
    """The exact rank of K = D Dᵀ, (n, n) rationals.

    known: an upper bound on the rank that is proven elsewhere; where it is met, no null vectors
    are needed, and they cost the most.
    Raises RankError where every prime tried divides some minor: of 2⁶² that is no chance event.
    """
    certificate = affordable_rank(gram, known, math.inf)
    assert certificate is not None  # nothing is too much
    return certificate


def affordable_rank(gram: Array, known: int | None, seconds: float) -> RankCertificate | None:
    """The same where null vectors are predicted to take no more than that; else None."""
    prime = _FIRST_PRIME
    for _ in range(_MOST_PRIMES):
        prime = _next_prime(prime)
        pivots = lower_rank(gram, prime)
        if known is not None and len(pivots) == known:
            return RankCertificate(prime, pivots, None, known)
        if null_seconds(len(pivots), len(gram) - len(pivots), _bits(gram)) > seconds:
            return None
        null = null_vectors(gram, pivots)
        if not RATIONALS.matmul(null, gram).any():
            return RankCertificate(prime, pivots, null, None)
    raise RankError(f"{_MOST_PRIMES} primes gave no certificate of the rank")


def null_vectors(gram: Array, pivots: tuple[int, ...]) -> Array:
    """w_q = e_q − Σ_P y_P e_P with K_PP y = K_Pq for each q outside P, (n − r, n) rationals."""
    n, chosen = len(gram), list(pivots)
    others = [q for q in range(n) if q not in set(pivots)]
    null = RATIONALS.zeros(len(others), n)
    for row, q in enumerate(others):
        null[row, q] = fmpq(1)
    if chosen and others:
        square = fmpq_mat(gram[chosen][:, chosen].tolist())
        border = fmpq_mat(gram[chosen][:, others].tolist())
        # All at once: what lifting takes hardly depends on how many columns there are.
        solved = square.solve(border, algorithm="dixon")  # type: ignore[call-arg]  # stubs lag
        null[:, chosen] = [[-entry for entry in column] for column in solved.transpose().tolist()]
    return null


def null_seconds(rank: int, count: int, bits: int) -> float:
    """A guess, from sizes: ``count`` null vectors beside so many pivots, entries of so many bits.

    Seconds of one core, to within a factor of five: the vectors' heights are not known beforehand.
    """
    return _SECONDS_PER_NULL_BIT * rank**2 * count * bits


def _bits(gram: Array) -> int:
    return max((int(entry.p).bit_length() for entry in gram.diagonal()), default=0)


def _next_prime(above: int) -> int:
    candidate = above + 2
    while not fmpz(candidate).is_prime():
        candidate += 2
    return candidate


def _reduced(matrix: Array, prime: int) -> nmod_mat:
    """An integer multiple of a rational matrix, modulo a prime: of no larger rank, if of any."""
    rows, columns = matrix.shape
    numerators, _ = fmpq_mat(rows, columns, matrix.ravel().tolist()).numer_denom()
    return nmod_mat(numerators, prime)
