"""Enclosures for exact outputs: outwards, in order, and wide enough for every metric allowed."""

from types import SimpleNamespace
from unittest.mock import Mock

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.geometry.geometry import Geometry
from igsref.likelihoods.protocol import OutputError
from igsref.linalg.bracket import Bracket
from igsref.measures.outputs import ceiling_end, enclose
from igsref.problem import Problem
from tests.linalg.exact import doubles
from tests.strategies import SEEDS, gaussian

INF = float("inf")
SIZES = st.floats(0, 2.0**40, allow_subnormal=False)
SMALL = st.one_of(st.just(0.0), st.floats(1e-18, 0.9))
WEIGHTS = st.sampled_from([1.0, 1.5, 7 / 3, 1e3])


def geometry(*, weight=1.0, grade="verified", multiplicity=(1,)):
    """What is asked of a geometry here, and no more."""
    found = Mock(spec=Geometry)
    found.problem = Mock(spec=Problem)
    found.problem.weight = weight
    found.problem.multiplicity.return_value = torch.tensor(multiplicity, dtype=torch.int64)
    found.certificate = SimpleNamespace(grade=grade)
    return found


def outputs(residual, metric):
    return OutputError(doubles(residual), doubles(metric))


@st.composite
def cases(draw):
    """(bracket, value in it, errors of two samples)."""
    lower, value, upper = sorted(draw(st.lists(SIZES, min_size=3, max_size=3)))
    shift = st.one_of(SMALL, SIZES)
    residual = draw(st.lists(shift, min_size=2, max_size=2))
    metric = draw(st.lists(SMALL, min_size=2, max_size=2))
    return Bracket(lower, upper, upper), value, outputs(residual, metric)


def exact_ends(inside, found, weight):
    """w (√lower − d)₊²/(1 + η) and w (√upper + d)²/(1 − η)."""
    shift = mpmath.sqrt(mpmath.fsum(mpmath.mpf(v) ** 2 for v in found.residual.tolist()))
    metric, weight = mpmath.mpf(float(found.metric.max())), mpmath.mpf(weight)
    low = max(mpmath.mpf(0), mpmath.sqrt(inside.lower) - shift)
    return (
        weight * low**2 / (1 + metric),
        weight * (mpmath.sqrt(inside.upper) + shift) ** 2 / (1 - metric),
    )


@given(case=cases(), weight=WEIGHTS)
def test_ends_are_those_of_the_formula_rounded_outwards(case, weight):
    inside, value, found = case
    enclosure = enclose(geometry(weight=weight), value, inside, found)
    with mpmath.workdps(50):
        lower, upper = exact_ends(inside, found, weight)
        assert enclosure.lower <= lower
        assert upper <= enclosure.upper
        # And by little: √lower − d may cancel, which costs its share of √lower.
        assert enclosure.upper <= upper * (1 + 2.0**-40)
        lost = 2.0**-40 * mpmath.sqrt(inside.lower) * mpmath.sqrt(lower * weight)
        assert enclosure.lower >= lower * (1 - 2.0**-40) - lost


@given(case=cases(), weight=WEIGHTS, grade=st.sampled_from(["estimated", "verified"]))
def test_a_value_of_the_bracket_stays_and_any_other_is_brought_inside(case, weight, grade):
    inside, value, found = case
    space = geometry(weight=weight, grade=grade)
    enclosure = enclose(space, value, inside, found)
    assert enclosure.value == weight * value or enclosure.value == enclosure.upper
    assert enclosure.grade == grade
    for outside, end in ((-1.0, "lower"), (2.0**80, "upper")):
        moved = enclose(space, outside, inside, found)
        if enclosure.upper < 2.0**80:
            assert moved.value == getattr(moved, end)


@given(
    seed=SEEDS,
    metric=st.sampled_from([0.0, 1e-3, 0.5]),
    shift=st.sampled_from([0.0, 1e-3, 1.0]),
    up=st.booleans(),
)
def test_an_enclosure_holds_for_every_metric_and_residual_within_the_error(seed, metric, shift, up):
    # Two samples of two rows, A = Lᵀ D with L = I: an energy is vᵀ D (DᵀΛD)⁻¹ Dᵀ v.
    D, v = gaussian(seed, 4, 2), gaussian(seed + 1, 4)
    sign = 1.0 if up else -1.0
    turned = torch.linalg.qr(gaussian(seed + 2, 2, 2, 2)).Q
    stretch = 1 - sign * metric * doubles([[1.0, 0.3], [0.9, 1.0]])
    Lam = torch.block_diag(*(turned * stretch[:, None] @ turned.mT))
    inside = float(torch.linalg.qr(D).Q.mT.mv(v).square().sum())
    # The worst move: along Pv, up or down.
    along = D @ torch.linalg.lstsq(D, v).solution
    move = sign * shift * along / along.norm()
    z = D.mT @ (v + move)
    truth = float(z @ torch.linalg.solve(D.mT @ Lam @ D, z))
    residual = move.view(2, 2).norm(dim=1)
    found = OutputError(residual, doubles([metric, 0.9 * metric]))
    enclosure = enclose(geometry(), inside, Bracket(inside, inside, inside), found)
    # The truth is computed in doubles, of small random matrices.
    assert enclosure.lower * (1 - 1e-9) - 1e-12 <= truth <= enclosure.upper * (1 + 1e-9) + 1e-12


def test_a_stretched_metric_and_a_shift_along_the_range_reach_both_ends():
    # One number: v = 3, A = 1. Λ = 1 ∓ ½ and v ± 1 give 4²/½ and 2²/(3/2).
    enclosure = enclose(geometry(), 9.0, Bracket(9.0, 9.0, 9.0), outputs([1.0], [0.5]))
    assert enclosure.upper == pytest.approx(32, rel=1e-13)
    assert enclosure.lower == pytest.approx(8 / 3, rel=1e-13)


@pytest.mark.parametrize("metric", [1.0, 3.0, INF])
def test_a_metric_that_may_vanish_leaves_the_upper_end_open(metric):
    found = outputs([0.0, 0.0], [0.0, metric])
    enclosure = enclose(geometry(), 4.0, Bracket(4.0, 4.0, 4.0), found)
    assert enclosure.upper == INF
    assert 0 <= enclosure.lower <= 4 / (1 + metric)
    assert ceiling_end(geometry(multiplicity=(1, 1)), doubles([[1.0], [2.0]]), found) == INF


def test_residuals_of_which_nothing_is_known_leave_both_ends_open():
    enclosure = enclose(geometry(), 4.0, Bracket(4.0, 4.0, 4.0), outputs([INF], [0.0]))
    assert (enclosure.lower, enclosure.value, enclosure.upper) == (0.0, 4.0, INF)


def test_an_open_bracket_stays_open():
    enclosure = enclose(geometry(), 4.0, Bracket(0.0, INF, INF), outputs([0.0], [0.0]))
    assert (enclosure.lower, enclosure.upper) == (0.0, INF)


def test_no_energy_and_no_error_is_exactly_nothing():
    enclosure = enclose(geometry(), 0.0, Bracket(0.0, 0.0, 0.0), outputs([0.0], [0.0]))
    assert (enclosure.lower, enclosure.value, enclosure.upper) == (0.0, 0.0, 0.0)


@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    shift=SMALL,
    metric=SMALL,
    weight=WEIGHTS,
)
def test_the_ceiling_s_end_is_that_of_the_formula_rounded_outwards(
    seed, counts, shift, metric, weight
):
    v, found = (
        gaussian(seed, len(counts), 2),
        outputs([shift] * len(counts), [metric] * len(counts)),
    )
    end = ceiling_end(geometry(weight=weight, multiplicity=counts), v, found)
    with mpmath.workdps(50):
        ceiling = mpmath.fsum(
            mpmath.mpf(entry) ** 2 / count
            for row, count in zip(v.tolist(), counts, strict=True)
            for entry in row
        )
        root = mpmath.sqrt(ceiling) + mpmath.sqrt(len(counts)) * mpmath.mpf(shift)
        upper = mpmath.mpf(weight) * root**2 / (1 - mpmath.mpf(metric))
        assert upper <= end <= upper * (1 + 2.0**-40)


@given(seed=SEEDS, shift=SMALL, metric=SMALL, share=st.floats(0, 1))
def test_no_upper_end_exceeds_that_of_the_ceiling(seed, shift, metric, share):
    v, found = gaussian(seed, 3, 2), outputs([shift] * 3, [metric] * 3)
    upper = share * float(v.square().sum())
    enclosure = enclose(geometry(), upper, Bracket(0.0, upper, upper), found)
    assert enclosure.upper <= ceiling_end(geometry(multiplicity=(1, 1, 1)), v, found)
