"""A network in other coordinates: the same function, and Fisher and gradients by the rules."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.utils import parametrizations

import igsref
from igsref.curvature.factor import gradients
from igsref.flat import flatten, unflatten
from igsref.model import logit_function
from igsref.transforms.bijections import (
    Composition,
    Cubic,
    DenseLinear,
    Diagonal,
    ElementwisePower,
    RadialPower,
    Sinh,
    Softplus,
    invert,
)
from igsref.transforms.reparametrize import reparametrize
from tests.closeness import EPS, assert_within
from tests.random_states import states
from tests.strategies import ARCHITECTURES, architecture, classes, gaussian, mlp
from tests.transforms.bijections.cases import BIJECTIONS, domain_point, rounding

SIZE = 17
X, Y = gaussian(1, 5, 2), classes(2, 5, 2)


def network(theta: torch.Tensor) -> nn.Sequential:
    """A smooth one with the given 17 parameters."""
    model = mlp(0, [2, 3, 2], nn.Tanh)
    model.load_state_dict(unflatten(theta, dict(model.named_parameters())))
    return model


@pytest.fixture(params=BIJECTIONS, scope="module")
def case(request):
    """(network, the same in other coordinates, Φ and what rounding can do)."""
    bijection, theta = BIJECTIONS[request.param](SIZE), domain_point(request.param, SIZE)
    model = network(theta)
    return model, reparametrize(model, bijection), rounding(bijection, theta)


def outputs_of(model: nn.Module):
    """Flat θ ↦ f, F and g, by plain loops over samples and nothing of the library's."""
    like = {name: value.detach() for name, value in model.named_parameters()}

    def logits(flat):
        return functional_call(model, unflatten(flat, like), (X,))

    def jacobians(flat):
        return jacrev(logits)(flat)

    def fisher(flat):
        p = torch.softmax(logits(flat), dim=1)
        metric = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        J = jacobians(flat)
        return torch.einsum("ncp,ncd,ndq->pq", J, metric, J) / len(X)

    def gradient(flat):
        u = torch.softmax(logits(flat), dim=1) - nn.functional.one_hot(Y, 2)
        return torch.einsum("nc,ncp->np", u, jacobians(flat))

    return logits, fisher, gradient, flatten(like)


def test_the_logits_have_the_same_bits(case):
    """What rounding took from θ on the way to η and back is given back."""
    model, moved, _ = case
    assert torch.equal(moved(X), model(X))
    assert all(torch.equal(v, model.get_parameter(k)) for k, v in moved.origin().items())


def test_fisher_goes_by_rule_one(case):
    """F_η = Φ⁻ᵀ F_θ Φ⁻¹."""
    model, moved, known = case
    _, fisher, _, theta = outputs_of(model)
    back = torch.linalg.inv(known.jacobian)
    size = float(torch.linalg.matrix_norm(back, 2)) ** 2
    F = fisher(theta)
    # Two factors Φ⁻¹ known to `derivative`, F moving with θ, and sums of N·C + m terms.
    rounded = 2 * known.derivative + 64 * EPS * known.condition
    allowed = size * (float(F.norm()) * rounded + float(jacrev(fisher)(theta).norm()) * known.theta)
    assert_within(igsref.fisher(moved, (X, Y)), back.mT @ F @ back, allowed)


def test_gradients_go_by_rule_two(case):
    """g_η = g_θ Φ⁻¹."""
    model, moved, known = case
    _, _, gradient, theta = outputs_of(model)
    back = torch.linalg.inv(known.jacobian)
    size = float(torch.linalg.matrix_norm(back, 2))
    g = gradient(theta)
    rounded = known.derivative + 64 * EPS * known.condition
    change = float(jacrev(gradient)(theta).norm()) * known.theta
    allowed = size * (float(g.norm()) * rounded + change)
    assert_within(gradients(igsref.as_problem(moved, (X, Y))), g @ back, allowed)


def test_igs_is_the_same(case):
    model, moved, known = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        before, after = (igsref.exact_igs(one, (X, Y)) for one in (model, moved))
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)
    # Rounding is stated for θ moved by 2u, each entry in proportion; here θ moves by known.theta.
    theta = flatten({k: v.detach() for k, v in model.named_parameters()})
    times = 1 + known.theta / (EPS * float(theta.abs().median()))
    allowed = 1e-10 * before.value + times * (before.rounding_error + after.rounding_error)
    assert abs(after.value - before.value) <= allowed
    assert after.ceiling == pytest.approx(before.ceiling, rel=1e-10)


def test_names_and_shapes_are_those_of_the_parameters():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    moved = reparametrize(model, Sinh())
    expected = {name: value.shape for name, value in model.named_parameters()}
    assert {name: value.shape for name, value in moved.named_parameters()} == expected
    for name, value in moved.named_parameters():
        torch.testing.assert_close(value, torch.sinh(model.get_parameter(name)))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_reparametrised(name):
    model, x, y = architecture(name, 0, 4)
    moved = reparametrize(model, invert(Sinh()))
    assert torch.equal(moved(x), model(x))
    assert list(dict(moved.named_parameters())) == list(logit_function(model).parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = (igsref.exact_igs(one, (x, y)) for one in (model, moved))
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)
    # asinh is of condition 1 or so for weights of size 1; 8 for the largest of them.
    allowed = 1e-10 * before.value + 8 * (before.rounding_error + after.rounding_error)
    assert abs(after.value - before.value) <= allowed


def test_frozen_parameters_and_buffers_are_buffers_under_their_names():
    model, x, _ = architecture("batch norm", 0, 3)
    model[0].weight.requires_grad_(False)
    moved = reparametrize(model, Sinh())
    assert "0.weight" not in dict(moved.named_parameters())
    buffers = dict(moved.named_buffers())
    assert torch.equal(buffers["0.weight"], model[0].weight)
    assert torch.equal(buffers["1.running_mean"], model[1].running_mean)
    assert buffers["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(moved(x), model(x))


def test_it_survives_what_is_done_to_modules():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    moved = reparametrize(model, Cubic(1.0))
    expected = model(X)
    for one in (copy.deepcopy(moved), moved.eval(), copy.deepcopy(moved).train()):
        assert torch.equal(one(X), expected)
    single = copy.deepcopy(moved).to(torch.float32)(X.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-4)
    problem = igsref.as_problem(moved, (X, Y)).astype(torch.float32)
    assert problem.logits.dtype == torch.float32
    torch.testing.assert_close(problem.logits.double(), expected.detach(), rtol=1e-4, atol=1e-4)


def test_other_values_of_eta_are_other_networks():
    """functional_call, and steps of an optimiser, act on η."""
    model = mlp(0, [2, 3, 2], nn.Tanh)
    moved = reparametrize(model, Diagonal(torch.full((SIZE,), 2.0)))
    doubled = {name: 2 * value.detach() for name, value in moved.named_parameters()}
    expected = functional_call(model, {k: 2 * v for k, v in model.named_parameters()}, (X,))
    torch.testing.assert_close(functional_call(moved, doubled, (X,)), expected)
    moved.load_state_dict(doubled)
    torch.testing.assert_close(moved(X), expected)


def test_reparametrising_twice_is_reparametrising_by_the_composition():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    first, second = RadialPower(0.5, 1.0, gaussian(3, SIZE)), Sinh()
    twice = reparametrize(reparametrize(model, first), second)
    once = reparametrize(model, Composition((first, second)))
    for name, value in once.named_parameters():
        assert torch.equal(twice.get_parameter(name), value)
    assert torch.equal(twice(X), model(X))
    torch.testing.assert_close(igsref.fisher(twice, (X, Y)), igsref.fisher(once, (X, Y)))


def test_a_step_back_along_eta_is_taken_by_autograd():
    moved = reparametrize(mlp(0, [2, 3, 2], nn.Tanh), Sinh())
    moved(X).sum().backward()
    assert all(bool(value.grad.abs().sum() > 0) for value in moved.parameters())


def test_chosen_parameters_alone_are_transformed():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    moved = reparametrize(logit_function(model, parameters="2.*"), Diagonal(2.0 ** torch.arange(8)))
    assert list(dict(moved.named_parameters())) == ["2.weight", "2.bias"]
    torch.testing.assert_close(moved(X), model(X))


def orthogonal(layer: nn.Module, how: str) -> None:
    parametrizations.orthogonal(layer, orthogonal_map=how)


PARAMETRIZATIONS = {
    "weight norm": parametrizations.weight_norm,
    "matrix exponential": lambda layer: orthogonal(layer, "matrix_exp"),
    "Cayley": lambda layer: orthogonal(layer, "cayley"),
    "Householder": lambda layer: orthogonal(layer, "householder"),
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_parametrised_networks_work_as_they_are(name):
    model = mlp(0, [2, 3, 2], nn.Tanh)
    PARAMETRIZATIONS[name](model[0])
    moved = reparametrize(model, ElementwisePower(0.5, 1.0, gaussian(3, _size(model))))
    assert torch.equal(moved(X), model(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        before, after = (igsref.exact_igs(one, (X, Y)) for one in (model, moved))
    # torch cuts the diagonal, ±1, that its Householder products start from to integers: a step
    # at θ, where no digit of a Jacobian is certain, and both results say so.
    assert (after.upper == before.upper == float("inf")) == (name == "Householder")
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)
    allowed = 1e-10 * before.value + 64 * (before.rounding_error + after.rounding_error)
    assert abs(after.value - before.value) <= allowed


def _size(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def test_weight_norm_keeps_the_range_and_orthogonal_shrinks_it():
    """w = g·v/‖v‖ reaches every w in (v, g), with a null direction a row more; m grows by 3.

    Orthogonal 3 × 2 matrices are 3 of 6 dimensions: another model, with 3 directions less.
    """
    plain = mlp(0, [2, 3, 2], nn.Tanh)
    with torch.no_grad():  # orthonormal columns, so that all three are one function
        plain[0].weight.copy_(torch.linalg.qr(plain[0].weight).Q)
    normalised, restricted = copy.deepcopy(plain), copy.deepcopy(plain)
    parametrizations.weight_norm(normalised[0])
    orthogonal(restricted[0], "matrix_exp")
    for model in (normalised, restricted):
        torch.testing.assert_close(model(X), plain(X), rtol=1e-12, atol=1e-12)
    data = gaussian(1, 40, 2), classes(2, 40, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        results = [igsref.exact_igs(model, data) for model in (plain, normalised, restricted)]
    assert [result.num_parameters for result in results] == [17, 20, 17]
    rank = results[0].rank
    assert [result.rank for result in results] == [rank, rank, rank - 3]
    value, kept, shrunk = (result.value for result in results)
    assert kept == pytest.approx(value, rel=1e-9)
    assert shrunk < 0.99 * value


def test_a_pair_keeps_its_order_of_parameters():
    """Modules list what they hold before what their parts hold; a mapping may say otherwise."""
    params = {"b.x": gaussian(0, 2), "a": gaussian(1, 1), "b.y": gaussian(2, 2)}
    function = lambda p, x: x * p["a"] + torch.outer(p["b.x"], p["b.y"])[0]  # noqa: E731
    moved = reparametrize((function, params), Diagonal(torch.tensor([1.0, 2, 4, 8, 16])))
    assert torch.equal(moved.get_parameter("a"), 4 * params["a"])
    assert torch.equal(moved.get_parameter("b.y"), torch.tensor([8.0, 16]) * params["b.y"])
    assert torch.equal(moved(X), function(params, X))


def test_the_given_model_and_the_random_state_are_left_alone():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    before = copy.deepcopy(model.state_dict())
    random_states = states()[1:]  # checking annotations takes from the first, Python's own
    reparametrize(model, Sinh())(X)
    assert states()[1:] == random_states
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def _frozen() -> nn.Module:
    return mlp(0, [2, 3, 2], nn.Tanh).requires_grad_(False)


def _huge() -> Diagonal:
    return Diagonal(torch.full((SIZE,), 1e308, dtype=torch.float64))


def _ill_conditioned() -> DenseLinear:
    q = torch.linalg.qr(gaussian(0, SIZE, SIZE)).Q
    return DenseLinear(q * 10.0 ** -torch.linspace(0, 12, SIZE).double() @ q.mT)


@pytest.mark.parametrize(
    ("model", "bijection", "message"),
    [
        (network, lambda: Diagonal(torch.ones(3)), r"theta must have shape \(3,\) .* got \(17,\)"),
        (network, Softplus, "theta must be positive"),
        (lambda _: _frozen(), Sinh, "model has no trainable parameters"),
        (lambda t: network(100 * t), _huge, "the image of theta must be finite"),
        (network, _ill_conditioned, "bijection must keep half of the digits of θ"),
        (lambda t: (lambda p, x: x, {"a": t, "a.b": t}), Sinh, "no module can hold"),
        (lambda t: (lambda p, x: x, {"training": t}), Sinh, "no module can hold"),
        (
            lambda t: network(-t),
            lambda: RadialPower(-1.0, 0.1, torch.zeros(SIZE)),
            "must be below the turning point",
        ),
    ],
)
def test_what_cannot_be_reparametrised_is_refused(model, bijection, message):
    with pytest.raises(ValueError, match=message):
        reparametrize(model(gaussian(3, SIZE)), bijection())
