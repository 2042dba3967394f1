"""Margins at the boundaries f_y = f_c: equation (11) in its form for many classes."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import igsref
from igsref.jacobian.rows import jacobian_rows
from igsref.measures.crossings import first_order_crossings
from igsref.measures.gaps import covectors
from igsref.measures.margins import margin_enclosure, margins
from igsref.transforms.symmetries import scale_nodes
from tests.assertions import FLOAT_AGREEMENT
from tests.closeness import EPS, assert_within
from tests.strategies import classes, gaussian, mlp

SAMPLES, CLASSES = 7, 3


def tanh_network():
    """A wide, well-conditioned network: rank F = N(C−1) = 14 < m."""
    return mlp(0, [3, 8, CLASSES], nn.Tanh), (gaussian(1, SAMPLES, 3), classes(2, SAMPLES, 3))


def narrow():
    """A tall one, N(C−1) = 60 > m = 17, unsaturated, ReLU."""
    return mlp(3, [2, 3, 2], nn.ReLU), (gaussian(4, 60, 2), classes(5, 60, 2))


def narrow_three():
    return mlp(3, [2, 3, 3], nn.ReLU), (gaussian(4, 30, 2), classes(5, 30, 3))


def dense_covectors(problem, found):
    """a_c of every sample and class, (N, C, m), from the plain Jacobian."""
    n, c = problem.logits.shape
    jacobian = jacobian_rows(problem, torch.eye(c).double().expand(n, -1, -1)).view(n, c, -1)
    return jacobian[torch.arange(n), found.labels][:, None] - jacobian


def conditions(problem):
    """λ_max/λ_min of F above its null space."""
    values = igsref.eigenvalues(problem)
    return float(values[0] / values[values > 1e-10 * values[0]].min())


@pytest.mark.parametrize("make", [tanh_network, narrow_three])
def test_squared_slopes_are_the_covectors_in_the_pseudo_inverse(make):
    problem = igsref.as_problem(*make())
    found = margins(problem)
    a = dense_covectors(problem, found)
    inverse = torch.linalg.pinv(igsref.fisher(problem), rtol=1e-10, hermitian=True)
    expected = torch.einsum("icm,mn,icn->ic", a, inverse, a)
    # F's entries are off by m eps ‖F‖, and what F⁺ makes of that is κ times as large.
    scale = problem.num_parameters * conditions(problem) * EPS
    assert scale < 1e-6  # or the oracle says nothing
    assert_within(found.squared_slopes, expected, scale * expected.max() + 1e-300)


def test_the_sum_over_all_eigenpairs_is_the_closed_form():
    problem = igsref.as_problem(*tanh_network())
    found, spectrum = margins(problem), igsref.spectrum(problem, k=2 * SAMPLES)
    crossings = first_order_crossings(
        problem, directions=spectrum.eigenvectors, rivals=found.rivals
    )
    step, values = crossings.nearest, spectrum.eigenvalues
    total = (1 / (step.square() * values)).sum(dim=1)
    expected = found.sums.gather(1, found.rivals[:, None])[:, 0]
    # Vectors of gap-less eigenvalues are off by √κ eps each (singular vectors of A, κ(A) = √κ(F)).
    allowance = problem.num_parameters * conditions(problem) ** 0.5 * EPS
    assert_within(total, expected, allowance * expected)


def test_leading_eigenpairs_alone_fall_short_of_the_sum():
    problem = igsref.as_problem(*tanh_network())
    found, spectrum = margins(problem), igsref.spectrum(problem, k=3)
    crossings = first_order_crossings(
        problem, directions=spectrum.eigenvectors, rivals=found.rivals
    )
    part = (1 / (crossings.nearest.square() * spectrum.eigenvalues)).sum(dim=1)
    whole = found.sums.gather(1, found.rivals[:, None])[:, 0]
    assert bool((part < 0.9 * whole).any())
    assert bool((part <= whole * (1 + 1e-9)).all())


def test_the_distance_is_the_length_of_the_shortest_step_to_the_linear_boundary():
    problem = igsref.as_problem(*narrow_three())
    found, F = margins(problem), igsref.fisher(problem).numpy()
    m, a = len(F), dense_covectors(problem, found).numpy()
    for sample in range(0, 30, 7):
        rival = int(found.rivals[sample])
        covector, gap = a[sample, rival], float(found.gaps[sample, rival])
        # min δᵀFδ subject to gap + a δ = 0 by its optimality conditions, δ in the range of A.
        system = np.block([[F, -covector[:, None]], [covector[None], np.zeros((1, 1))]])
        right = np.append(np.zeros(m), -gap)
        delta = np.linalg.lstsq(system, right, rcond=1e-12)[0][:m]
        assert abs(gap + covector @ delta) < 1e-9 * abs(gap)
        length = float(delta @ F @ delta) ** 0.5
        allowance = m * conditions(problem) * EPS
        assert length == pytest.approx(abs(float(found.smallest[sample])), rel=allowance, abs=0)
        # Any other step to the boundary is at least as long.
        other = np.random.default_rng(sample).standard_normal(m)
        other *= -gap / (covector @ other)
        assert float(other @ F @ other) ** 0.5 >= length


@pytest.mark.parametrize("make", [tanh_network, narrow, narrow_three])
def test_the_loss_gradient_is_bounded_by_the_margin_covectors(make):
    problem = igsref.as_problem(*make())
    found, p = margins(problem), problem.logits.softmax(dim=1)
    wrong = 1 - p.gather(1, found.labels[:, None])[:, 0]
    bound = wrong * (p * found.squared_slopes).sum(dim=1)
    terms = igsref.exact_igs(problem).per_sample
    assert bool((terms <= bound * (1 + 1e-9)).all())
    if problem.num_classes == 2:
        # g = −(1−p_y) a_c: equality, up to rounding of 1 − p_y, whose p is not near 1 here.
        assert float(wrong.min()) > 1e-3
        assert_within(terms, bound, 1e-9 * bound)


def test_saturated_margins_are_functions_of_the_outputs():
    problem = igsref.as_problem(*tanh_network())
    found, p = margins(problem), problem.logits.softmax(dim=1)
    own = p.gather(1, found.labels[:, None])
    expected = SAMPLES * (1 / own + 1 / p)
    expected[torch.arange(SAMPLES), found.labels] = 0.0
    assert_within(found.squared_slopes, expected, 64 * EPS * expected + 1e-300)
    other = torch.arange(CLASSES) != found.labels[:, None]
    assert bool((found.saturation[other] == 1).all())


def test_unsaturated_margins_are_further_than_the_outputs_alone_would_put_them():
    found = margins(*narrow_three())
    other = torch.arange(CLASSES) != found.labels[:, None]
    assert float(found.saturation[other].min()) < 0.9
    assert bool((found.squared_slopes[other] < found.ceilings[other]).any())


def test_the_saturated_route_and_the_projection_agree():
    geometry = igsref.as_geometry(*tanh_network())
    assert geometry.saturated
    projected = margins(replace(geometry, saturated=False))
    known = margins(geometry)
    # Closed form against the same norms through triangular factors: p is above 1e-4 here.
    assert_within(
        projected.squared_slopes, known.squared_slopes, 512 * EPS * known.ceilings + 1e-300
    )


@pytest.mark.parametrize("exponent", [1, 20])
@pytest.mark.parametrize("make", [narrow, narrow_three])
def test_sums_and_distances_survive_node_scalings_and_single_steps_do_not(make, exponent):
    model, data = make()
    powers = torch.randint(
        -exponent, exponent + 1, (3,), generator=torch.Generator().manual_seed(6)
    )
    scaled = scale_nodes(model, [2.0**powers])
    before, after = margins(model, data), margins(scaled, data)
    assert_within(after.sums, before.sums, FLOAT_AGREEMENT * before.sums + 1e-300)
    other = torch.isfinite(before.distances)
    assert_within(
        after.distances[other],
        before.distances[other],
        FLOAT_AGREEMENT * before.distances[other].abs(),
    )
    assert torch.equal(before.rivals, after.rivals)
    steps = [
        first_order_crossings(
            network,
            data,
            directions=igsref.spectrum(network, data, k=1).eigenvectors,
            rivals=before.rivals,
        ).nearest
        for network in (model, scaled)
    ]
    assert float((steps[1] / steps[0] - 1).abs().max()) > 0.01


def test_enclosures_hold_each_margin():
    geometry = igsref.as_geometry(*narrow_three())
    found = margins(geometry)
    for sample in range(0, 30, 5):
        rival = int(found.rivals[sample])
        bounds = margin_enclosure(geometry, sample=sample, rival=rival)
        assert bounds.grade == "verified"
        value = abs(float(found.distances[sample, rival]))
        assert bounds.lower <= value <= bounds.upper
        assert bounds.value == pytest.approx(value, rel=1e-12, abs=0)
        assert bounds.lower > value * (1 - 1e-9)


def test_a_saturated_enclosure_is_narrow():
    geometry = igsref.as_geometry(*tanh_network())
    bounds = margin_enclosure(geometry, sample=0, rival=int(margins(geometry).rivals[0]))
    assert 0 < bounds.width < 1e-10 * bounds.value


def test_an_enclosure_of_a_linear_model_holds_the_exact_length():
    # Weights 3 and 0 on input 1, label 0: gap 3, p = (e³, 1)/(e³ + 1), N = 1.
    model = nn.Linear(1, 2, bias=False).double()
    model.load_state_dict({"weight": torch.tensor([[3.0], [0.0]])})
    bounds = margin_enclosure(model, (torch.ones(1, 1), torch.tensor([0])), sample=0, rival=1)
    exact = 3 / (2 + np.exp(3.0) + np.exp(-3.0)) ** 0.5
    assert bounds.lower < exact < bounds.upper < exact * (1 + 1e-12)


@pytest.mark.parametrize("units", [1.4375, 1.5625])
def test_an_enclosure_holds_the_exact_gap_that_the_logits_have_rounded_away(units):
    # One rounding each: logits 2³⁰ + units·ulp, ulp = 2⁻²² there, and 2³⁰.
    weight = torch.tensor([[2.0**30, units * 2.0**-22], [2.0**30, 0.0]], dtype=torch.float64)
    model = nn.Linear(2, 2, bias=False).double()
    model.load_state_dict({"weight": weight})
    geometry = igsref.as_geometry(model, (torch.ones(1, 2), torch.tensor([0])))
    first, second = (sum(map(Fraction, row)) for row in weight.tolist())
    exact = first - second
    computed = geometry.problem.logits[0].tolist()
    rounded = Fraction(computed[0]) - Fraction(computed[1])
    assert abs(rounded - exact) > exact / 4
    bounds = margin_enclosure(geometry, sample=0, rival=1)
    # Saturated, N = 1: a F⁺ aᵀ = 1/p_y + 1/p_c = 2 + e^g + e^−g = 4 (1 + O(g²)), g below 2⁻²¹.
    assert bounds.grade == "verified"
    assert bounds.lower < float(exact / 2) * (1 - 2.0**-40)
    assert float(exact / 2) < bounds.upper


def test_a_pool_weighs_the_metric_and_not_the_labelled_samples():
    model, (x, y) = narrow_three()
    pooled = margins(model, (x[:4], y[:4]), fisher_data=x, members=torch.arange(4))
    assert_within(
        pooled.squared_slopes,
        margins(model, (x, y)).squared_slopes[:4],
        FLOAT_AGREEMENT * pooled.ceilings + 1e-300,
    )


def test_one_switch_is_a_softmax_over_two():
    model, (x, y) = narrow()
    one = nn.Sequential(*model[:-1], nn.Linear(3, 1).double())
    with torch.no_grad():
        one[-1].weight.copy_(model[-1].weight[1:] - model[-1].weight[:1])
        one[-1].bias.copy_(model[-1].bias[1:] - model[-1].bias[:1])
    switch = margins(one, (x, y), likelihood="bernoulli")
    softmax = margins(model, (x, y))
    # The same functions, spanned by fewer parameters; rounding of the differences of weights.
    assert_within(switch.gaps, softmax.gaps, 64 * EPS * (1 + softmax.gaps.abs()))
    assert_within(
        switch.squared_slopes, softmax.squared_slopes, FLOAT_AGREEMENT * softmax.ceilings + 1e-300
    )


def test_signs_rivals_and_correctness_follow_the_logits():
    problem = igsref.as_problem(*narrow_three())
    found = margins(problem)
    assert torch.equal(found.correct, problem.logits.argmax(dim=1) == found.labels)
    assert not bool(found.correct.all())
    assert bool((found.rivals != found.labels).all())
    own = torch.arange(CLASSES) == found.labels[:, None]
    assert bool((found.distances[own] == torch.inf).all())
    assert bool((found.sums[own] == 0).all())
    assert torch.equal(found.distances.sign()[~own], found.gaps.sign()[~own])


def test_a_class_that_no_step_moves_is_infinitely_far():
    def constant(theta, x):
        return torch.cat([theta["a"] * x * 0 + 1, 0 * x], dim=1)

    theta = {"a": torch.ones(1, dtype=torch.float64)}
    with pytest.warns(RuntimeWarning, match="do not depend"):
        found = margins((constant, theta), (torch.ones(2, 1), torch.tensor([0, 1])))
    assert found.smallest.tolist() == [float("inf"), float("-inf")]
    assert found.rivals.tolist() == [1, 0]
    assert found.sums.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_sample_on_a_boundary_is_refused_by_name():
    model = nn.Linear(1, 3, bias=False).double()
    model.load_state_dict({"weight": torch.tensor([[1.0], [0.0], [1.0]])})
    with pytest.raises(ValueError, match="sample 1 lies on the boundary between its class 0 and "):
        margins(model, (torch.tensor([[1.0], [2.0]]), torch.tensor([1, 0])))


def test_margins_blurred_by_the_logits_are_warned_of():
    # Logits of size 1e9, known to 1e-7, and a gap of 1e-5 between them.
    model = nn.Linear(1, 2).double()
    bias = torch.tensor([1e9, 1e9 + 1e-5], dtype=torch.float64)
    model.load_state_dict({"weight": torch.ones(2, 1), "bias": bias})
    with pytest.warns(igsref.AccuracyWarning, match="margin_enclosure bounds the margin of each"):
        margins(model, (torch.ones(1, 1), torch.tensor([1])))


@pytest.mark.parametrize(
    ("sample", "rival", "message"),
    [
        (30, 0, r"sample must lie in 0\.\.29; got 30"),
        (0, 3, r"rival must lie in 0\.\.2; got 3"),
    ],
)
def test_an_enclosure_of_no_sample_or_class_is_refused(sample, rival, message):
    with pytest.raises(ValueError, match=message):
        margin_enclosure(*narrow_three(), sample=sample, rival=rival)


def test_an_enclosure_with_the_own_class_is_refused():
    model, (x, y) = narrow_three()
    with pytest.raises(ValueError, match="rival must be another class than sample 0's own"):
        margin_enclosure(model, (x, y), sample=0, rival=int(y[0]))


def test_the_covector_of_sample_and_rival_is_that_of_the_tests_oracle():
    problem = igsref.as_problem(*narrow_three())
    found = margins(problem)
    chosen = covectors(problem, found.labels, found.rivals)
    rows = jacobian_rows(problem, chosen[:, None])
    expected = dense_covectors(problem, found)[torch.arange(30), found.rivals]
    assert_within(rows, expected, 64 * EPS * expected.abs().amax(dim=1, keepdim=True))
