"""The dense Hessian against autograd on the plain module, and what is known of it."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import igsref
from igsref import as_problem
from igsref.curvature.hessian import hessian, hessian_block, second_derivative_rules
from igsref.curvature.loss import parameter_vector
from igsref.flat import ranges, unflatten
from tests.closeness import EPS, assert_within
from tests.strategies import architecture, classes, fill_, gaussian, mlp, relu_networks

# An entry is a sum over samples and paths of products of some tens of factors, each rounded, all
# of about the largest entry's size at most: some hundreds of eps of that.
ROUNDING = 1000 * EPS


def naive_hessian(model, x, y):
    """torch.autograd.functional.hessian of the cross-entropy of the plain module."""
    theta = {name: value.detach() for name, value in model.named_parameters()}

    def loss(flat):
        logits = torch.func.functional_call(model, unflatten(flat, theta), (x,))
        return nn.functional.cross_entropy(logits, y)

    flat = torch.cat([value.flatten() for value in theta.values()])
    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(loss, flat)


def small(**options):
    model = mlp(0, [3, 4, 3], nn.Tanh)
    return as_problem(model, (gaussian(1, 7, 3), classes(2, 7, 3)), **options)


@pytest.mark.parametrize(
    "name",
    [
        "MLP with relu",
        "MLP with gelu",
        "batch norm",
        "tied weights",
        "residual, module used twice",
        "attention and embedding",
        "LSTM",
        "refused by vmap",
    ],
)
def test_hessian_is_that_of_the_plain_module(name):
    model, x, y = architecture(name, 3, 5)
    expected = naive_hessian(model, x, y)
    actual = hessian(as_problem(model, (x, y)))
    assert_within(actual, expected, ROUNDING * float(expected.abs().max()))
    assert torch.equal(actual, actual.mT)


def test_hessian_of_least_squares_is_the_gram_matrix_of_the_inputs():
    x, y = gaussian(1, 6, 3), gaussian(2, 6, 2)
    problem = as_problem(nn.Linear(3, 2, bias=False).double(), (x, y), likelihood="gaussian")
    expected = torch.kron(torch.eye(2).double(), x.mT @ x / 6)
    assert_within(hessian(problem), expected, 20 * EPS * float(expected.abs().max()))


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_hessian_of_a_linear_classifier_is_its_fisher_matrix(likelihood):
    outputs = 3 if likelihood == "categorical" else 1
    y = classes(2, 6, 2) if likelihood == "categorical" else classes(2, 6, 2).double()
    model = mlp(0, [3, outputs], nn.ReLU)
    problem = as_problem(model, (gaussian(1, 6, 3), y), likelihood=likelihood)
    expected = igsref.fisher(problem)
    assert_within(hessian(problem), expected, ROUNDING * float(expected.abs().max()))


def test_confident_samples_keep_their_small_curvature():
    model = nn.Linear(1, 2, bias=False).double()
    nn.init.constant_(model.weight[0], 20.0)
    nn.init.constant_(model.weight[1], -20.0)
    problem = as_problem(model, (torch.ones(1, 1), torch.tensor([0])))
    p = torch.tensor(-40.0).double().exp()  # p(1 − p) to 4e-18 relative
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    # exp(−40) amplifies the rounding of its argument, 40 eps.
    assert_within(hessian(problem), p * sign, 100 * EPS * p)


@settings(max_examples=10, deadline=None)
@given(network=relu_networks())
def test_diagonal_of_a_relu_network_is_that_of_its_fisher_matrix(network):
    model, x, y = network
    problem = as_problem(model, (x, y))
    expected = igsref.fisher(problem).diagonal()
    scale = float(hessian(problem).abs().max()) + float(expected.max())
    assert_within(hessian(problem).diagonal(), expected, ROUNDING * scale)


def test_diagonal_of_a_tanh_network_is_another():
    problem = small()
    fisher = igsref.fisher(problem).diagonal()
    assert float((hessian(problem).diagonal() - fisher).abs().max()) > 0.01 * float(fisher.max())


def test_a_unit_on_its_kink_has_the_hessian_of_a_dead_one():
    def of(weight):
        model = mlp(0, [1, 1, 2], nn.ReLU, bias=False)
        nn.init.constant_(model[0].weight, weight)
        return hessian(as_problem(model, (torch.ones(3, 1), torch.tensor([0, 1, 1]))))

    assert torch.equal(of(0.0), of(-1.0))
    assert not torch.equal(of(0.0), of(1e-3))


def test_a_pool_has_no_part_in_it():
    pooled = small(fisher_data=gaussian(5, 4, 3))
    assert_within(hessian(pooled), hessian(small()), 1e-15)


def test_constants_are_left_out():
    whole, part = small(), small(parameters="2.*")
    place = slice(ranges(whole.function.parameters)["2.weight"].start, None)
    assert_within(hessian(part), hessian(whole)[place, place], 1e-15)


def test_a_problem_has_one_hessian():
    problem = small()
    assert hessian(problem) is hessian(problem)
    assert hessian(small()) is not hessian(problem)


def test_a_hessian_goes_with_its_problem():
    problem = small()
    kept = weakref.ref(hessian(problem))
    del problem
    gc.collect()
    assert kept() is None


def test_a_block_is_a_part_of_the_whole():
    problem, other = small(), small()
    place = ranges(problem.function.parameters)["2.weight"]
    alone = hessian_block(problem, "2.weight")
    assert hessian_block(problem, "2.weight") is alone
    assert_within(alone, hessian(other)[place, place], 1e-15)
    assert torch.equal(hessian_block(other, "2.weight"), hessian(other)[place, place])


def test_a_block_takes_the_memory_of_a_block():
    problem = small()
    with pytest.raises(MemoryError):
        hessian(problem, memory=30_000)
    assert hessian_block(problem, "2.bias", memory=30_000).shape == (3, 3)


def test_many_rows_are_those_of_few(monkeypatch):
    expected = hessian(small())
    monkeypatch.setattr("igsref.curvature.hessian._LARGEST_CHUNK", 4)
    assert_within(hessian(small()), expected, 1e-15)


@pytest.mark.parametrize(("samples", "size"), [(1, "7.9 KiB"), (2000, "4.4 MiB")])
def test_what_is_predicted_grows_with_the_samples(samples, size):
    # Saved by each sample: 2 inputs, 2 values of tanh and again 2 as inputs of the second layer.
    # All 12 rows at once, 8 (12 + 4 · 6 N) bytes each, beside four matrices of 12 × 12.
    data = gaussian(1, samples, 2), classes(2, samples, 2)
    with pytest.raises(MemoryError, match=rf"12 × 12 entries, 12 rows at once, needs {size}"):
        hessian(as_problem(mlp(0, [2, 2, 2], nn.Tanh), data), memory=1)


def test_what_does_not_fit_is_refused_with_the_sizes():
    with pytest.raises(MemoryError, match=r"31 × 31 entries.* needs .*iB, and 1000 B is there"):
        hessian(small(), memory=1000)


def test_a_senseless_budget_is_refused():
    with pytest.raises(ValueError, match="memory, in bytes, must be at least 1"):
        hessian(small(), memory=0)


class _Square(torch.autograd.Function):
    """x², in the style that torch.func refuses."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class _Lopsided(torch.autograd.Function):
    """a·b with twice its derivative by b."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a, b):
        return a * b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        return gradient * b, 2 * gradient * a


def own_derivatives(function):
    theta = {"a": gaussian(0, 2), "b": gaussian(1, 2)}
    data = (gaussian(2, 4, 2), classes(3, 4, 2))
    return as_problem((function, theta), data)


def test_a_model_that_is_refused_by_vmap_has_the_same_hessian():
    refused = own_derivatives(lambda p, x: _Square.apply(p["a"]) * x + p["b"])
    with pytest.warns(RuntimeWarning, match=r"cannot be vmapped; computing one row.*setup_context"):
        actual = hessian(refused)
    expected = hessian(own_derivatives(lambda p, x: p["a"].square() * x + p["b"]))
    assert_within(actual, expected, ROUNDING * float(expected.abs().max()))


def test_derivatives_of_no_function_are_refused():
    with pytest.raises(ArithmeticError, match=r"must be symmetric.*differ by up to"):
        hessian(own_derivatives(lambda p, x: _Lopsided.apply(p["a"], p["b"]) * x))


class _DetachedSlope(torch.autograd.Function):
    """a², with 2a for a derivative that is taken for a constant: H misses its bend."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a):
        return a * a, 2 * a

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx, gradient, _):
        return gradient * ctx.saved_tensors[0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_symmetric_second_derivatives_that_are_not_the_gradients_are_refused(scale):
    # scale·a² at a/√scale: the same function at any size of its parameters.
    theta = {"a": gaussian(0, 2) / scale**0.5, "b": gaussian(1, 2)}
    data = (gaussian(2, 9, 2), classes(3, 9, 2))

    def problem(square):
        return as_problem((lambda p, x: scale * square(p["a"]) * x + p["b"], theta), data)

    with pytest.raises(ArithmeticError, match=r"for a by .* own second derivative is wrong"):
        hessian(problem(lambda a: _DetachedSlope.apply(a)[0]))
    with pytest.raises(ArithmeticError, match=r"for a by .* own second derivative is wrong"):
        hessian_block(problem(lambda a: _DetachedSlope.apply(a)[0]), "a")
    assert hessian(problem(torch.square)).shape == (4, 4)


@pytest.mark.parametrize("seed", range(8))
def test_kinks_at_theta_and_within_a_step_are_not_refused(seed):
    model = mlp(seed, [2, 6, 3], nn.ReLU)
    x = gaussian(seed, 8, 2)
    with torch.no_grad():
        model[0].bias[0] = 1e-7 - model[0].weight[0] @ x[0]  # a kink within all steps
        model[0].weight[1], model[0].bias[1] = 0.0, 0.0  # at θ
        model[2].weight[:, 1] = 0.0
    assert hessian(as_problem(model, (x, classes(seed, 8, 3)))).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 4), (3, 4)])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_has_the_second_derivatives_of_its_formula(shape, dim):
    into, units = shape
    model = nn.Sequential(nn.Linear(into, units), nn.Tanh(), nn.Linear(units, 3)).double()
    fill_(model, 0)
    x, y = gaussian(1, 9, into), classes(2, 9, 3)
    torch.nn.utils.parametrizations.weight_norm(model[0], dim=dim)
    problem = as_problem(model, (x, y))
    theta = problem.function.parameters
    g, v = (f"0.parametrizations.weight.original{k}" for k in (0, 1))
    axes = {0: 1, 1: 0, None: (0, 1)}[dim]

    def formula(p, x):
        weight = p[v] * p[g] / p[v].square().sum(dim=axes, keepdim=True).sqrt()
        hidden = torch.tanh(x @ weight.mT + p["0.bias"])
        return hidden @ p["2.weight"].mT + p["2.bias"]

    expected = hessian(as_problem((formula, dict(theta)), (x, y)))
    assert_within(hessian(problem), expected, ROUNDING * float(expected.abs().max()))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_the_formula_of_weight_norm_has_its_values_and_slopes_under_functional_transforms(dim):
    v, g = gaussian(0, 5, 2, 3, 4), torch.norm_except_dim(gaussian(1, 2, 3, 4), 2, dim)

    def slope(v):
        return torch.func.grad_and_value(lambda v: torch._weight_norm(v, g, dim).sin().sum())(v)

    expected = [torch.stack(found) for found in zip(*map(slope, v), strict=True)]
    with second_derivative_rules():
        actual = torch.vmap(slope)(v)
    for ours, theirs in zip(actual, expected, strict=True):
        # Products of two and sums of some tens of terms of size 1.
        assert_within(ours, theirs, 100 * EPS * max(1.0, float(theirs.abs().max())))


def test_model_and_data_may_be_given_in_place_of_a_problem():
    model, data = mlp(0, [3, 4, 3], nn.Tanh), (gaussian(1, 7, 3), classes(2, 7, 3))
    assert torch.equal(hessian(model, data), hessian(small()))
    assert torch.equal(hessian(model, data, parameters="2.*"), hessian(small(parameters="2.*")))
    with pytest.raises(TypeError, match="data is missing"):
        hessian(model)


def test_infinite_derivatives_are_refused():
    problem = own_derivatives(lambda p, x: p["a"] * x + (p["b"] * 0.0).sqrt())
    with pytest.raises(ArithmeticError, match=r"must be finite; \d+ of 16 are not"):
        hessian(problem)


def test_parameters_and_random_states_stay_as_they_are():
    problem = small()
    before, state = parameter_vector(problem), torch.get_rng_state()
    hessian(problem)
    assert torch.equal(parameter_vector(problem), before)
    assert torch.equal(torch.get_rng_state(), state)
