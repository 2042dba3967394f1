"""IGS does not depend on the parameters that a function is written in.

Invariance is about real numbers: powers of two and permutations round nothing, other factors
round the weights, and the rounded network is another one. So powers of two are held to equality,
the rest to 1e-10 plus what both results state of their rounding.
"""

import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.transforms.bijections import DenseLinear, invert
from igsref.transforms.reparametrize import reparametrize
from igsref.transforms.symmetries import hidden_widths, permute_nodes, scale_layers, scale_nodes
from tests.assertions import assert_in_order, assert_same_bits, assert_same_igs
from tests.strategies import SEEDS, gaussian, mlp, relu_networks

CASES = settings(max_examples=12, deadline=None)


@pytest.fixture(autouse=True)
def _no_accuracy_warnings():
    """Badly known values are compared by the uncertainty that they state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        yield


def node_factors(model: nn.Sequential, seed: int, *, powers_of_two: bool) -> list[torch.Tensor]:
    """Factors up to 10^±6 for every hidden unit, both ends reached in the first layer."""
    generator = torch.Generator().manual_seed(seed)
    factors = []
    for width in hidden_widths(model):
        u = 2 * torch.rand(width, generator=generator, dtype=torch.float64) - 1
        factors.append(2.0 ** (20 * u).round() if powers_of_two else 10.0 ** (6 * u))
    factors[0][0], factors[0][-1] = (2.0**20, 2.0**-20) if powers_of_two else (1e6, 1e-6)
    return factors


@CASES
@given(network=relu_networks(), seed=SEEDS)
def test_node_scaling_by_powers_of_two_changes_no_bit(network, seed):
    model, x, y = network
    before = igsref.exact_igs(model, (x, y))
    after = igsref.exact_igs(
        scale_nodes(model, node_factors(model, seed, powers_of_two=True)), (x, y)
    )
    assert_in_order(after)
    assert_same_bits(before, after)


@CASES
@given(network=relu_networks(), seed=SEEDS)
def test_node_scaling_invariance_up_to_a_million(network, seed):
    model, x, y = network
    before = igsref.exact_igs(model, (x, y))
    after = igsref.exact_igs(
        scale_nodes(model, node_factors(model, seed, powers_of_two=False)), (x, y)
    )
    assert_in_order(after)
    assert_same_igs(before, after)


@CASES
@given(network=relu_networks(), data=st.data())
def test_layer_scaling_invariance(network, data):
    model, x, y = network
    exponents = data.draw(
        st.lists(
            st.floats(-6, 6), min_size=len(hidden_widths(model)), max_size=len(hidden_widths(model))
        )
    )
    before = igsref.exact_igs(model, (x, y))
    after = igsref.exact_igs(scale_layers(model, [10.0**e for e in exponents]), (x, y))
    assert_same_igs(before, after)


@CASES
@given(network=relu_networks(), seed=SEEDS)
def test_permutation_invariance(network, seed):
    model, x, y = network
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(width, generator=generator) for width in hidden_widths(model)]
    assert_same_igs(
        igsref.exact_igs(model, (x, y)), igsref.exact_igs(permute_nodes(model, orders), (x, y))
    )


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, samples=st.integers(1, 12), smooth=st.booleans())
def test_linear_reparametrization_invariance(seed, samples, smooth):
    model = mlp(seed, [2, 4, 3], nn.Tanh if smooth else nn.ReLU)
    m = sum(p.numel() for p in model.parameters())
    x, y = gaussian(seed + 1, samples, 2), torch.arange(samples) % 3
    orthogonal = torch.linalg.qr(gaussian(seed + 2, m, m)).Q
    stretch = 2.0 ** (torch.arange(m) % 7 - 3.0)
    before = igsref.exact_igs(model, (x, y))
    moved = reparametrize(model, invert(DenseLinear(orthogonal * stretch)))
    after = igsref.exact_igs(moved, (x, y))
    # θ is the same to the bit, and what its rows times T lose the result after states.
    allowed = 1e-10 * before.value + before.rounding_error + after.rounding_error
    assert abs(after.value - before.value) <= allowed
    assert after.ceiling == pytest.approx(before.ceiling, rel=1e-12 * m)


@settings(max_examples=10, deadline=None)
@given(network=relu_networks(), seed=SEEDS, data=st.data())
def test_minibatch_and_per_sample_invariance(network, seed, data):
    model, x, y = network
    b = data.draw(st.integers(1, len(x)))
    before = igsref.exact_igs(model, (x, y))
    after = igsref.exact_igs(
        scale_nodes(model, node_factors(model, seed, powers_of_two=False)), (x, y)
    )
    allowed = 1e-10 * before.value + before.rounding_error + after.rounding_error
    assert abs(float(after.minibatch(b)) - float(before.minibatch(b))) <= allowed
    moved = (after.per_sample - before.per_sample).abs().max()
    assert float(moved) <= allowed * len(x)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_textbook_in_float32_is_not_invariant(seed):
    """The negative control: the laws above would notice."""
    model = mlp(seed, [3, 6, 6, 3], nn.ReLU)
    x, y = gaussian(seed + 1, 24, 3), torch.arange(24) % 3
    scaled = scale_nodes(model, node_factors(model, seed, powers_of_two=True))
    before = igsref.textbook_igs(model, (x, y), dtype=torch.float32)
    assume(before > 0)
    after = igsref.textbook_igs(scaled, (x, y), dtype=torch.float32)
    assert abs(after / before - 1) > 1e-3
