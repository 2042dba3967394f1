"""ρ·IGS as a term of the loss: its value against the measure, its gradient against three oracles.

Central differences of ``exact_igs``; autograd through the damped Fisher matrix, written densely;
and autograd through the Fisher matrix in a fixed basis of its range.
"""

import jaxtyping
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import igsref
from igsref.linalg.products import random_signs, seeded
from igsref.measures.igs import WORTH_A_WARNING
from igsref.training import exact_igs_penalty, gradient_norm_penalty, penalty
from tests.strategies import ARCHITECTURES, architecture, classes, gaussian, mlp

EPS = torch.finfo(torch.float64).eps


def tall(activation=nn.Tanh, seed=3):
    """2-3-3 on 20 samples: 40 rows, 21 parameters, so that the IGS is below its ceiling."""
    return mlp(seed, [2, 3, 3], activation), (gaussian(seed, 20, 2), classes(seed, 20, 3))


def wide(seed=3):
    """2-12-3 on 6 samples: 12 rows, 75 parameters, saturated."""
    return mlp(seed, [2, 12, 3], nn.Tanh), (gaussian(seed, 6, 2), classes(seed, 6, 3))


def gradient(model, value):
    parts = torch.autograd.grad(value, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def stacked_jacobian(model, x):
    """∂f/∂θ with its graph, (N, C, m)."""
    found = torch.func.jacrev(lambda θ: torch.func.functional_call(model, θ, (x,)))(
        dict(model.named_parameters())
    )
    return torch.cat([part.flatten(2) for part in found.values()], dim=2)


def fisher_and_gradients(model, data, pool=None):
    """F of the pool's inputs and g of each sample, by their definitions and with their graph."""
    x, y = data
    inputs = x if pool is None else torch.cat([pool, x])
    J, p = stacked_jacobian(model, inputs), model(inputs).softmax(dim=1)
    Λ = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    F = torch.einsum("ica,icd,idb->ab", J, Λ, J) / len(inputs)
    last = slice(len(inputs) - len(x), None)
    return F, torch.einsum("ic,ica->ia", p[last] - one_hot(y, p.shape[1]), J[last])


def in_basis(model, data, pool=None, ridge=0.0):
    """IGS by solving with F in a fixed basis of its range (of all of θ with a ridge)."""
    F, g = fisher_and_gradients(model, data, pool)
    values, vectors = torch.linalg.eigh(F.detach())
    basis = vectors if ridge else vectors[:, values > 1e-9 * values[-1]]
    F, g = basis.T @ F @ basis + ridge * torch.eye(basis.shape[1]).double(), g @ basis
    assert ridge or basis.shape[1] < len(values)
    return (g * torch.linalg.solve(F, g.T).T).sum() / len(g), float(torch.linalg.cond(F.detach()))


def assert_same_gradient(found, expected, condition):
    """A system solved by LU is off by some u·κ, m its growth; the derivative has it twice more."""
    tolerance = 3 * len(expected) * EPS * condition
    assert tolerance < 1e-4
    assert float((found - expected).norm()) <= tolerance * float(expected.norm())


CASES = {
    "tanh": (tall, {}),
    "relu": (lambda: tall(nn.ReLU), {}),
    "saturated": (wide, {}),
    "pool": (wide, {"fisher_data": gaussian(9, 60, 2)}),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    make, options = request.param
    return *make(), options


def test_the_value_is_that_of_the_measure(case):
    model, data, options = case
    result = igsref.exact_igs(model, data, **options)
    found = exact_igs_penalty(model, data, 0.5, **options)
    assert found.shape == () and found.dtype == torch.float64
    # Two factorisations of one factor: each is known to its rounding, and 64 sums of squares.
    room = 2 * result.rounding_error + 64 * EPS * result.value
    assert abs(float(found.detach()) / 0.5 - result.value) <= room


def test_a_derivative_that_is_nothing_but_rounding_is_no_direction():
    """Of the bias of the keys of an attention layer; 140 rows, fewer directions."""
    model, x, y = architecture("attention and embedding", 5, 70)
    geometry = igsref.as_geometry(model, (x, y))
    sides = geometry.embedded(geometry.problem.residuals()[None] * random_signs(seeded(0), 70, 1))
    expected = float(geometry.energy(sides).sum())
    assert expected < 0.9 * float(sides.square().sum())
    with torch.no_grad():
        found = float(exact_igs_penalty(model, (x, y), 1.0, probes=1))
    assert found == pytest.approx(expected, rel=WORTH_A_WARNING, abs=0)


def test_the_gradient_is_that_of_central_differences_of_the_measure(case):
    model, data, options = case
    slope = gradient(model, exact_igs_penalty(model, data, 1.0, **options))
    θ = parameters_to_vector(model.parameters()).detach()
    direction = gaussian(5, len(θ))

    def difference(h):
        ends = []
        for sign in (1, -1):
            vector_to_parameters(θ + sign * h * direction, model.parameters())
            ends.append(igsref.exact_igs(model, data, **options))
        rounding = (ends[0].rounding_error + ends[1].rounding_error + EPS * ends[0].value) / h
        return (ends[0].value - ends[1].value) / (2 * h), rounding

    (near, rounding), (far, _) = difference(2.0**-14), difference(2.0**-13)
    # The error is a third of their difference to leading order in h².
    room = abs(far - near) + rounding
    expected = float(slope @ direction)
    assert room < 1e-3 * abs(expected)
    assert abs(near - expected) <= room


@pytest.mark.filterwarnings("ignore:model cannot be vmapped:RuntimeWarning")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_gradient_is_that_of_central_differences_for_all_architectures(name):
    model, x, y = architecture(name, 5, 4)
    options = {"ridge": 0.1}  # with a ridge none is saturated
    slope = gradient(model, exact_igs_penalty(model, (x, y), 1.0, **options))
    direction = gaussian(5, len(slope))
    θ = parameters_to_vector(model.parameters()).detach()

    @torch.no_grad()
    def difference(h):
        ends = []
        for sign in (1, -1):
            vector_to_parameters(θ + sign * h * direction, model.parameters())
            ends.append(float(exact_igs_penalty(model, (x, y), 1.0, **options)))
        return (ends[0] - ends[1]) / (2 * h), max(ends)

    (near, value), (far, _) = difference(2.0**-14), difference(2.0**-13)
    largest = float(igsref.eigenvalues(model, (x, y))[0])
    rounding = 2 * EPS * (1 + largest / options["ridge"]) * value * 2**14
    expected = float(slope @ direction)
    assert abs(near - expected) <= abs(far - near) + rounding < 1e-3 * abs(expected)


LOOPED = ("LSTM", "GRU", "refused by vmap")


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in LOOPED])
def test_rows_and_columns_are_two_ways_to_one_gradient(name, monkeypatch):
    """Neither may stand in for the other, as it would if vmap refused these."""
    model, x, y = architecture(name, 5, 4)
    found = []
    for other in ("_by_columns", "_by_rows"):
        with monkeypatch.context() as patch:
            patch.setattr(penalty, other, refused)
            value = exact_igs_penalty(model, (x, y), 1.0, ridge=0.1)
            found.append(gradient(model, value))
    # Sums of m·N·R products in another order.
    room = 8 * len(found[0]) * EPS * float(found[0].norm())
    assert float((found[0] - found[1]).norm()) <= room


def refused(*arguments):
    raise RuntimeError("refused")


def test_running_out_of_memory_is_not_taken_for_a_refusal(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("full")

    model, data = tall()
    monkeypatch.setattr(penalty, "_by_rows", full)
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        exact_igs_penalty(model, data)


def test_without_gradients_there_is_the_value_alone():
    model, data = tall()
    with torch.no_grad():
        value = exact_igs_penalty(model, data)
    assert not value.requires_grad
    assert torch.equal(value, exact_igs_penalty(model, data).detach())


def test_the_gradient_is_that_of_autograd_in_a_basis_of_the_range():
    model, (x, y) = tall()
    for data, pool in (((x, y), None), ((x[:6], y[:6]), x[6:])):
        expected, condition = in_basis(model, data, pool)
        found = exact_igs_penalty(model, data, 1.0, fisher_data=pool)
        assert_same_gradient(gradient(model, found), gradient(model, expected), condition)


@pytest.mark.parametrize("ridge", [1e-4, 1e-1])
def test_with_a_ridge_value_and_gradient_are_those_of_the_damped_matrix(ridge):
    for (model, data), pool in ((tall(nn.ReLU), None), (wide(), None), (wide(), gaussian(9, 8, 2))):
        expected, condition = in_basis(model, data, pool, ridge)
        found = exact_igs_penalty(model, data, 2.0, ridge=ridge, fisher_data=pool)
        assert float(found.detach()) == pytest.approx(
            2 * float(expected.detach()), rel=21 * EPS * condition, abs=0
        )
        assert_same_gradient(gradient(model, found), 2 * gradient(model, expected), condition)


def test_a_saturated_network_has_the_gradient_of_its_ceiling():
    model, (x, y) = wide()
    assert igsref.exact_igs(model, (x, y)).saturated
    found = gradient(model, exact_igs_penalty(model, (x, y), 1.0))
    expected = gradient(model, torch.expm1(cross_entropy(model(x), y, reduction="none")).sum())
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11 * float(expected.norm()))


def test_under_a_node_scaling_the_gradient_changes_as_the_parameters_do():
    """The same function: ∂/∂(s w) = s⁻¹ ∂/∂w, and powers of two round nothing."""
    model, data = tall(nn.ReLU)
    scales = 2.0 ** torch.tensor([20.0, -30.0, 7.0]).double()
    before = torch.autograd.grad(exact_igs_penalty(model, data), list(model.parameters()))
    with torch.no_grad():
        model[0].weight *= scales[:, None]
        model[0].bias *= scales
        model[2].weight /= scales
    after = torch.autograd.grad(exact_igs_penalty(model, data), list(model.parameters()))
    factors = (1 / scales[:, None], 1 / scales, scales, torch.ones(()))
    for part, old, factor in zip(after, before, factors, strict=True):
        torch.testing.assert_close(part, factor * old, rtol=1e-12, atol=0)


def test_probes_are_unbiased():
    model, (x, y) = tall()
    data, options = (x[:3], y[:3]), {"fisher_data": x[3:]}
    # One seed for each pattern of three signs, up to a common sign that changes nothing.
    patterns = {}
    for seed in range(100):
        z = random_signs(seeded(seed), 3, 1)[:, 0]
        patterns.setdefault(tuple((z * z[0]).tolist()), seed)
    assert len(patterns) == 4
    drawn = [
        exact_igs_penalty(model, data, 1.0, probes=1, seed=s, **options) for s in patterns.values()
    ]
    mean, exact = torch.stack(drawn).mean(), exact_igs_penalty(model, data, 1.0, **options)
    assert float(torch.stack(drawn).detach().std()) > 0.01 * float(exact.detach())
    torch.testing.assert_close(mean, exact, rtol=1e-12, atol=0)
    found, expected = gradient(model, mean), gradient(model, exact)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.norm()))


def test_several_probes_are_the_mean_of_their_signs():
    model, (x, y) = tall()
    z = random_signs(seeded(4), 20, 3)
    result = igsref.as_geometry(model, (x, y))
    columns = result.embedded(z.T[:, :, None] * result.problem.residuals())
    found = exact_igs_penalty(model, (x, y), 1.0, probes=3, seed=4)
    expected = float(result.energy(columns).mean())
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12, abs=0)


def test_the_gradient_of_a_float32_network_is_the_same_in_its_dtype():
    model, (x, y) = tall()
    model = model.float()
    x = x.float()
    single = exact_igs_penalty(model, (x, y), 1.0)
    found = gradient(model, single)
    model = model.double()
    double = exact_igs_penalty(model, (x.double(), y), 1.0)
    assert single.dtype == found.dtype == torch.float32
    assert torch.equal(single, double.float())
    # The cast of ρ's share and of each sum of casts.
    expected = gradient(model, double)
    room = 4 * torch.finfo(torch.float32).eps
    assert float((found - expected).norm()) <= room * float(expected.norm())


def test_where_the_rank_is_smaller_than_nearby_the_gradient_is_that_of_a_minorant():
    """Two hidden units with the same weights: directions appear as soon as they part."""
    model, data = tall()
    with torch.no_grad():
        for value in (model[0].weight, model[0].bias):
            value[1] = value[0]
        model[2].weight[:, 1] = model[2].weight[:, 0]
    penalty = exact_igs_penalty(model, data, 1.0)
    slope, value = gradient(model, penalty), float(penalty.detach())
    θ = parameters_to_vector(model.parameters()).detach()
    h = 2.0**-10
    for seed in range(3):
        step = h * gaussian(seed, len(θ))
        vector_to_parameters(θ + step, model.parameters())
        there = float(exact_igs_penalty(model, data, 1.0).detach())
        assert there - value > 10 * abs(float(slope @ step))


def test_a_step_along_its_gradient_lowers_the_regularised_loss():
    model, (x, y) = tall()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    seen = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y) + exact_igs_penalty(model, (x, y), 0.1)
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    assert seen[2] < seen[1] < seen[0]


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_a_second_derivative_is_refused(ridge):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = gaussian(1, 12, 3), classes(2, 12, 2)
    parameters = list(model.parameters())
    penalty = exact_igs_penalty(model, (x, y), rho=1.0, ridge=ridge)
    loss = penalty + nn.functional.cross_entropy(model(x), y)
    squares = gradient_norm_penalty(loss, parameters, 0.1)
    with pytest.raises(RuntimeError, match="exact_igs_penalty is differentiable once"):
        squares.backward()


def test_frozen_parameters_and_the_random_state_stay_as_they_are():
    model, data = tall()
    model[0].bias.requires_grad_(False)
    state = torch.random.get_rng_state()
    exact_igs_penalty(model, data, parameters="2.*").backward()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model[0].bias.grad is None
    assert model[2].weight.grad is not None


def test_other_likelihoods_have_their_own_metric():
    model = mlp(1, [2, 3, 1], nn.Tanh)
    x, y = gaussian(2, 30, 2), gaussian(3, 30, 1)
    for likelihood, labels in (("gaussian", y), ("bernoulli", (y > 0).double())):
        result = igsref.exact_igs(model, (x, labels), likelihood=likelihood)
        found = exact_igs_penalty(model, (x, labels), 1.0, likelihood=likelihood)
        assert float(found.detach()) == pytest.approx(result.value, rel=1e-10, abs=0)
        assert bool(gradient(model, found).any())


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3, dtype=torch.float64)

    def forward(self, x):
        return self.layer(x) + torch.rand((), dtype=x.dtype)


def test_what_cannot_be_is_refused(monkeypatch):
    # Annotations, where they are executed, would refuse some of it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, data = tall()
    with pytest.raises(ValueError, match="rho must be finite and positive"):
        exact_igs_penalty(model, data, 0.0)
    with pytest.raises(ValueError, match="ridge must be at least 0"):
        exact_igs_penalty(model, data, ridge=-1e-3)
    with pytest.raises(ValueError, match="probes must be at least 1"):
        exact_igs_penalty(model, data, probes=0)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module; got an object"):
        exact_igs_penalty(igsref.as_problem(model, data), None)
    with pytest.raises(ValueError, match="model must be deterministic"):
        exact_igs_penalty(Noisy(), data)
    with pytest.raises(ValueError, match=r"Call model\.eval\(\) first"):
        exact_igs_penalty(nn.Sequential(model, nn.Dropout()).train(), data)
    with pytest.raises(MemoryError, match="40 rows × 21 parameters"):
        exact_igs_penalty(model, data, memory=1000)
