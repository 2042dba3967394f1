"""A and Aᵀ as operators against the rows that other code forms, for every way and batch."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from igsref import as_problem
from igsref.curvature import operators
from igsref.curvature.factor import reduced_factor
from igsref.curvature.hessian import saved_per_sample
from igsref.curvature.operators import (
    _PUSH,
    OperatorError,
    adjoint_error,
    factor_operator,
)
from tests.closeness import EPS, assert_within
from tests.random_states import states
from tests.strategies import architecture, classes, gaussian, mlp

SINGLE = 2.0**-23
WAYS = list(_PUSH)


def small(samples=7, **options):
    model = mlp(0, [3, 4, 3], nn.Tanh)
    return as_problem(model, (gaussian(1, samples, 3), classes(2, samples, 3)), **options)


def of(name):
    model, x, y = architecture(name, 3, 5)
    return as_problem(model, (x, y))


def with_likelihood(likelihood):
    y = classes(2, 14, 2).view(7, 2) if likelihood == "bernoulli" else gaussian(2, 7, 2)
    model = mlp(0, [3, 4, 2], nn.GELU)
    return as_problem(model, (gaussian(1, 7, 3), y), likelihood=likelihood)


def by_keyword():
    x = gaussian(1, 5, 3)
    theta = {"w": gaussian(3, 3, 4)}
    data = {"shift": x, "scale": x.flip(0), "labels": classes(2, 5, 4)}

    def model(theta, shift, scale):
        return torch.tanh(shift @ theta["w"]) * scale.square().sum(dim=1, keepdim=True)

    return as_problem((model, theta), data)


PROBLEMS = {
    "MLP": small,
    "batch norm": lambda: of("batch norm"),
    "tied weights": lambda: of("tied weights"),
    "attention and embedding": lambda: of("attention and embedding"),
    "refused by vmap": lambda: of("refused by vmap"),
    "bernoulli": lambda: with_likelihood("bernoulli"),
    "gaussian": lambda: with_likelihood("gaussian"),
    "pool": lambda: small(4, fisher_data=gaussian(5, 6, 3)),
    "some parameters": lambda: small(parameters="2.*"),
    "by keyword": by_keyword,
}


@cache
def operator_of(name, dtype=torch.float64):
    return factor_operator(PROBLEMS[name](), dtype=dtype)


@cache
def factor_of(name):
    return reduced_factor(operator_of(name).problem)


def assert_is_the_factor(operator, factor, eps=EPS, weights=None):
    """A X, Aᵀ U and Aᵀ W A X are products with that matrix.

    Entries of rows agree to 64 eps of the largest (tests.closeness), so products with them do to
    that times ‖x‖₁, ‖u‖₁; here twice, for the sums themselves are rounded.
    """
    n, m = factor.shape
    assert (operator.num_rows, operator.num_parameters) == (n, m)
    x, u = gaussian(11, m, 3), gaussian(12, n, 3)
    unit = 128 * eps * float(factor.abs().max())
    assert_within(operator.forward(x), factor @ x, unit * x.abs().sum(dim=0).expand(n, 3))
    assert_within(operator.adjoint(u), factor.mT @ u, unit * u.abs().sum(dim=0).expand(m, 3))
    images, back = operator.normal(x, weights)
    assert_within(images, factor @ x, unit * x.abs().sum(dim=0).expand(n, 3))
    w = torch.eye(n).double() if weights is None else torch.block_diag(*weights)
    # An error of A X goes through W and the n entries of a column of A.
    moved = unit * x.abs().sum(dim=0) * float(w.abs().sum(dim=0).max()) * n * factor.abs().max()
    allowed = moved + unit * (w @ factor @ x).abs().sum(dim=0)
    assert_within(back, factor.mT @ (w @ (factor @ x)), allowed.expand(m, 3))


@pytest.mark.filterwarnings("ignore:model cannot be vmapped:RuntimeWarning")
@pytest.mark.parametrize("name", PROBLEMS)
def test_products_are_those_of_the_reduced_factor(name):
    operator = operator_of(name)
    assert operator.way == "forward"
    assert operator.dtype == torch.float64
    assert 0 <= operator.adjoint_error < 64 * EPS
    assert_is_the_factor(operator, factor_of(name))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["MLP", "batch norm", "attention and embedding", "bernoulli"])
def test_all_ways_have_the_same_products(way, name):
    assert_is_the_factor(replace(operator_of(name), way=way), factor_of(name))


@pytest.mark.parametrize("batch", [1, 3, 6, 100])
def test_the_batch_makes_no_difference_beyond_rounding(batch):
    assert_is_the_factor(replace(operator_of("MLP"), batch=batch), factor_of("MLP"))


def test_a_product_is_foretold_by_its_first_batch(monkeypatch):
    operator, clock = replace(factor_operator(small(7)), batch=2), iter([5.0, 7.0])
    seen = []
    true = type(operator).forward
    monkeypatch.setattr(
        type(operator), "forward", lambda self, x: seen.append(self.num_rows) or true(self, x)
    )
    monkeypatch.setattr(operators.time, "monotonic", lambda: next(clock))
    assert operator.seconds_of_forward(3) == 2.0 * 7 / 2
    assert seen == [2 * 2]  # two samples of three classes


def test_equal_calls_have_equal_bits():
    operator = replace(operator_of("MLP"), batch=3)
    x = gaussian(0, operator.num_parameters, 2)
    for first, second in zip(operator.normal(x), operator.normal(x), strict=True):
        assert torch.equal(first, second)
    assert torch.equal(operator.forward(x), operator.normal(x)[0])


@pytest.mark.parametrize("batch", [3, 7])
def test_weights_are_blocks_of_the_samples_rows(batch):
    half = gaussian(4, 7, 2, 2)
    operator = replace(operator_of("MLP"), batch=batch)
    assert_is_the_factor(operator, factor_of("MLP"), weights=half @ half.mT)


@pytest.mark.parametrize("batch", [2, 4])
def test_some_samples_have_their_rows_in_the_order_asked_for(batch):
    problem, chosen = operator_of("pool").problem, torch.tensor([8, 0, 3, 9])
    operator = replace(factor_operator(problem, samples=chosen), batch=batch)
    blocks = factor_of("pool").view(10, 2, -1)
    assert_is_the_factor(operator, blocks[chosen].flatten(0, 1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["MLP", "batch norm", "attention and embedding", "gaussian"])
def test_derivatives_may_be_taken_in_single_precision(way, name):
    operator, factor = operator_of(name, torch.float32), factor_of(name)
    assert operator.dtype == torch.float32
    # It is tested in that precision: rounding, but no more of it.
    assert EPS < operator.adjoint_error < 64 * SINGLE
    operator = replace(operator, way=way)
    assert_is_the_factor(operator, factor, eps=SINGLE)
    x = gaussian(0, operator.num_parameters, 1)
    error = float((operator.forward(x) - factor @ x).abs().max())
    assert error > 128 * EPS * float(factor.abs().max()) * float(x.abs().sum())


@pytest.mark.parametrize("confidence", [100.0, 400.0])
def test_confident_samples_keep_their_digits_in_single_precision(confidence):
    # M_i is e^(−50) and e^(−200): the one is within what float32 holds, the other is not.
    model = mlp(0, [3, 4, 2], nn.Tanh)
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([confidence, 0.0]))
    problem = as_problem(model, (gaussian(1, 5, 3), classes(2, 5, 2)))
    factor = reduced_factor(problem)
    assert 0 < float(factor.abs().max()) < 100 * torch.tensor(-confidence / 2).double().exp()
    # Logits of some hundreds, as float32 has them, move no derivative of the layers before.
    operator = factor_operator(problem, dtype=torch.float32)
    assert_is_the_factor(operator, factor, eps=SINGLE)
    # So do vectors of any size.
    x, u = gaussian(11, operator.num_parameters, 1), gaussian(12, operator.num_rows, 1)
    assert_within(operator.forward(2.0**400 * x), 2.0**400 * operator.forward(x), 0.0)
    assert_within(operator.adjoint(2.0**400 * u), 2.0**400 * operator.adjoint(u), 0.0)


def test_columns_do_not_mix():
    operator = operator_of("MLP", torch.float32)
    x = gaussian(0, operator.num_parameters, 3) * torch.tensor([1e-30, 0.0, 1e30]).double()
    images = operator.forward(x)
    assert torch.equal(images[:, 1], torch.zeros(operator.num_rows).double())
    for column in (0, 2):
        alone = operator.forward(x[:, [column]])
        size = float(alone.abs().max())
        assert_within(images[:, [column]], alone, 64 * SINGLE * size)


class _Square(torch.autograd.Function):
    """a², with derivatives backwards alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a):
        return a * a

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class _WrongForwards(_Square):
    """a², of which forward mode says a³."""

    @staticmethod
    def jvp(ctx, tangent):
        return 3 * ctx.saved_tensors[0].square() * tangent


class _OneByOne(_Square):
    """a², whose forward mode cannot be vmapped."""

    generate_vmap_rule = False

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * ctx.saved_tensors[0] * tangent


class _OldStyle(torch.autograd.Function):
    """a², in the style that torch.func refuses."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a * a

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class _DetachedSlope(_Square):
    """a², with a derivative backwards that autograd takes for a constant."""

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient.detach()


class _AllWrong(_WrongForwards, _DetachedSlope):
    """Forward mode says a³, and backwards cannot be differentiated."""

    backward = _DetachedSlope.backward


def squaring(square, **parameters):
    theta = {"a": gaussian(0, 2), **parameters}
    data = (gaussian(2, 4, 2), classes(3, 4, 2))

    def model(theta, x):
        return square(theta["a"]) * x + sum(theta[name] for name in parameters)

    return as_problem((model, theta), data)


@pytest.mark.parametrize(
    ("function", "way"),
    [
        (_Square, "twice backward"),
        (_WrongForwards, "twice backward"),
        (_OldStyle, "twice backward"),
        (_OneByOne, "forward, one by one"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_way_that_fails_or_is_wrong_gives_way_to_the_next(function, way, dtype):
    operator = factor_operator(squaring(function.apply, b=gaussian(1, 2)), dtype=dtype)
    assert operator.way == way
    plain = reduced_factor(squaring(torch.square, b=gaussian(1, 2)))
    assert_is_the_factor(operator, plain, eps=torch.finfo(dtype).eps)
    # The wrong way was there, and is told by the test.
    if function is _WrongForwards:
        assert adjoint_error(replace(operator, way="forward")) > 0.01


@pytest.mark.parametrize("parameters", [{}, {"b": gaussian(1, 2)}])
def test_derivatives_that_no_way_can_match_are_refused(parameters):
    problem = squaring(_AllWrong.apply, **parameters)
    told = (
        r"must be each other's adjoints. forward: .* differ by .* of their size; "
        r"forward, one by one: .* differ by .* of their size; twice backward: "
    )
    with pytest.raises(OperatorError, match=told):
        factor_operator(problem)


def test_why_each_way_failed_is_told():
    reasons = "forward: .*jvp.*; forward, one by one: .*jvp.*; twice backward: .* differ by"
    with pytest.raises(OperatorError, match=reasons):
        factor_operator(squaring(_DetachedSlope.apply, b=gaussian(1, 2)))


def test_logits_that_do_not_depend_on_the_parameters_have_rows_of_zeros():
    theta, data = {"a": gaussian(0, 2)}, (gaussian(2, 4, 3), classes(3, 4, 3))
    operator = factor_operator(as_problem((lambda theta, x: x, theta), data))
    for way in WAYS:
        assert_is_the_factor(replace(operator, way=way), torch.zeros(8, 2).double())


def short_of_memory(limit):
    """A problem of 8 samples, of which a batch above a limit does not fit; batches as they came."""
    problem, sizes = small(8), []

    def evaluate(values, args, kwargs):
        sizes.append(len(args[0]))
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError(f"{sizes[-1]} samples do not fit")
        return problem.function.evaluate(values, args, kwargs)

    return replace(problem, function=replace(problem.function, evaluate=evaluate)), sizes


def test_a_first_batch_that_does_not_fit_is_halved_once():
    problem, sizes = short_of_memory(4)
    told = "cpu has no memory for 8 samples at a time; going on with 4"
    with pytest.warns(RuntimeWarning, match=told) as caught:
        operator = factor_operator(problem)
    assert caught[0].filename == __file__
    assert operator.batch == 4
    sizes.clear()
    operator.normal(gaussian(0, operator.num_parameters, 1))
    assert set(sizes) == {4}


def test_a_half_that_does_not_fit_either_raises():
    problem, _ = short_of_memory(3)
    with pytest.warns(RuntimeWarning, match="going on with 4"):
        operator = factor_operator(problem)
    with pytest.raises(torch.OutOfMemoryError, match="4 samples do not fit"):
        operator.forward(gaussian(0, operator.num_parameters, 1))


def test_a_single_sample_that_does_not_fit_raises():
    problem, _ = short_of_memory(0)
    # What a pass keeps is measured on a pass of one sample, which is the first to fail.
    with pytest.raises(torch.OutOfMemoryError, match="1 samples do not fit"):
        factor_operator(problem, samples=torch.tensor([3]))


@pytest.mark.parametrize("way", WAYS)
def test_short_memory_is_no_reason_for_another_way(monkeypatch, way):
    def short(*_):
        raise torch.OutOfMemoryError("nothing left")

    monkeypatch.setitem(_PUSH, way, short)
    for other in WAYS[: WAYS.index(way)]:
        monkeypatch.setitem(_PUSH, other, lambda *_: 1 / 0)
    with pytest.raises(torch.OutOfMemoryError, match="nothing left"):
        factor_operator(operator_of("MLP").problem)


def test_batches_take_a_quarter_of_what_is_free_at_most(monkeypatch):
    problem = operator_of("MLP").problem
    three = 3 * 8 * saved_per_sample(problem) * (1 + 2)
    monkeypatch.setattr("igsref.curvature.batches.available_memory", lambda _: 4 * three)
    assert factor_operator(problem, width=2).batch == 3
    assert factor_operator(problem, width=2, dtype=torch.float32).batch == 6
    assert factor_operator(problem, width=1).batch == 4
    assert factor_operator(problem, width=2, samples=torch.arange(2)).batch == 2
    monkeypatch.setattr("igsref.curvature.batches.available_memory", lambda _: 0)
    assert factor_operator(problem).batch == 1


def test_no_samples_have_no_operator():
    with pytest.raises(ValueError, match="samples must hold at least one input of the pool; got"):
        factor_operator(operator_of("MLP").problem, samples=torch.zeros(0, dtype=torch.int64))


def drawing(raising=False):
    """A problem whose model draws random numbers without use, and then may raise."""
    problem = operator_of("MLP").problem

    def evaluate(values, args, kwargs):
        torch.rand(3)
        if raising:
            raise KeyError("no logits")
        return problem.function.evaluate(values, args, kwargs)

    return replace(problem, function=replace(problem.function, evaluate=evaluate))


def test_random_states_stay_as_they_are():
    problem, before = drawing(), states()
    operator = factor_operator(problem, samples=torch.arange(7))
    assert operator.way == "forward, one by one"  # vmap refuses to draw
    operator.normal(gaussian(0, operator.num_parameters, 2))
    operator.forward(gaussian(0, operator.num_parameters, 2))
    operator.adjoint(gaussian(0, operator.num_rows, 2))
    adjoint_error(operator)
    assert states() == before


def test_an_error_that_is_kept_keeps_no_settings():
    """Tracebacks of a last error live on, and with them all that a suspended frame holds."""
    operator = operator_of("MLP")
    function = drawing(raising=True).function
    broken = replace(operator, function=function, way="forward, one by one")
    x, u = gaussian(0, operator.num_parameters, 1), gaussian(0, operator.num_rows, 1)
    fused = torch.backends.mha.get_fastpath_enabled
    before, flags = states(), (torch.backends.cudnn.deterministic, fused())
    for product in (
        lambda: broken.forward(x),
        lambda: broken.adjoint(u),
        lambda: broken.normal(x),
    ):
        with pytest.raises(KeyError, match="no logits") as kept:
            product()
        assert states() == before
        assert (torch.backends.cudnn.deterministic, fused()) == flags
        assert kept.value.__traceback__ is not None


def test_parameters_stay_as_they_are():
    problem = small()
    before = {name: value.clone() for name, value in problem.function.parameters.items()}
    operator = factor_operator(problem)
    operator.normal(gaussian(0, operator.num_parameters, 2))
    for name, value in problem.function.parameters.items():
        assert torch.equal(value, before[name])
        assert not value.requires_grad
        assert value.grad is None


def test_the_error_of_an_adjoint_is_relative_to_both_sides(monkeypatch):
    operator, factor = operator_of("MLP"), factor_of("MLP")
    generator = torch.Generator().manual_seed(4)
    x, u = (
        torch.randn(size, 1, generator=generator, dtype=torch.float64) for size in factor.mT.shape
    )
    monkeypatch.setattr(type(operator), "adjoint", lambda self, vectors: 3 * factor.mT @ vectors)
    pushed, pulled = factor @ x, 3 * factor.mT @ u
    size = pushed.norm() * u.norm() + x.norm() * pulled.norm()
    expected = 2 * float((pushed * u).sum().abs() / size)
    assert adjoint_error(operator, seed=4) == pytest.approx(expected, rel=1e-12)
