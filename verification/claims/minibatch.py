"""Equation (7): IGS_b in closed form, its extremes, its order, and epochs cut into batches."""

import itertools
from collections.abc import Callable, Iterable, Sequence

from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    fisher,
    form,
    gradients,
    identity,
    igs,
    pseudo_inverse,
    random_pools,
    rational,
    trace,
    whitened_gram,
)
from verification.oracle import batches_with_replacement, batches_without_replacement

LARGEST_POOL = 5
Batches = Callable[[int, int], Iterable[Sequence[int]]]

# IGS_b is linear in the matrix Q of all g_i F⁺ g_jᵀ: IGS_b = ⟨K, Q⟩ with K = E_B[1_B 1_Bᵀ]/b².
# IGS has K = I/N and G has K = 11ᵀ/N². An identity between such K holds for every F and g.


def kernel(batches: Iterable[Sequence[int]], count: int) -> fmpq_mat:
    """The mean of 1_B 1_Bᵀ/|B|² over the listed batches, indices with their multiplicity."""
    total, listed = fmpq_mat(count, count), 0
    for batch in batches:
        shares = rational([[fmpq(list(batch).count(i), len(batch)) for i in range(count)]])
        total, listed = total + shares.transpose() * shares, listed + 1
    return total / listed


def igs_kernel(count: int) -> fmpq_mat:
    return identity(count) / count


def full_batch_kernel(count: int) -> fmpq_mat:
    return rational([[fmpq(1, count**2)] * count] * count)


def paired(weights: fmpq_mat, gram: fmpq_mat) -> fmpq:
    """⟨K, Q⟩ = tr(KᵀQ)."""
    return trace(weights.transpose() * gram)


def brute_force(pool: Pool, size: int, batches: Batches) -> fmpq:
    """E_B[ḡ_B F⁺ ḡ_Bᵀ] over all batches, from the definition of ḡ_B."""
    rows, inverse = gradients(pool), pseudo_inverse(fisher(pool))
    values = []
    for batch in batches(len(pool), size):
        first, *others = (rows[i] for i in batch)
        mean = sum(others, first) / size
        values.append(form(mean, inverse, mean))
    return sum(values, fmpq(0)) / len(values)


def require_closed_form(
    batches: Batches, share: Callable[[int, int], fmpq], sizes: Callable[[int], range]
) -> str:
    """K of the batches = share · K(IGS) + (1 − share) · K(G), for all N, b; then on pools."""
    cases = 0
    for count in range(1, LARGEST_POOL + 1):
        for size in sizes(count):
            part = share(count, size)
            combined = part * igs_kernel(count) + (1 - part) * full_batch_kernel(count)
            listed = kernel(batches(count, size), count)
            require(listed == combined, f"the closed form at N = {count}, b = {size}")
            cases += 1
    instances = 0
    for pool in random_pools(5, samples=4):
        full = paired(full_batch_kernel(4), whitened_gram(pool))
        for size in sizes(4):
            part = share(4, size)
            value = part * igs(pool) + (1 - part) * full
            require(brute_force(pool, size, batches) == value, f"IGS_b of a pool, b = {size}")
            instances += 1
    return f"{cases} pairs (N, b), N ≤ {LARGEST_POOL}, for every F; {instances} values of pools"


# The two closed forms.


def check_with_replacement(exponent: int = 1, distinct: bool = False) -> str:
    """All N^b batches of independent draws."""
    batches = batches_without_replacement if distinct else batches_with_replacement

    def sizes(count: int) -> range:
        return range(1, (count if distinct else 4) + 1)

    return require_closed_form(batches, lambda count, size: fmpq(1, size**exponent), sizes)


WITH = Claim(
    name="igs-b-with-replacement",
    source="(7), Appendix C",
    statement="With replacement: IGS_b = IGS/b + (1 − 1/b) G, G = ḡ F⁺ ḡᵀ the full-batch form",
    status="proved",
    means="exact rational computation",
    argument=(
        "b² ḡ_B F⁺ ḡ_Bᵀ is a sum over pairs of draws. The b pairs of a draw with itself have mean "
        "IGS each, the b(b − 1) pairs of two independent draws have mean ḡF⁺ḡᵀ = G. Dividing by b² "
        "gives the formula. Both sides are linear in the matrix of all g_i F⁺ g_jᵀ, so the check "
        "compares their coefficients over all N^b batches, which holds for every F and every "
        "network, and then evaluates the definition on exact pools."
    ),
    check=check_with_replacement,
    mutations={
        "1/b² in the place of 1/b": {"exponent": 2},
        "batches without replacement": {"distinct": True},
    },
)


def check_without_replacement(correction: int = 1, repeated: bool = False) -> str:
    """All (N choose b) subsets; N = 1 has the single batch of one sample."""
    batches = batches_with_replacement if repeated else batches_without_replacement

    def share(count: int, size: int) -> fmpq:
        others = count - correction
        return fmpq(count - size, size * others) if count > 1 else fmpq(1)

    return require_closed_form(batches, share, lambda count: range(1, count + 1))


WITHOUT = Claim(
    name="igs-b-without-replacement",
    source="(7), Appendix C",
    statement=(
        "Without replacement, N > 1: IGS_b = IGS (N − b)/(b(N − 1)) + G N(b − 1)/(b(N − 1)); N = "
        "1: IGS"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "Again b pairs of a draw with itself, of mean IGS. The other b(b − 1) pairs are uniform "
        "over the N(N − 1) ordered pairs i ≠ j, of mean (N²G − N·IGS)/(N(N − 1)). So IGS_b = IGS "
        "[1/b − (b − 1)/(b(N − 1))] + G N(b − 1)/(b(N − 1)), and the bracket is (N − b)/(b(N − "
        "1)). The two weights sum to 1. The check compares coefficients over all subsets, then the "
        "definition on pools."
    ),
    check=check_without_replacement,
    mutations={
        "N in the place of N − 1": {"correction": 0},
        "batches with replacement": {"repeated": True},
    },
)


# Extremes.


def check_extremes(smallest: int = 1, swapped: bool = False) -> str:
    """b = 1 gives IGS, b = N without replacement G, N = 1 IGS = G."""
    cases = 0
    for count in range(1, LARGEST_POOL + 1):
        largest = batches_with_replacement if swapped else batches_without_replacement
        for batches in (batches_with_replacement, batches_without_replacement):
            if smallest <= count:
                single = kernel(batches(count, smallest), count)
                require(single == igs_kernel(count), "IGS_1 = IGS")
        require(kernel(largest(count, count), count) == full_batch_kernel(count), "IGS_N = G")
        cases += 1
    require(igs_kernel(1) == full_batch_kernel(1), "N = 1: IGS = G")
    repeated = [kernel(batches_with_replacement(1, size), 1) for size in range(1, 5)]
    require(all(k == igs_kernel(1) for k in repeated), "N = 1: IGS_b = IGS for every b")
    return f"N = 1 to {cases}, for every F: IGS_1 = IGS, IGS_N = G; N = 1: IGS_b = IGS"


EXTREMES = Claim(
    name="igs-b-extremes",
    source="(7), Appendix C",
    statement="IGS_1 = IGS; without replacement IGS_N = G; for N = 1 all are IGS = G",
    status="proved",
    means="exact rational computation",
    argument=(
        "One draw has no other: the weight of G is 0 in both closed forms at b = 1. At b = N "
        "without replacement the weight (N − b)/(b(N − 1)) of IGS is 0; with replacement it is "
        "1/N, and IGS_N > G unless all g_i agree. For N = 1 there is one gradient, IGS = G, and "
        "the form without replacement, 0/0 there, has the value IGS. The check compares "
        "coefficients."
    ),
    check=check_extremes,
    mutations={
        "b = 2 in the place of 1": {"smallest": 2},
        "b = N with replacement": {"swapped": True},
    },
)


# Order in b.


def is_positive_semidefinite(matrix: fmpq_mat) -> bool:
    """By exact elimination: pivots ≥ 0, and a zero pivot only with a zero row."""
    rows = matrix.tolist()
    for k in range(len(rows)):
        pivot = rows[k][k]
        if pivot < 0 or (pivot == 0 and any(entry != 0 for entry in rows[k][k:])):
            return False
        for i in range(k + 1, len(rows)):
            factor = rows[i][k] / pivot if pivot != 0 else fmpq(0)
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return True


def check_order(direction: int = 1, null_vectors: int = 1) -> str:
    """K(IGS_b) − K(IGS_{b+1}) ≥ 0 of rank N − 1, K(with) − K(without) ≥ 0."""
    steps = 0
    for count in range(2, LARGEST_POOL + 1):
        ways = (batches_with_replacement, batches_without_replacement)
        chains = [[kernel(way(count, b), count) for b in range(1, count + 1)] for way in ways]
        for chain in chains:
            for above, below in itertools.pairwise(chain):
                step = direction * (above - below)
                require(is_positive_semidefinite(step), "IGS_b falls with b")
                require(step.rank() == count - null_vectors, "strictly, unless all g_i agree")
                steps += 1
            least = chain[-1] - full_batch_kernel(count)
            require(is_positive_semidefinite(least), "IGS_N ≥ G")
        for with_, without in zip(*chains, strict=True):
            require(is_positive_semidefinite(with_ - without), "without is not above with")
            steps += 1
    return f"{steps} differences for N ≤ {LARGEST_POOL}, all positive semidefinite, for every F"


ORDER = Claim(
    name="igs-b-falls-with-b",
    source="(7), Appendix C",
    statement=(
        "IGS = IGS_1 ≥ IGS_b ≥ IGS_{b+1} ≥ G, IGS_b without replacement ≤ with; the step b → b + 1 "
        "is strict unless all g_i agree"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "With z_i = F^{+/2} g_iᵀ one has IGS − G = (1/N) Σ ‖z_i − z̄‖² ≥ 0, zero only if all z_i, "
        "and so all g_i, agree. Both closed forms are G + s(IGS − G) with s = 1/b or s = (N/b − "
        "1)/(N − 1), both strictly falling from 1 at b = 1, the second to 0 at b = N. And (N − "
        "b)/(b(N − 1)) ≤ 1/b since N − b ≤ N − 1. So smaller batches, the m of m-sharpness, always "
        "give the larger measure, and IGS is the largest. The check shows that the differences of "
        "the coefficient matrices are positive semidefinite, which is the order for every F, and "
        "that steps in b have rank N − 1, the null vector 1 being the case of equal gradients."
    ),
    check=check_order,
    mutations={
        "rising with b": {"direction": -1},
        "strict even if all g_i agree": {"null_vectors": 0},
    },
)


# Epochs.


def epochs(count: int, size: int, *, drop_last: bool = False) -> list[list[tuple[int, ...]]]:
    """Every permutation of the samples cut into batches; the last one shorter, or dropped."""
    stop = count - count % size if drop_last else count
    return [
        [order[start : start + size] for start in range(0, stop, size)]
        for order in itertools.permutations(range(count))
    ]


def epoch_kernel(count: int, size: int, *, drop_last: bool = False) -> fmpq_mat:
    """The expected mean over the batches of one epoch."""
    means = [kernel(batches, count) for batches in epochs(count, size, drop_last=drop_last)]
    return sum(means[1:], means[0]) / len(means)


def single_gradient_pool(count: int) -> Pool:
    """C = 2, one parameter that moves the first sample alone, with g₁ F⁺ g₁ᵀ = 1."""
    moved, still = rational([[0], [1]]), rational([[0], [0]])
    p = (fmpq(1, count + 1), fmpq(count, count + 1))
    return Pool((moved, *[still] * (count - 1)), (p,) * count, (1,) * count)


def check_epoch(count: int = 3, size: int = 2, drop_last: bool = False) -> str:
    """Epochs of N = 3 cut by 2 are not 'without'; N = 2, 3 and 4 cut by a divisor are."""
    for total in (2, 3, 4):
        for divisor in (b for b in range(1, total + 1) if total % b == 0):
            listed = kernel(batches_without_replacement(total, divisor), total)
            require(epoch_kernel(total, divisor) == listed, "equal where b divides N")
    gram = whitened_gram(single_gradient_pool(count))
    subsets = paired(kernel(batches_without_replacement(count, size), count), gram)
    epoch = paired(epoch_kernel(count, size, drop_last=drop_last), gram)
    require(epoch > subsets, "the expected mean over the epoch is larger")
    mixed = count // size * subsets + igs(single_gradient_pool(count))
    require(epoch == mixed / (count // size + 1), "(⌊N/b⌋ IGS_b + IGS_1)/⌈N/b⌉ for a rest of 1")
    return f"N = {count}, b = {size}: {epoch} over epochs, {subsets} over subsets"


EPOCH = Claim(
    name="epoch-equals-without-replacement",
    source="beyond the paper",
    statement="The mean over the batches of a shuffled epoch has the expected value 'without'",
    status="refuted",
    means="exact rational computation",
    argument=(
        "True if b divides N: each batch of a shuffled epoch is then a uniform subset of size b. "
        "It is also true if the shorter last batch is dropped. If it is kept and each batch counts "
        "once, ⌊N/b⌋ batches have the mean IGS_b and one has IGS_r, r = N mod b < b, which is "
        "larger unless IGS = G. The expected mean is (⌊N/b⌋ IGS_b + IGS_r)/⌈N/b⌉ > IGS_b. The "
        "smallest case is N = 3, b = 2. The check lists all permutations, and compares "
        "coefficients."
    ),
    check=check_epoch,
    mutations={
        "b divides N": {"count": 4},
        "the last batch dropped": {"drop_last": True},
    },
    counterexample=(
        "N = 3, b = 2, C = 2, m = 1, p = (1/4, 3/4), y = 2, J₁ = (0, 1)ᵀ and J₂ = J₃ = 0, so that "
        "g₁F⁺g₁ᵀ = 1, g₂ = g₃ = 0: IGS = 1/3, IGS_2 = 1/6 over subsets, and (1/6 + 1/3)/2 = 1/4 "
        "over epochs."
    ),
)

CLAIMS: tuple[Claim, ...] = (WITH, WITHOUT, EXTREMES, ORDER, EPOCH)
