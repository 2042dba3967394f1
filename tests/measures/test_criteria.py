"""TIC with H and with F, AIC: equations (8) and (9) against brute force and by hand."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.factor import gradients
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.measures.criteria import CriterionWarning, aic, criterion_of, fisher_tic, tic
from tests.closeness import EPS
from tests.strategies import architecture, classes, gaussian, mlp


def binary(seed: int, samples: int, features: int = 3):
    """A logistic regression and data of its own."""
    labels = classes(seed + 2, samples, 2).double()[:, None]
    return mlp(seed, [features, 1], nn.Tanh), (gaussian(seed + 1, samples, features), labels)


def brute_force(problem: igsref.Problem, metric: torch.Tensor) -> torch.Tensor:
    """Tr(M⁻¹C), C as a sum over samples of outer products."""
    C = torch.zeros_like(metric)
    for g in gradients(problem):
        C += torch.outer(g, g) / problem.num_samples
    return (torch.linalg.inv(metric) @ C).trace()


def allowed(metric: torch.Tensor) -> float:
    """An inverse is known to m·eps·κ, relative to itself; both sides have one."""
    return 4 * len(metric) * EPS * float(torch.linalg.cond(metric))


def true_hessian(problem: igsref.Problem) -> torch.Tensor:
    return torch.func.hessian(loss_of_vector(problem))(parameter_vector(problem))


@pytest.mark.parametrize("seed", range(4))
def test_tic_is_the_trace_over_the_number_of_samples(seed):
    model, data = binary(seed, 30)
    problem = igsref.as_problem(model, data, likelihood="bernoulli")
    H = true_hessian(problem)
    found = tic(model, data, likelihood="bernoulli")
    assert found.value == pytest.approx(float(brute_force(problem, H)) / 30, rel=allowed(H))
    assert found.effective_parameters == pytest.approx(30 * found.value, rel=4 * EPS)
    assert (found.rank, found.negative, found.outside) == (4, 0, 0.0)
    assert (found.training_size, found.kind, found.uncertainty) == (30, "computed", 0.0)


def test_fisher_tic_warns_of_saturation():
    model, x, y = architecture("MLP with tanh", 0, 4)
    with pytest.warns(CriterionWarning, match="F has full row rank: its 8 rows are independent"):
        found = fisher_tic(model, (x, y))
    ceiling = igsref.exact_igs(model, (x, y)).ceiling / 4
    assert found.bracket[0] <= ceiling <= found.bracket[1]


def test_tic_of_a_network_uses_its_second_derivatives():
    model = mlp(3, [2, 1, 1], nn.Tanh)
    x = gaussian(1, 60, 2)
    # Near a minimum, but not at one: H is positive there, and is not F.
    y = model(x).detach() + 0.1 * gaussian(2, 60, 1)
    problem = igsref.as_problem(model, (x, y), likelihood="gaussian")
    H = true_hessian(problem)
    assert float(torch.linalg.eigvalsh(H).min()) > 0
    found = tic(problem)
    assert found.value == pytest.approx(float(brute_force(problem, H)) / 60, rel=allowed(H))
    assert abs(found.value / fisher_tic(problem).value - 1) > 1e-2


def test_tic_takes_gradients_from_data_and_the_metric_from_curvature_data():
    model, data = binary(0, 40)
    held_out = binary(7, 25)[1]
    options = {"likelihood": "bernoulli"}
    problem, other = (igsref.as_problem(model, d, **options) for d in (held_out, data))
    H = true_hessian(other)
    expected = float(brute_force(problem, H)) / 40
    found = tic(model, held_out, curvature_data=data, training_size=40, **options)
    assert found.value == pytest.approx(expected, rel=allowed(H))
    assert tic(problem, curvature_data=other, training_size=40) == found


@pytest.mark.filterwarnings("ignore:F has full row rank")
@pytest.mark.parametrize("name", ["MLP with relu", "batch norm"])
@pytest.mark.parametrize("samples", [8, 60])
def test_fisher_tic_is_the_igs_over_the_number_of_samples(name, samples):
    model, x, y = architecture(name, 0, samples)
    result = igsref.exact_igs(model, (x, y))
    found = fisher_tic(model, (x, y))
    assert found == criterion_of(result)
    assert found.value == result.value / samples
    assert found.effective_parameters == result.value
    assert found.outside == 0.0
    assert found.rank == result.rank
    # Products with 1/N, rounded outwards.
    assert found.enclosure.lower * samples == pytest.approx(result.lower, rel=2**-46)
    assert found.enclosure.upper * samples == pytest.approx(result.upper, rel=2**-46)


@pytest.mark.filterwarnings("ignore:F has full row rank")
@pytest.mark.parametrize("samples", [8, 60])
def test_the_same_inputs_given_again_are_the_same_metric(samples):
    model, x, y = architecture("MLP with relu", 0, samples)
    one, again = fisher_tic(model, (x, y)), fisher_tic(model, (x, y), curvature_data=(x, y))
    assert abs(one.value - again.value) <= one.rounding_error + again.rounding_error
    assert again.rank == one.rank
    # ‖g_out‖ is rounding of g: a share of (m·eps)² at most.
    assert again.outside <= (60 * EPS) ** 2


def test_fisher_metric_of_other_data_is_not_joined_by_data():
    model, data = binary(0, 40)
    held_out = binary(7, 25)[1]
    options = {"likelihood": "bernoulli"}
    problem, other = (igsref.as_problem(model, d, **options) for d in (held_out, data))
    F = igsref.fisher(other)
    expected = float(brute_force(problem, F)) / 40
    for curvature_data in (data[0], data, [data], other):
        given = (problem,) if curvature_data is other else (model, held_out)
        said = {} if curvature_data is other else options
        found = fisher_tic(*given, curvature_data=curvature_data, training_size=40, **said)
        assert found.value == pytest.approx(expected, rel=allowed(F))
    joined = fisher_tic(
        model, held_out, fisher_data=data[0], training_size=40, likelihood="bernoulli"
    )
    assert abs(joined.value / expected - 1) > 1e-2


def plane():
    """f = θ·x at θ = 0, and data with the gradient −(1, 2)/2."""
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return model, (torch.tensor([[1.0, 2.0]]).double(), torch.ones(1, 1).double())


def test_what_lies_outside_of_the_range_is_told_and_not_dropped():
    model, data = plane()
    flat = torch.tensor([[1.0, 0.0]]).double()
    with pytest.warns(CriterionWarning, match="80% of the energy .*rank 1 of 2"):
        found = fisher_tic(model, data, curvature_data=flat, likelihood="bernoulli")
    # F = diag(1, 0)/4; g = −(1, 2)/2: inside (1/2)²·4 = 1, outside 4 parts in 5.
    assert found.value == pytest.approx(1.0, rel=8 * EPS)
    assert found.outside == pytest.approx(0.8, rel=8 * EPS)
    assert found.rank == 1


@pytest.mark.filterwarnings("ignore:F has full row rank")
def test_with_a_part_outside_the_value_depends_on_the_parametrisation():
    """Negative control: θ ↦ (θ_1 + θ_2, θ_2) moves it, and leaves the IGS alone."""
    model, data = plane()
    shear = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()
    flat = torch.tensor([[1.0, 0.0]]).double()
    moved = (data[0] @ shear, data[1])
    options = {"likelihood": "bernoulli"}
    with pytest.warns(CriterionWarning):
        before = fisher_tic(model, data, curvature_data=flat, **options)
        after = fisher_tic(model, moved, curvature_data=flat @ shear, **options)
    assert abs(after.value / before.value - 1) > 0.5
    same = [fisher_tic(model, d, **options).value for d in (data, moved)]
    assert same[0] == pytest.approx(same[1], rel=16 * EPS)


def test_aic_counts_the_chosen_parameters():
    model, x, y = architecture("MLP with relu", 0, 20)
    m = sum(value.numel() for value in model.parameters())
    assert aic(model, (x, y)).value == m / 20
    last = sum(value.numel() for value in list(model.parameters())[-2:])
    found = aic(model, (x, y), parameters="4.*", training_size=100)
    assert (found.value, found.effective_parameters, found.training_size) == (last / 100, last, 100)


@pytest.mark.parametrize("measure", [tic, fisher_tic, aic])
def test_training_size_is_what_is_divided_by(measure):
    model, data = binary(0, 30)
    one = measure(model, data, likelihood="bernoulli")
    other = measure(model, data, likelihood="bernoulli", training_size=120)
    assert other.value == pytest.approx(one.value / 4, rel=4 * EPS)
    assert other.effective_parameters == one.effective_parameters


@pytest.mark.parametrize("measure", [tic, fisher_tic])
def test_training_size_is_wanted_where_it_is_not_clear(measure):
    model, data = binary(0, 30)
    other = binary(1, 20)[1]
    with pytest.raises(ValueError, match=r"training_size must be given: data holds 30 .* 20"):
        measure(model, data, curvature_data=other, likelihood="bernoulli")


@pytest.mark.parametrize("measure", [tic, fisher_tic, aic])
def test_training_size_must_be_a_positive_integer(measure):
    model, data = binary(0, 30)
    with pytest.raises(ValueError, match="training_size must be at least 1; got 0"):
        measure(model, data, likelihood="bernoulli", training_size=0)
    with pytest.raises(TypeError, match="training_size must be an integer; got True"):
        measure(model, data, likelihood="bernoulli", training_size=True)


@pytest.mark.parametrize("measure", [tic, fisher_tic])
@pytest.mark.parametrize("option", [{"fisher_data": gaussian(0, 5, 3)}, {"rank_bound": 3}])
def test_a_pool_beside_curvature_data_is_refused(measure, option):
    model, data = binary(0, 30)
    with pytest.raises(ValueError, match=f"takes no {next(iter(option))}"):
        measure(model, data, curvature_data=data, likelihood="bernoulli", **option)


def test_tic_refuses_a_problem_with_a_pool():
    model, data = binary(0, 30)
    pool = igsref.as_problem(model, data, likelihood="bernoulli", fisher_data=gaussian(0, 5, 3))
    with pytest.raises(ValueError, match="no Problem with a pool"):
        tic(pool)


def test_a_singular_hessian_is_refused_with_its_directions():
    model, x, y = architecture("MLP with tanh", 0, 80)
    with pytest.raises(
        ValueError,
        match=r"5 of its 59 .*softmax shift of 4.weight \(4\), .* 4.bias \(1\).*fisher_tic",
    ):
        tic(model, (x, y))


@pytest.mark.filterwarnings("ignore:F has full row rank")
def test_an_overparametrised_model_is_refused_or_finite():
    model, data = binary(0, 3, features=5)
    with pytest.raises(ValueError, match="the Hessian is singular: 3 of its 6"):
        tic(model, data, likelihood="bernoulli")
    problem = igsref.as_problem(model, data, likelihood="bernoulli")
    ceiling = float(problem.residuals().square().sum())
    assert fisher_tic(problem).effective_parameters == pytest.approx(ceiling, rel=1e-12)


def test_a_saddle_is_told_of():
    model, x, y = mlp(3, [2, 3, 1], nn.Tanh), gaussian(1, 60, 2), gaussian(2, 60, 1)
    H = true_hessian(igsref.as_problem(model, (x, y), likelihood="gaussian"))
    negative = int((torch.linalg.eigvalsh(H) < 0).sum())
    assert negative > 0
    with pytest.warns(CriterionWarning, match=f"{negative} of 13 eigenvalues .* negative"):
        assert tic(model, (x, y), likelihood="gaussian").negative == negative


def nearly_collinear(tilt: float):
    """Inputs along one axis but for a tilt, and data across them."""
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    x = torch.tensor([[1.0, 0.0], [1.0, tilt]]).double()
    y = torch.tensor([[1.0], [1.0]]).double()
    across = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).double()
    return model, (across, y), (x, y)


@pytest.mark.parametrize(("measure", "tilt"), [(tic, 2.0**-20), (fisher_tic, 2.0**-40)])
def test_digits_lost_to_a_nearly_singular_metric_are_told_of(measure, tilt):
    model, data, near = nearly_collinear(tilt)
    with pytest.warns(igsref.AccuracyWarning, match="effective number of parameters"):
        found = measure(model, data, curvature_data=near, likelihood="bernoulli")
    assert found.rounding_error > 1e-6 * found.value
    # F = H = XᵀX/8 and g = −x/2 at p = ½: the trace is the mean of 2 x (XᵀX)⁻¹ xᵀ, two samples.
    exact = (1 - 2 / tilt + 4 / tilt**2) / 2
    assert abs(found.value - exact) <= found.rounding_error


@pytest.mark.parametrize("measure", [tic, fisher_tic])
def test_curvature_data_of_another_shape_is_refused_by_name(measure):
    model, data = binary(0, 30)
    wrong = (gaussian(0, 30, 4), data[1])
    with pytest.raises(ValueError, match="curvature_data"):
        measure(model, data, curvature_data=wrong, likelihood="bernoulli")


def test_labels_are_wanted_for_the_hessian():
    model, data = binary(0, 30)
    with pytest.raises(TypeError, match=r"curvature_data .labelled, as H needs it.*data must be"):
        tic(model, data, curvature_data=data[0], likelihood="bernoulli")


@pytest.mark.parametrize("measure", [tic, fisher_tic])
def test_memory_is_asked_for(measure):
    model, data = binary(0, 30)
    with pytest.raises(MemoryError):
        measure(model, data, curvature_data=data, likelihood="bernoulli", memory=100)
    with pytest.raises(MemoryError):
        measure(model, data, likelihood="bernoulli", memory=100)
