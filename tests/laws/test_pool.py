"""F as a mean over a pool: IGS = (N_F/N) Σ v_iᵀ P v_i, P in the pool, and what follows.

A pool that adds nothing changes nothing; one that adds inputs keeps every law, and is the way out
of saturation.
"""

import itertools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import igsref
from igsref.curvature.factor import gradients
from igsref.transforms.symmetries import scale_nodes
from tests.assertions import assert_in_order, assert_same_bits, assert_same_igs
from tests.closeness import assert_rows_agree
from tests.jacobian.naive import naive_jacobian
from tests.laws.test_invariance import node_factors
from tests.strategies import SEEDS, architecture, classes, gaussian, mlp, relu_networks

RCOND = 1e-12
"""What a dense F counts as zero."""
NOISE, CLEAR = 1e-14, 1e-9
"""Eigenvalues of F, relative, between which neither the cut nor their digits are clear."""


@pytest.fixture(autouse=True)
def _no_accuracy_warnings():
    """Badly known values are compared by the uncertainty that they state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        yield


@st.composite
def pooled_networks(draw: Callable) -> tuple[nn.Sequential, tuple[Tensor, Tensor], dict]:
    """(model, data, pool): the labelled inputs appended to others, or somewhere among them."""
    model, x, y = draw(relu_networks())
    # Seeds of its own: the networks draw theirs from SEEDS.
    more = gaussian(2**21 + draw(SEEDS), draw(st.integers(1, 6)), x.shape[1])
    if draw(st.booleans()):
        return model, (x, y), {"fisher_data": more}
    everything = torch.cat([more, x])
    order = torch.tensor(draw(st.permutations(range(len(everything)))))
    members = order.argsort()[len(more) :]
    return model, (x, y), {"fisher_data": everything[order], "members": members}


def naive_igs(model: nn.Module, data: tuple[Tensor, Tensor], pool: Tensor) -> float | None:
    """(1/N) Σ g_i F⁺ g_iᵀ, F the mean over the pool; nothing of the library in it.

    None where an eigenvalue of F is neither noise nor clear of it.
    """
    x, y = data
    jacobian = naive_jacobian(model, pool).view(len(pool), -1, model_size(model)).numpy()
    p = model(pool).detach().softmax(dim=1).numpy()
    metric = np.einsum("nc,cd->ncd", p, np.eye(p.shape[1])) - p[:, :, None] * p[:, None, :]
    fisher = np.einsum("ncm,ncd,ndk->mk", jacobian, metric, jacobian) / len(pool)
    sizes = np.abs(np.linalg.eigvalsh(fisher))
    if np.any((sizes > NOISE * sizes.max()) & (sizes < CLEAR * sizes.max())):
        return None
    loss = nn.functional.cross_entropy
    gradients = [
        torch.cat(
            [
                value.flatten()
                for value in torch.autograd.grad(loss(model(a[None]), b[None]), model.parameters())
            ]
        ).numpy()
        for a, b in zip(x, y, strict=True)
    ]
    inverse = np.linalg.pinv(fisher, rcond=RCOND, hermitian=True)
    return float(np.mean([g @ inverse @ g for g in gradients]))


def model_size(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def case(seed: int, samples: int, more: int) -> tuple[nn.Sequential, tuple[Tensor, Tensor], Tensor]:
    """(model, data, pool without the labelled inputs) of a small smooth network."""
    model = mlp(seed, [2, 3, 3], nn.Tanh)
    data = gaussian(seed + 1, samples, 2), classes(seed + 2, samples, 3)
    return model, data, gaussian(seed + 3, more, 2)


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, samples=st.integers(1, 6), more=st.integers(1, 30))
def test_value_equals_the_definition(seed, samples, more):
    model, data, pool = case(seed, samples, more)
    expected = naive_igs(model, data, torch.cat([pool, data[0]]))
    assume(expected is not None)
    result = igsref.exact_igs(model, data, fisher_data=pool)
    # F's eigenvalues above 1e-9·λmax are known to 1e-16/1e-9 = 1e-7.
    assert result.value == pytest.approx(expected, rel=1e-6)
    textbook = igsref.textbook_igs(model, data, fisher_data=pool, rcond=RCOND)
    assert textbook == pytest.approx(expected, rel=1e-6)


def test_most_small_networks_are_compared_with_the_definition():
    """The negative control of the law above: it does not assume everything away."""
    compared = [
        naive_igs(model, data, torch.cat([pool, data[0]])) is not None
        for model, data, pool in (case(seed, 4, 10) for seed in range(20))
    ]
    assert sum(compared) >= 10


@pytest.mark.parametrize("members", [torch.tensor([7, 0, 3, 11]), torch.arange(12)])
def test_square_loss_is_the_hat_matrix_of_the_pool(members):
    """For a linear model IGS = (N_F/N) Σ h_ii r_i², H the hat matrix of all inputs."""
    model = nn.Linear(3, 1, bias=False).double()
    pool = gaussian(3, 12, 3)
    x, y = pool[members], gaussian(4, len(members), 1)
    result = igsref.exact_igs(
        model, (x, y), likelihood="gaussian", fisher_data=pool, members=members
    )
    hat = pool @ torch.linalg.pinv(pool)
    r = model(x).detach() - y
    weight = 12 / len(members)
    terms = weight * hat.diagonal()[members] * r[:, 0].square()
    assert result.value == pytest.approx(float(terms.sum()), rel=1e-12)
    assert torch.allclose(result.per_sample, len(members) * terms, rtol=1e-12, atol=0)
    spread = torch.zeros(12, 1).double().index_copy(0, members, r)
    full = weight * float((hat @ spread).square().sum()) / len(members)
    assert float(result.full_batch) == pytest.approx(full, rel=1e-12)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_other_likelihoods_take_a_pool(likelihood):
    model, (x, _), pool = case(0, 4, 20)
    data = x, (gaussian(5, 4, 3) > 0).double()
    options = {"likelihood": likelihood, "fisher_data": pool}
    result = igsref.exact_igs(model, data, **options)
    assert_in_order(result)
    textbook = igsref.textbook_igs(model, data, rcond=RCOND, **options)
    assert result.value == pytest.approx(textbook, rel=1e-6)


@settings(max_examples=4, deadline=None)
@given(network=relu_networks())
def test_the_labelled_inputs_as_pool_are_no_pool(network):
    model, x, y = network
    plain = igsref.exact_igs(model, (x, y))
    assert igsref.exact_igs(model, (x, y), fisher_data=x, members=torch.arange(len(x))) == plain


def assert_same_numbers(before: igsref.Result, after: igsref.Result) -> None:
    assert_same_igs(before, after)
    assert after.rank == before.rank
    assert after.ceiling == pytest.approx(before.ceiling, rel=1e-12)
    terms = before.sample_ceiling.repeat(len(after.sample_ceiling) // len(before.sample_ceiling))
    assert torch.allclose(after.sample_ceiling, terms, rtol=1e-12, atol=0)


@settings(max_examples=4, deadline=None)
@given(network=relu_networks(), times=st.integers(1, 2))
def test_a_pool_of_the_labelled_inputs_again_and_again_changes_nothing(network, times):
    """F is a mean: N_F/N grows, and every ‖P v_i‖² falls as much; so does the ceiling."""
    model, x, y = network
    plain = igsref.exact_igs(model, (x, y))
    assume(plain.clear_rank)
    again = igsref.exact_igs(model, (x, y), fisher_data=x.repeat(times, 1))
    assert again.pool_size == (times + 1) * len(x)
    assert not again.saturated
    assert_same_numbers(plain, again)


@settings(max_examples=4, deadline=None)
@given(network=pooled_networks())
def test_labelled_data_and_pool_taken_twice_change_nothing(network):
    model, (x, y), options = network
    before = igsref.exact_igs(model, (x, y), **options)
    assume(before.clear_rank)
    problem = igsref.as_problem(model, (x, y), **options)
    inputs, members = problem.samples.args[0], problem.members
    after = igsref.exact_igs(
        model,
        (x.repeat(2, 1), y.repeat(2)),
        fisher_data=inputs.repeat(2, 1),
        members=torch.cat([members, members + len(inputs)]),
    )
    assert_same_numbers(before, after)


@settings(max_examples=4, deadline=None)
@given(network=pooled_networks())
def test_ceiling_grows_with_the_pool(network):
    model, (x, y), options = network
    alone, pooled = igsref.exact_igs(model, (x, y)), igsref.exact_igs(model, (x, y), **options)
    weight = pooled.pool_size / len(x)
    assert weight > 1
    assert pooled.ceiling == pytest.approx(weight * alone.ceiling, rel=1e-12)
    losses = nn.functional.cross_entropy(model(x), y, reduction="none").detach()
    expected = weight * len(x) * torch.expm1(losses)
    assert torch.allclose(pooled.sample_ceiling, expected, rtol=1e-9, atol=1e-300)


@settings(max_examples=4, deadline=None)
@given(network=pooled_networks())
def test_gradients_stay_in_the_span(network):
    model, data, options = network
    problem = igsref.as_problem(model, data, **options)
    outside = igsref.span_residual(problem)
    assert outside.shape == data[1].shape
    # The gradients are those of the labelled samples, pool or no pool.
    assert_rows_agree(gradients(problem), gradients(igsref.as_problem(model, data)))
    # As tests/measures/test_span.py has it.
    allowed = 2**-50 * problem.num_rows**0.5 * problem.num_parameters
    assert float(outside.max()) <= allowed


@settings(max_examples=5, deadline=None)
@given(network=pooled_networks(), seed=SEEDS)
def test_node_scaling_by_powers_of_two_changes_no_bit(network, seed):
    model, data, options = network
    before = igsref.exact_igs(model, data, **options)
    scaled = scale_nodes(model, node_factors(model, seed, powers_of_two=True))
    after = igsref.exact_igs(scaled, data, **options)
    assert_in_order(after)
    assert_same_bits(before, after)


@settings(max_examples=5, deadline=None)
@given(network=pooled_networks(), seed=SEEDS)
def test_order_of_the_pool_does_not_matter(network, seed):
    model, data, options = network
    problem = igsref.as_problem(model, data, **options)
    order = torch.randperm(problem.pool_size, generator=torch.Generator().manual_seed(seed))
    inputs, members = problem.samples.args[0][order], order.argsort()[problem.members]
    before = igsref.exact_igs(problem)
    after = igsref.exact_igs(model, data, fisher_data=inputs, members=members)
    assert_same_igs(before, after)
    allowed = len(data[1]) * (1e-10 * before.value + before.rounding_error + after.rounding_error)
    assert float((after.per_sample - before.per_sample).abs().max()) <= allowed


@settings(max_examples=5, deadline=None)
@given(network=pooled_networks())
def test_numbers_come_in_order(network):
    model, data, options = network
    result = igsref.exact_igs(model, data, **options)
    assert_in_order(result)
    assert result.per_sample.shape == data[1].shape
    assert float(result.per_sample.mean()) == pytest.approx(result.value, rel=1e-12)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_closed_forms_of_batches_are_means_over_all_of_them(batch_size, replacement):
    model, data, pool = case(0, 4, 9)
    geometry = igsref.as_geometry(model, data, fisher_data=pool)
    assert not geometry.saturated
    if replacement:
        batches = itertools.product(range(4), repeat=batch_size)
    else:
        batches = itertools.combinations(range(4), batch_size)
    mean = igsref.monte_carlo_minibatch_igs(geometry, batches=batches)
    closed = igsref.exact_igs(geometry).minibatch(batch_size, replacement=replacement)
    assert float(mean) == pytest.approx(float(closed), rel=1e-12)
    assert closed.lower <= closed.value <= closed.upper


def test_full_batch_is_g_bar_pinv_g_bar():
    model, data, pool = case(0, 4, 20)
    mean = torch.autograd.grad(
        nn.functional.cross_entropy(model(data[0]), data[1]), model.parameters()
    )
    g = torch.cat([value.flatten() for value in mean])
    fisher = igsref.fisher(model, data, fisher_data=pool)
    expected = float(g @ torch.linalg.pinv(fisher, rtol=RCOND, hermitian=True) @ g)
    full_batch = igsref.exact_igs(model, data, fisher_data=pool).full_batch
    assert float(full_batch) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=5, deadline=None)
@given(network=pooled_networks())
def test_expected_value_is_the_labelled_samples_part_of_the_rank(network):
    model, data, options = network
    geometry = igsref.as_geometry(model, data, **options)
    problem = geometry.problem
    own = float(geometry.leverage()[problem.members].sum())
    allowed = problem.weight * problem.num_rows**2 * 2**-48
    assert igsref.expected_igs(geometry) == pytest.approx(problem.weight * own, abs=allowed)


def test_a_pool_brings_a_saturated_network_out_of_its_ceiling():
    """N(C−1) ≤ m and full rank: a function of the losses. N_F(C−1) > m: no longer."""
    model, x, y = architecture("MLP with tanh", 0, 6)
    alone = igsref.exact_igs(model, (x, y))
    assert alone.saturated
    pooled = igsref.exact_igs(model, (x, y), fisher_data=gaussian(9, 60, 3))
    assert pooled.num_rows > pooled.num_parameters
    assert not pooled.saturated
    assert pooled.saturation < 0.95
    assert pooled.clear_rank


def test_saturated_networks_of_the_same_outputs_are_told_apart_by_a_pool():
    """Without one, IGS sees the outputs only; two networks may share those and differ."""
    x, y = gaussian(1, 3, 2), torch.tensor([0, 1, 2])
    one, other = mlp(0, [2, 5, 3], nn.Tanh), mlp(1, [2, 5, 3], nn.Tanh)
    with torch.no_grad():
        # Three inputs, six columns of the last layer: it can be solved for the same logits.
        hidden = torch.cat([other[:2](x), torch.ones(3, 1)], dim=1)
        last = torch.linalg.lstsq(hidden, one(x)).solution
        other[2].weight.copy_(last[:-1].mT)
        other[2].bias.copy_(last[-1])
    pool = gaussian(5, 30, 2)
    alone = [float(igsref.exact_igs(model, (x, y))) for model in (one, other)]
    pooled = [float(igsref.exact_igs(model, (x, y), fisher_data=pool)) for model in (one, other)]
    assert alone[1] == pytest.approx(alone[0], rel=1e-10)
    assert abs(pooled[1] / pooled[0] - 1) > 1e-2
