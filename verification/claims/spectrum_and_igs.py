"""Figure 1: few outliers and a remainder that is almost 0, and what IGS makes of such a spectrum.

One claim looks at a trained network, whose spectrum `trained_spectrum` encloses in balls.
"""

import math
import random
from itertools import pairwise

from flint import fmpq

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    fisher,
    form,
    random_matrix,
    random_pools,
    random_simplex,
    rational,
    residual,
    trace,
)
from verification.claims.trained_spectrum import SAMPLES, WIDTHS, slack, trained_spectrum


def check_truncation(label_weights: str = "model", weight: int = 0) -> str:
    """E_y[(g u)²] = uᵀFu for random u; then eigenvalues of many magnitudes, each worth 1."""
    rng = random.Random(3)
    for pool in random_pools(3, seed=3, parameters=4):
        u, expected = random_matrix(rng, 1, 4), fmpq(0)
        for jacobian, p in zip(pool.jacobians, pool.probabilities, strict=True):
            slopes = jacobian * u.transpose()
            for label, p_y in enumerate(p):
                chance = p_y if label_weights == "model" else fmpq(1, len(p))
                expected += chance * (residual(p, label) * slopes)[0, 0] ** 2 / len(pool)
        require(expected == form(u, fisher(pool), u), "E over y ∼ p of (1/N) Σ (g_i u)² = uᵀFu")
    parts, trace_parts = graded_parts(rng, 6, weight)
    share, of_trace = parts[0] / sum(parts), trace_parts[0] / sum(trace_parts)
    require(share == fmpq(1, len(parts)), "the first eigenvector's share of E[IGS] is 1/rank F")
    require(of_trace > fmpq(9, 10), "and more than 9/10 of Tr F")
    return (
        f"E[(g u)²] − uᵀFu = 0 in 3 pools; rank {len(parts)}: λ_1 is {float(of_trace):.1%} of Tr F "
        f"and {share} of E[IGS]"
    )


def graded_parts(rng: random.Random, rank: int, weight: int) -> tuple[list[fmpq], list[fmpq]]:
    """Parts of E[IGS] times λ^weight, and of Tr F, for a diagonal F over many magnitudes."""
    jacobians, predictions = [], []
    for k in range(rank):
        slopes = [rng.randint(1, 3), 0, -rng.randint(1, 3)]
        lines = [[fmpq(slope, 10**k) * (j == k) for j in range(rank)] for slope in slopes]
        jacobians.append(rational(lines))
        predictions.append(random_simplex(rng, 3))
    F = fisher(Pool(tuple(jacobians), tuple(predictions), (0,) * rank))
    require(
        F.rank() == rank and trace(F * F) == sum(F[k, k] ** 2 for k in range(rank)), "F diagonal"
    )
    values = [F[k, k] for k in range(rank)]
    parts = []
    for k, value in enumerate(values):
        energy = fmpq(0)
        for jacobian, p in zip(jacobians, predictions, strict=True):
            for label, p_y in enumerate(p):
                energy += p_y * (residual(p, label) * jacobian)[0, k] ** 2 / rank
        parts.append(energy / value * value**weight)
    return parts, values


TRUNCATION = Claim(
    name="each-eigenvector-counts-one",
    source="beyond the paper",
    statement=(
        "E_{y∼p}[(1/N) Σ_i (g_i·u_k)²/λ_k] = 1 for every λ_k > 0: the k leading eigenvectors hold "
        "exactly k of E_{y∼p}[IGS] = rank F, whatever the eigenvalues are"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "E_{y∼p}[g_iᵀg_i] = J_iᵀΛ_iJ_i, so E[(1/N) Σ (g_i·u)²] = uᵀFu for every u, and λ_k for "
        "u_k. Divided by λ_k that is 1. IGS therefore weighs directions by leverage and not by "
        "eigenvalue: a small λ_k says nothing about a small part of IGS. The check sums over the "
        "labels in exact rationals for random directions, and has eigenvalues over ten orders of "
        "magnitude, the first of which is nearly all of Tr F and one part in rank F of E[IGS]."
    ),
    check=check_truncation,
    mutations={
        "labels not from the model": {"label_weights": "uniform"},
        "directions weighed by eigenvalue": {"weight": 1},
    },
)

DECADES = range(0, 13, 2)
MOST = 0.5
SMALLEST = 1e-12


def check_figure(weight: int = 0) -> str:
    """Eigenvalues by magnitude, and both shares of those before the widest gap, in balls."""
    spectrum = trained_spectrum()
    values, classes = spectrum.estimates, WIDTHS[-1]
    outliers = max(range(1, classes + 1), key=lambda k: values[k - 1] / values[k])
    inner = math.sqrt(values[outliers - 1] * values[outliers])
    above, below = 0.99 * values[outliers - 1], 1.01 * values[outliers]
    require(
        [spectrum.count_above(t) for t in (above, inner, below)] == [outliers] * 3,
        f"{outliers} eigenvalues above the gap and none in it",
    )
    counts = [spectrum.count_above(10.0**-d) for d in DECADES]
    within = [b - a for a, b in pairwise(counts)]
    leading, leading_trace = spectrum.filtered(inner, weight)
    everything, _ = spectrum.filtered(SMALLEST, weight)
    of_igs = slack(inner, above) * leading / everything
    # Σ_{k > outliers} λ_k counts its full weight, the filter lets (λ/s)^q of it pass.
    rest = (spectrum.trace() - leading_trace) * slack(below, inner)
    of_trace = 1 - rest / spectrum.trace()
    require(of_trace > MOST, "the outliers hold most of Tr F")
    require(of_igs < MOST, "and the remainder most of IGS")
    require(min(within) > 0, "no empty pair of decades")
    pairs = ", ".join(map(str, within))
    gap = math.floor(above / below)
    return (
        f"{'-'.join(map(str, WIDTHS))}, N = {SAMPLES}: {outliers} outliers before a gap "
        f"above {gap}; λ per two decades from 1 down to {SMALLEST:.0e}: {pairs}; outliers ≥ "
        f"{math.floor(100 * float(of_trace.lower())) / 100:.0%} of Tr F, ≤ "
        f"{math.ceil(100 * float(of_igs.upper())) / 100:.0%} of IGS"
    )


FIGURE = Claim(
    name="few-outliers-and-almost-zero",
    source="Figure 1",
    statement="F of a trained network has few outliers, and the remaining eigenvalues are almost 0",
    status="measured",
    means="interval enclosure",
    argument=(
        "A sentence about trained networks at large, without a bound: one network neither proves "
        "nor refutes it. Of this one, its first half holds: at most C eigenvalues stand out, and "
        "hold most of Tr F. The second half holds on the scale of λ_1 and in no other sense: the "
        "remainder is no cluster at 0. It falls over twelve decades, no two of them empty, and "
        "since IGS weighs a direction by leverage (each-eigenvector-counts-one), leaving it out "
        "loses most of IGS. The check trains a small ReLU network on three Gaussians, rounds its "
        "weights, and goes on in balls: eigenvalues of K = AAᵀ/N are counted by the inertia of K − "
        "t I, and with s inside the gap, 1 ≤ (1 + (s/t)^q) λ^q/(λ^q + s^q) for λ ≥ t > s bounds "
        "what the outliers hold of IGS. A smaller s in the same formula bounds IGS from below, so "
        "that the share is an upper bound."
    ),
    check=check_figure,
    mutations={"directions weighed by eigenvalue": {"weight": 1}},
)

CLAIMS = (TRUNCATION, FIGURE)
