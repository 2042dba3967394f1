"""Lower bounds for IGS from unfinished iterates x, whatever solver they come from.

Notation of :mod:`verification.claims.matrix_free`.
"""

import itertools
import random

from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.linear_algebra import (
    dot,
    matrix,
    projector,
    pseudo_inverse,
    random_matrix,
    random_of_rank,
    zeros,
)
from verification.claims.matrix_free import (
    Signs,
    Whitened,
    mean,
    probe,
    random_whitened,
    whitened,
)

# Statement: every iterate gives a lower bound for its right-hand side, preconditioned or not.


def check_iterates(stale_residual: bool = False, sign: int = -1) -> str:
    """w − Ax of random x, of exact solutions, and of x = T y with regular and singular T."""
    draw = random.Random(17)
    count = 0
    for _ in range(5):
        data = random_whitened(draw)
        m = data.factor.ncols()
        trials = [random_matrix(draw, m, 1) for _ in range(3)] + [zeros(m, 1)]
        trials += [random_of_rank(draw, m, m, rank) * random_matrix(draw, m, 1) for rank in (m, 2)]
        trials.append(_least_squares(data, probe(data, (1, -1, 1, 1))))
        for x, z in itertools.product(trials, ((1, 1, 1, 1), (1, -1, 1, 1))):
            w, image = probe(data, z), data.factor * x
            residual = w + sign * image
            if stale_residual:
                residual = residual * fmpq(1, 2)
            bound = dot(w, w) - dot(residual, residual)
            missed = data.projector * w - image
            require(bound <= data.energy(w), "‖w‖² − ‖w − Ax‖² ≤ ‖Pw‖²")
            require(bound + dot(missed, missed) == data.energy(w), "the gap is ‖Pw − Ax‖²")
            count += 1
    return f"{count} pairs (x, w), x = Ty among them: the gap is ‖Pw − Ax‖² exactly"


def _least_squares(data: Whitened, w: fmpq_mat) -> fmpq_mat:
    """x = A⁺w, with Ax = Pw."""
    return pseudo_inverse(data.factor) * w


ITERATES = Claim(
    name="every-iterate-is-a-lower-bound",
    source="beyond the paper",
    statement="‖w‖² − ‖w − Ax‖² ≤ ‖Pw‖² for any x and w, with the gap ‖Pw − Ax‖²",
    status="proved",
    means="exact rational computation",
    argument="w − Ax = (I − P)w + (Pw − Ax), two orthogonal parts because Ax ∈ range A, so "
    "‖w − Ax‖² = ‖w‖² − ‖Pw‖² + ‖Pw − Ax‖². Nothing is asked of x: it may be an unfinished "
    "iterate, rounded, or wrong, as long as the residual is evaluated afresh; one carried along "
    "by a recurrence may be too small, and then the bound is none. The check has random x, x = 0, "
    "least-squares solutions and images of singular matrices, exactly.",
    check=check_iterates,
    mutations={
        "a recurrence's residual, half the true one": {"stale_residual": True},
        "w + Ax for the residual": {"sign": 1},
    },
)


def check_preconditioning(on_the_right: bool = True) -> str:
    draw = random.Random(23)
    tight = count = 0
    for rank in (6, 6, 3, 1, 0):
        data = random_whitened(draw)
        n, m = data.factor.nrows(), data.factor.ncols()
        size = m if on_the_right else n
        t = random_of_rank(draw, size, size, rank) if rank else zeros(size, size)
        turned = data.factor * t if on_the_right else t * data.factor
        w = probe(data, (1, -1, -1, 1))
        seen = dot(w, projector(turned) * w)
        require(seen <= data.energy(w), "max over y of the bound with A T ≤ ‖Pw‖²")
        tight += seen == data.energy(w)
        count += 1
    require(tight == 2, "an invertible T loses nothing")
    return f"{count} matrices T of ranks 6, 6, 3, 1, 0: never above ‖Pw‖², equal for rank 6"


PRECONDITIONING = Claim(
    name="right-preconditioning-keeps-the-bound",
    source="beyond the paper",
    statement="‖w‖² − ‖w − ATy‖² ≤ ‖Pw‖² for any T and y; the best y attains it if T is invertible",
    status="proved",
    means="exact rational computation",
    argument="x = Ty is one more x, so `every-iterate-is-a-lower-bound` holds for it: column "
    "scaling, K-FAC, EKFAC or a wrong T alike. Over all y the best bound is the energy of w in "
    "range(AT) ⊂ range(A), all of it if T is invertible. Preconditioning on the left, rows mixed "
    "before the norm is taken, changes the question: its least-squares energy may lie above. The "
    "check computes the best bound exactly.",
    check=check_preconditioning,
    mutations={"preconditioned on the left": {"on_the_right": False}},
)


# Statement: the better of two bounds.


def check_scaled_bound(power: int = 2, unscaled: bool = False) -> str:
    draw = random.Random(29)
    strictly = count = 0
    for _ in range(6):
        data = random_whitened(draw)
        for z in ((1, 1, 1, 1), (1, -1, 1, -1)):
            w, image = probe(data, z), data.factor * random_matrix(draw, data.factor.ncols(), 1)
            residual = w - image
            plain = dot(w, w) - dot(residual, residual)
            along, length = dot(w, image), dot(image, image)
            scaled = along**power if unscaled else along**power / length
            require(scaled <= data.energy(w), "(w·Ax)²/‖Ax‖² ≤ ‖Pw‖²")
            require(plain <= scaled, "the second bound is never below the first")
            require(scaled - plain == (along - length) ** 2 / length, "the difference")
            strictly += plain < scaled
            count += 1
    return f"{count} pairs (x, w): the second bound is the larger one, in {strictly} strictly"


SCALED = Claim(
    name="better-bound-of-an-iterate",
    source="beyond the paper",
    statement="max(ceiling − ‖w − Ax‖², (w·Ax)²/‖Ax‖²) ≤ ‖Pw‖² for a sign probe w, Ax ≠ 0",
    status="proved with a correction",
    means="exact rational computation",
    argument="(w·Ax)²/‖Ax‖² is the energy of w along the direction Ax ∈ range A, at most ‖Pw‖² by "
    "Cauchy and Schwarz; it is also the best of the first bound over all multiples of x: with a = "
    "w·Ax, b = ‖Ax‖² the first is 2a − b (‖w‖² = ceiling for a sign probe), and a²/b − (2a − b) = "
    "(a − b)²/b ≥ 0. **Correction.** The sentence corrected is 'the better of the two is now the "
    "one, now the other': the maximum is always its second member in exact arithmetic, and equals "
    "the first iff w·Ax = ‖Ax‖², as at every exact Krylov iterate; the first one only has a "
    "meaning where Ax = 0, or under rounding.",
    check=check_scaled_bound,
    mutations={
        "not divided by ‖Ax‖²": {"unscaled": True},
        "the square dropped": {"power": 1},
    },
)


# Statement: the bound of a single probe lies below IGS. Refuted.


def check_single_probe(second_label: int = 1) -> str:
    """f = (0, θx) at θ = 0, x = 1 twice: p = 1/2, A = (1/2)(1, 1)ᵀ, v = ±1 by the label."""
    residuals = matrix([[1], [1 if second_label == 1 else -1]])
    data = whitened(matrix([[fmpq(1, 2)], [fmpq(1, 2)]]), residuals)
    w = probe(data, (1, 1))
    solution = _least_squares(data, w)
    left = w - data.factor * solution
    bound = dot(w, w) - dot(left, left)
    require(bound > data.igs, "the bound of the probe is above IGS")
    other = data.energy(probe(data, (1, -1)))
    require(mean([bound, other]) == data.igs, "the mean over the probes is IGS")
    return f"IGS = {data.igs}; the probes give {bound} and {other}"


SINGLE = Claim(
    name="bound-of-a-single-probe",
    source="beyond the paper",
    statement="‖w‖² − ‖w − Ax‖² ≤ IGS for a single sign probe w",
    status="refuted",
    means="exact rational computation",
    argument="The bound holds for ‖Pw‖², whose mean over the signs is IGS: unless ‖Pw‖² is "
    "constant some probe lies above. So a lower bound for IGS from few probes is statistical; "
    "`deterministic-lower-bounds` has those that hold for certain. The check evaluates both "
    "probes of the smallest case.",
    check=check_single_probe,
    mutations={"labels for which this probe lies below": {"second_label": 0}},
    counterexample="f = (0, θx) at θ = 0, two samples x = 1 with label 1: A = (1/2, 1/2)ᵀ, v_i = "
    "e_i, IGS = 1; z = (1, 1) gives ‖Pw‖² = 2 > 1, z = (1, −1) gives 0.",
)


# Statement: deterministic lower bounds.


def hadamard(order: int) -> list[Signs]:
    """Sylvester's matrix, order a power of two: rows are orthogonal sign vectors."""
    rows: list[Signs] = [(1,)]
    while len(rows) < order:
        rows = [row + row for row in rows] + [row + tuple(-z for z in row) for row in rows]
    return rows


def check_deterministic(order: int = 4, rows_used: int = 4, samples: int = 3) -> str:
    draw = random.Random(31)
    count = 0
    for _ in range(4):
        data = random_whitened(draw, samples=samples, rank=4)
        single = [_bound(data, v, random_matrix(draw, 6, 1)) for v in data.residuals]
        require(sum(single, fmpq(0)) <= data.igs, "one right-hand side for each sample")
        table = hadamard(order)[:rows_used]
        signs = [tuple(row[i % order] for i in range(samples)) for row in table]
        probes = [probe(data, z) for z in signs]
        rough = [_bound(data, w, random_matrix(draw, 6, 1)) for w in probes]
        require(mean(rough) <= data.igs, "all rows of a Hadamard matrix, any x")
        exact = [_bound(data, w, _least_squares(data, w)) for w in probes]
        require(mean(exact) == data.igs, "all rows of a Hadamard matrix, solved")
        count += 1
    return f"{count} factors: never above IGS; solved, the {order} Hadamard probes equal it"


def _bound(data: Whitened, w: fmpq_mat, x: fmpq_mat) -> fmpq:
    residual = w - data.factor * x
    return dot(w, w) - dot(residual, residual)


DETERMINISTIC = Claim(
    name="deterministic-lower-bounds",
    source="beyond the paper",
    statement="Σ_i (‖v_i‖² − ‖v_i − Ax_i‖²) ≤ IGS, and so is the mean over all rows of a Hadamard "
    "sign matrix of order H ≥ N",
    status="proved",
    means="exact rational computation",
    argument="The first is `every-iterate-is-a-lower-bound` with w = v_i, summed. For the second "
    "the bound of probe k is at most ‖Pw_k‖² = Σ_ij z_ki z_kj v_iᵀPv_j, and (1/H) Σ_k z_ki z_kj = "
    "δ_ij for i, j ≤ N because the columns of a Hadamard matrix are orthogonal, so the mean is at "
    "most Σ_i v_iᵀPv_i = IGS, with equality if each probe is solved. Fewer rows, or an order "
    "below N, leave cross terms.",
    check=check_deterministic,
    mutations={
        "one row left out": {"rows_used": 3},
        "a matrix of order below N": {"samples": 5},
    },
)

CLAIMS = (ITERATES, PRECONDITIONING, SCALED, SINGLE, DETERMINISTIC)
