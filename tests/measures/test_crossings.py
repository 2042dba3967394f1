"""Steps along directions to the boundary f_y = f_c: to first order, and exactly."""

import math

import pytest
import torch
from torch import nn

import igsref
from igsref.flat import unflatten
from igsref.measures.crossings import Crossings, exact_crossings, first_order_crossings
from tests.closeness import EPS, assert_within
from tests.strategies import classes, gaussian, mlp


def network():
    return mlp(3, [2, 4, 3], nn.Tanh), (gaussian(4, 12, 2), classes(5, 12, 3))


def polynomial(height):
    """A model of one parameter at 0 whose gap f_0 − f_1 is height(θ, x), one sample of class 0."""

    def function(theta, x):
        value = height(theta["t"], x)
        return torch.cat([value, torch.zeros_like(value)], dim=1)

    theta = {"t": torch.zeros(1, dtype=torch.float64)}
    return (function, theta), (torch.ones(1, 1), torch.tensor([0]))


ALONG = torch.ones(1, 1, dtype=torch.float64)


def moved_logits(problem, delta):
    theta = torch.cat([v.flatten() for v in problem.function.parameters.values()]) + delta
    return problem.at(unflatten(theta, problem.function.parameters))


def test_to_first_order_the_step_undoes_the_gap():
    problem = igsref.as_problem(*network())
    directions = gaussian(6, problem.num_parameters, 4)
    found = first_order_crossings(problem, directions=directions)
    labels = problem.targets.argmax(dim=1)
    rows = torch.arange(12)
    gap = problem.logits[rows, labels] - problem.logits[rows, found.rivals]
    for k in range(4):
        # A central difference of the gap: third derivative × h²/6, and eps/h of the logits.
        h = 1e-5
        ends = [moved_logits(problem, sign * h * directions[:, k]) for sign in (1, -1)]
        high, low = (end[rows, labels] - end[rows, found.rivals] for end in ends)
        slope = (high - low) / (2 * h)
        expected = gap + found.nearest[:, k] * slope
        assert_within(expected, torch.zeros(12), 1e-7 * found.nearest[:, k].abs())


def test_the_two_agree_where_the_gap_is_linear_in_theta():
    model = nn.Linear(3, 4).double()
    data = (gaussian(1, 9, 3), classes(2, 9, 4))
    directions = gaussian(6, 16, 3)
    first = first_order_crossings(model, data, directions=directions)
    exact = exact_crossings(model, data, directions=directions, limit=1e6)
    # Rounding of the logits over the slope, which the step itself bounds: logits are below 10,
    # moved by up to as many; the gap is their difference.
    slope = (1 / first.nearest).abs()
    assert bool(torch.isfinite(exact.nearest).all())
    assert torch.equal(exact.rivals, first.rivals)
    allowance = 256 * EPS * (1 + first.nearest.abs()) * first.nearest.abs() * (1 + slope)
    gap = exact_gap(model, data, first.rivals)
    assert_within(exact.nearest, first.nearest, allowance * (1 + 1 / gap.abs()[:, None]))


def exact_gap(model, data, rivals):
    logits, rows = model(data[0]), torch.arange(len(rivals))
    return (logits[rows, data[1]] - logits[rows, rivals]).detach()


def test_exact_steps_lie_on_the_boundary_and_nothing_is_crossed_before():
    problem = igsref.as_problem(*network())
    directions = igsref.spectrum(problem, k=3).eigenvectors
    found = exact_crossings(problem, directions=directions, limit=20.0)
    labels, crossed = problem.targets.argmax(dim=1), 0
    for sample in range(12):
        for k in range(3):
            for step in (found.backward[sample, k], found.forward[sample, k]):
                if step.isinf():
                    continue
                crossed += 1
                pair = [int(labels[sample]), int(found.rivals[sample])]
                for share, sign in ((1 - 1e-9, 1), (1 + 1e-9, -1), (0.5, 1), (0.0, 1)):
                    y, c = moved_logits(problem, share * step * directions[:, k])[sample, pair]
                    gap = problem.logits[sample, pair[0]] - problem.logits[sample, pair[1]]
                    assert float((y - c) * gap) * sign > 0
    assert crossed > 20


def test_both_roots_of_a_parabola_are_found_and_the_nearer_one_is_named():
    model, data = polynomial(lambda t, x: (t + 1) * (2 - t) * x)
    found = exact_crossings(model, data, directions=ALONG, limit=10.0)
    assert float(found.backward) == pytest.approx(-1, rel=8 * EPS)
    assert float(found.forward) == pytest.approx(2, rel=8 * EPS)
    assert float(found.nearest) == float(found.backward)
    first = first_order_crossings(model, data, directions=ALONG)
    assert (float(first.nearest), float(first.forward)) == (-2.0, math.inf)  # gap 2, slope 1


def test_a_boundary_that_is_never_crossed_is_said_to_be_so():
    model, data = polynomial(lambda t, x: (1 + t**2 + t) * x)
    found = exact_crossings(model, data, directions=ALONG, limit=1e3)
    assert (float(found.backward), float(found.forward)) == (-math.inf, math.inf)
    assert float(found.nearest) == math.inf
    assert (found.never, found.limit) == (1.0, 1e3)
    assert float(first_order_crossings(model, data, directions=ALONG).nearest) == -1.0


def test_a_root_beyond_the_limit_is_not_found():
    model, data = polynomial(lambda t, x: (3 - t) * x)
    assert float(exact_crossings(model, data, directions=ALONG, limit=2.9).nearest) == math.inf
    assert float(exact_crossings(model, data, directions=ALONG, limit=3.1).nearest) == 3.0


def test_a_root_below_the_first_point_of_the_scan_is_found():
    model, data = polynomial(lambda t, x: (1e-9 - t) * x)
    found = exact_crossings(model, data, directions=ALONG, limit=1.0)
    assert float(found.nearest) == pytest.approx(1e-9, rel=8 * EPS)


@pytest.mark.parametrize("limit", [1.0, 1e100])
def test_a_root_a_hundred_orders_below_the_limit_is_found(limit):
    # A cubic, on which interpolation is of no use before some hundred halvings.
    model, data = polynomial(lambda t, x: (1e-300 - t**3) * x)
    found = exact_crossings(model, data, directions=ALONG, limit=limit)
    # The root of the two floats' difference is ∛ of a number known to an eps or two.
    assert float(found.nearest) == pytest.approx(1e-100, rel=8 * EPS, abs=0)


def test_a_root_on_a_point_of_the_scan_is_found():
    model, data = polynomial(lambda t, x: (4.0 - t) * x)
    assert float(exact_crossings(model, data, directions=ALONG, limit=4.0).forward) == 4.0


def test_two_roots_between_neighbouring_points_are_not_seen():
    # The docstring says so. 64 points, each a quarter beyond the last: none lies in 1 ± 1e-3 here.
    model, data = polynomial(lambda t, x: ((t - 0.95) ** 2 - 1e-6) * x)
    assert exact_crossings(model, data, directions=ALONG, limit=1.0).never == 1.0


def test_a_direction_that_does_not_change_the_gap_is_no_crossing():
    model, data = polynomial(lambda t, x: (1 + 0 * t) * x)
    assert float(first_order_crossings(model, data, directions=ALONG).nearest) == math.inf


def test_rivals_are_the_largest_other_logits_unless_given():
    problem = igsref.as_problem(*network())
    directions = gaussian(6, problem.num_parameters, 1)
    labels = problem.targets.argmax(dim=1)
    found = first_order_crossings(problem, directions=directions)
    for i, y in enumerate(labels.tolist()):
        others = [c for c in range(3) if c != y]
        assert int(found.rivals[i]) == max(others, key=lambda c: float(problem.logits[i, c]))
    chosen = 3 - labels - found.rivals
    other = first_order_crossings(problem, directions=directions, rivals=chosen)
    assert torch.equal(other.rivals, chosen)
    assert not torch.equal(other.nearest, found.nearest)


def test_members_of_a_pool_and_one_switch_are_served():
    model = mlp(3, [2, 4, 1], nn.Tanh)
    x, y = gaussian(4, 12, 2), (classes(5, 12, 2)).double()
    directions = gaussian(6, 17, 2)
    options = {"directions": directions, "likelihood": "bernoulli"}
    whole = exact_crossings(model, (x, y), limit=5.0, **options)
    chosen = torch.tensor([7, 2, 9])
    part = exact_crossings(
        model, (x[chosen], y[chosen]), limit=5.0, fisher_data=x, members=chosen, **options
    )
    finite = torch.isfinite(whole.nearest[chosen])
    assert torch.equal(torch.isfinite(part.nearest), finite)
    # Batches of another size may round otherwise: eps over the slope of the gap at the root.
    assert_within(part.nearest[finite], whole.nearest[chosen][finite], 1e-10)
    first = first_order_crossings(model, (x, y), **options)
    again = first_order_crossings(
        model, (x[chosen], y[chosen]), fisher_data=x, members=chosen, **options
    )
    assert_within(again.nearest, first.nearest[chosen], 1e-10 * first.nearest[chosen].abs())


def test_the_model_is_left_where_it_was():
    model, data = network()
    before = [p.clone() for p in model.parameters()]
    exact_crossings(model, data, directions=gaussian(6, 27, 1), limit=1.0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_sample_is_refused_on_the_boundary_with_its_rival_only():
    model = nn.Linear(1, 3, bias=False).double()
    model.load_state_dict({"weight": torch.tensor([[1.0], [0.0], [1.0]])})
    data = (torch.ones(1, 1), torch.tensor([0]))
    with pytest.raises(
        ValueError, match="sample 0 lies on the boundary between its class 0 and cl"
    ):
        first_order_crossings(model, data, directions=gaussian(6, 3, 1))
    rivals = torch.tensor([1])
    assert isinstance(
        first_order_crossings(model, data, directions=gaussian(6, 3, 1), rivals=rivals), Crossings
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"directions": torch.zeros(27, 1).double()}, ValueError, "not be zero; column 0 is"),
        ({"directions": torch.ones(26, 1).double()}, ValueError, r"\(27, k\), k ≥ 1; got \(26, 1"),
        ({"directions": torch.ones(27, 0).double()}, ValueError, r"got \(27, 0\)"),
        ({"directions": torch.full((27, 1), math.nan).double()}, ValueError, "must be finite"),
        ({"rivals": torch.full((12,), 3)}, ValueError, r"rivals must lie in 0\.\.2 and differ"),
        ({"rivals": torch.zeros(11, dtype=torch.int64)}, ValueError, r"shape \(12,\); got \(11,\)"),
        ({"rivals": classes(5, 12, 3)}, ValueError, r"differ from the labels; rivals\[0\] is"),
        ({"limit": 0.0}, ValueError, "limit must be positive and finite; got 0"),
        ({"limit": math.inf}, ValueError, "limit must be positive and finite; got inf"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, error, message):
    model, data = network()
    given = {"directions": torch.ones(27, 1).double(), "limit": 1.0, **options}
    with pytest.raises(error, match=message):
        exact_crossings(model, data, **given)


def test_logits_that_overflow_on_the_way_are_refused():
    model, data = polynomial(lambda t, x: (1 + t.exp()) * x)
    with pytest.raises(ValueError, match=r"logits are not finite at a step of .*smaller limit"):
        exact_crossings(model, data, directions=ALONG, limit=1e4)
