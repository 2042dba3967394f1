"""The rank of the Fisher matrix: independent of p, and how it is proved exactly."""

import operator
import random
from collections.abc import Callable, Sequence

import sympy
from flint import fmpq, fmpq_mat, nmod_mat

from verification.claims.claim import Claim, listed, require
from verification.claims.linear_algebra import (
    Number,
    beside,
    diagonal,
    matrix,
    null_basis,
    random_of_rank,
    total,
    zeros,
)
from verification.claims.rational_network import (
    class_differences,
    differences,
    random_inputs,
    random_network,
)

# Statement: rank A = rank D for all p > 0.


def output_metric(p: Sequence[Number], mean_factor: int = 1) -> fmpq_mat:
    """Λ = diag(p) − p pᵀ."""
    outer = matrix([[a * b for b in p] for a in p])
    return diagonal(p) - outer * mean_factor


def check_independent_of_p(mean_factor: int = 1, smallest: Number | None = None) -> str:
    determinants = [_reduced_metric_determinant(classes) for classes in (2, 3, 4)]
    require(all(d == 0 for d in determinants), "det(diag(p') − p'p'ᵀ) = p_1 ⋯ p_C")
    tiny = fmpq(1, 10**100) if smallest is None else smallest
    draw = random.Random(3)
    ranks = []
    for classes in (2, 3, 4):
        jacobians = [random_of_rank(draw, classes, 6, min(2, classes)) for _ in range(3)]
        d = differences(jacobians)
        for extreme in (fmpq(1, classes + 1), tiny):
            p = [extreme] * (classes - 1)
            p.append(1 - sum(p, fmpq(0)))
            metric = output_metric(p, mean_factor)
            fisher = total([j.transpose() * metric * j for j in jacobians])
            require(fisher.rank() == d.rank(), f"rank F = rank D, C = {classes}")
        ranks.append(d.rank())
    return (
        f"C = 2, 3, 4: determinant p_1 ⋯ p_C; ranks {listed(ranks)} of D are those of F at "
        "p = 1/(C+1) and 10^−100"
    )


def _reduced_metric_determinant(classes: int) -> sympy.Expr:
    """det(diag(p') − p'p'ᵀ) − Π p_c, with p_ref = 1 − Σ p'."""
    p = sympy.Matrix(sympy.symbols(f"p1:{classes}"))
    reference = 1 - sum(p)
    determinant = (sympy.diag(*p) - p * p.T).det(method="berkowitz")
    return sympy.expand(determinant - reference * sympy.prod(list(p)))


INDEPENDENT = Claim(
    name="rank-does-not-depend-on-p",
    source="beyond the paper",
    statement="rank F = rank A = rank D for all p > 0, D the class differences J_c − J_ref",
    status="proved",
    means="exact rational computation",
    argument="Λ1 = 0, so J_iᵀΛ_iJ_i = D_iᵀ(diag(p') − p'p'ᵀ)D_i with p' all probabilities but that "
    "of the reference class. By the matrix determinant lemma det(diag(p') − p'p'ᵀ) = Π p'_c · "
    "(1 − Σ p'_c) = p_1 ⋯ p_C > 0, and so are all leading minors: the matrix is positive definite, "
    "F = DᵀWD/N with W > 0, and Fx = 0 iff xᵀFx = 0 iff Dx = 0. Hence one kernel and one rank for "
    "all p > 0, however small; A with AᵀA = NF has it as well. The check expands the determinant "
    "and compares exact ranks with probabilities of 10^−100.",
    check=check_independent_of_p,
    mutations={
        "a probability of exactly 0": {"smallest": fmpq(0)},
        "diag(p) without − p pᵀ": {"mean_factor": 0},
    },
)


# Statement: a prime and its pivots prove rank ≥ r.

PRIMES = (2, 3, 5, 7, 2**61 - 1)


def integral(a: fmpq_mat) -> list[list[int]]:
    """Rows times the least common multiple of their denominators: the rank stays."""
    rows = []
    for row in a.tolist():
        common = 1
        for entry in row:
            common = sympy.ilcm(common, int(entry.q))
        rows.append([int(entry.p) * int(common) // int(entry.q) for entry in row])
    return rows


def rank_and_minor(rows: list[list[int]], prime: int) -> tuple[int, list[int], list[int]]:
    """Rank modulo a prime, and rows and columns of an invertible minor of that order."""
    a = nmod_mat(len(rows), len(rows[0]), [x for row in rows for x in row], prime)
    return a.rank(), _pivots(a.transpose()), _pivots(a)


def _pivots(a: nmod_mat) -> list[int]:
    reduced, rank = a.rref()
    return [next(j for j in range(a.ncols()) if int(reduced[i, j]) != 0) for i in range(rank)]


def check_modular_bound(
    relation: Callable[[int, int], bool] = operator.le, row_pivots: bool = True
) -> str:
    draw = random.Random(13)
    seen = lowered = 0
    for widths, count in (([2, 3, 3], 8), ([2, 3, 2, 3], 16)):
        for _ in range(3):
            d = class_differences(random_network(draw, widths), random_inputs(draw, count, 2))
            rows, rank = integral(d), d.rank()
            for prime in PRIMES:
                modular, row_choice, column_choice = rank_and_minor(rows, prime)
                require(relation(modular, rank), "rank mod p ≤ rank over the rationals")
                chosen = row_choice if row_pivots else list(range(modular))
                minor = matrix([[rows[i][j] for j in column_choice] for i in chosen])
                require(minor.rank() == modular, "the minor is invertible over the rationals")
                seen += 1
                lowered += modular < rank
    return f"{seen} pairs of a network and a prime: never above, below in {lowered} (small primes)"


MODULAR = Claim(
    name="rank-modulo-a-prime-is-a-lower-bound",
    source="beyond the paper",
    statement="rank (D mod q) ≤ rank D for every prime q; an invertible minor of order r mod q "
    "proves rank D ≥ r",
    status="proved",
    means="exact rational computation",
    argument="Scale rows by their common denominators: D becomes integral, its rank stays. "
    "Reduction modulo q is a homomorphism of rings, so det(minor) mod q = det(minor mod q): where "
    "the right side is not 0 the integer on the left is not 0 either. The largest such order is "
    "the rank mod q, with rows and columns given by the pivots of Dᵀ and D, hence ≤ rank D. One "
    "prime and the pivots are a proof, with no probability in it. The check has Jacobians of "
    "rational ReLU networks modulo 2, 3, 5, 7 and 2^61 − 1, and the same minors over Q.",
    check=check_modular_bound,
    mutations={
        "the inequality turned round": {"relation": operator.ge},
        "equality": {"relation": operator.eq},
        "the first r rows instead of the pivots": {"row_pivots": False},
    },
)


# Statement: a prime gives the rank. Refuted.


def check_unlucky(second: int = 2**61, prime: int = 2**61 - 1) -> str:
    """f = (0, wx + b) at two inputs: D = [[x_1, 1], [x_2, 1]], determinant x_1 − x_2."""
    require(sympy.isprime(prime), "a prime")
    require(all(float(x) == x for x in (1, second)), "inputs are floats")
    rows = [[1, 1], [second, 1]]
    rank = matrix(rows).rank()
    modular, _, _ = rank_and_minor(rows, prime)
    require(modular < rank, "the prime is unlucky")
    smallest, _, _ = rank_and_minor([[0, 1], [2, 1]], 2)
    require(smallest == 1, "so is 2 for the inputs 0 and 2")
    return f"x = 1, {second}: rank {rank}, modulo {prime}: {modular}"


UNLUCKY = Claim(
    name="one-prime-gives-the-rank",
    source="beyond the paper",
    statement="rank (D mod q) = rank D for a prime q of 60 bits or more and float64 data",
    status="refuted",
    means="exact rational computation",
    argument="An unlucky prime divides all minors of order rank D. There are finitely many for a "
    "given D, so random primes are right with a high probability, but no fixed one always is, and "
    "more primes give a probability only: that rank D ≤ r needs null vectors "
    "(`null-vectors-prove-an-upper-bound`) or a structural bound. The check has an example with "
    "the Mersenne prime of 61 bits in which all inputs are floats.",
    check=check_unlucky,
    mutations={
        "inputs whose difference it does not divide": {"second": 2**60},
        "another prime": {"prime": 2**31 - 1},
    },
    counterexample="Logits (0, wx + b) at x = 1 and x = 2^61: D = [[1, 1], [2^61, 1]] has rank 2 "
    "and determinant −(2^61 − 1), hence rank 1 modulo the prime 2^61 − 1; smallest: x = 0 and 2 "
    "modulo 2.",
)


# Statement: exact null vectors prove rank ≤ r.


def check_null_vectors(repeat: bool = False, error: Number = 0, dropped: int = 0) -> str:
    draw = random.Random(19)
    ranks = []
    for _ in range(4):
        network = random_network(draw, [2, 4, 3])
        d = class_differences(network, random_inputs(draw, 12, 2))
        left = null_basis(d.transpose())[dropped:]
        left = [left[0]] * len(left) if repeat else left
        w = beside(left).transpose()
        w[0, 0] += error
        require(w * d == zeros(w.nrows(), d.ncols()), "W D = 0")
        modular, _, _ = rank_and_minor(integral(w), PRIMES[-1])
        require(modular == w.nrows(), "the null vectors are independent, proved modulo a prime")
        lower, _, _ = rank_and_minor(integral(d), PRIMES[-1])
        upper = d.nrows() - w.nrows()
        require(lower == upper == d.rank(), "both bounds meet at the rank")
        ranks.append(upper)
    return (
        f"ranks {listed(ranks)} of {d.nrows()} rows: bounds from a prime and from null vectors meet"
    )


NULL = Claim(
    name="null-vectors-prove-an-upper-bound",
    source="beyond the paper",
    statement="n − r independent W with WD = 0 over Q prove rank D ≤ r; with a prime of rank r: "
    "rank D = r",
    status="proved",
    means="exact rational computation",
    argument="rank D = n − dim{w : wD = 0} ≤ n − (n − r) = r. That the rows of W are independent "
    "is itself proved modulo one prime (`rank-modulo-a-prime-is-a-lower-bound`), and WD = 0 is "
    "multiplied out over the rationals; how W was found (elimination, lifting) does not matter. "
    "Together with a minor of order r the rank is exact, without probability. The check certifies "
    "Jacobians of rational ReLU networks in this way.",
    check=check_null_vectors,
    mutations={
        "one null vector repeated": {"repeat": True},
        "an entry off by 2^−60": {"error": fmpq(1, 2**60)},
        "one null vector missing": {"dropped": 1},
    },
)

CLAIMS = (INDEPENDENT, MODULAR, UNLUCKY, NULL)
