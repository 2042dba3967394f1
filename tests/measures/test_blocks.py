"""An upper bound from blocks of samples: above the IGS, below the ceiling, better when merged."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from tests.strategies import SEEDS, architecture, classes, gaussian, mlp, relu_networks


@pytest.fixture(autouse=True)
def _no_accuracy_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        yield


@settings(max_examples=15, deadline=None)
@given(network=relu_networks(), block_size=st.integers(1, 12))
def test_bound_lies_between_the_igs_and_the_ceiling(network, block_size):
    model, x, y = network
    result = igsref.exact_igs(model, (x, y))
    bound = igsref.block_upper_bound(model, (x, y), block_size=block_size)
    # The IGS is at least its lower end, and the value is known to its stated rounding.
    assert result.lower <= bound <= result.ceiling
    assert result.value <= bound * (1 + 1e-12) + result.rounding_error


def smooth(seed: int, samples: int) -> tuple[nn.Sequential, tuple[torch.Tensor, torch.Tensor]]:
    """A network whose rank reaches what its structure allows, so that upper ends are values."""
    model = mlp(seed, [2, 3, 3], nn.Tanh)
    return model, (gaussian(seed + 1, samples, 2), classes(seed + 2, samples, 3))


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, samples=st.integers(2, 40), fine=st.integers(1, 6), merged=st.integers(2, 8))
def test_merging_blocks_never_raises_the_bound(seed, samples, fine, merged):
    model, data = smooth(seed, samples)
    by_few, by_many = (
        igsref.block_upper_bound(model, data, block_size=size) for size in (fine, fine * merged)
    )
    assert by_many <= by_few * (1 + 1e-9)


def test_bound_is_the_sum_of_the_blocks_own_igs():
    model, (x, y) = smooth(0, 40)
    parts = [igsref.exact_igs(model, (x[i : i + 16], y[i : i + 16])) for i in (0, 16, 32)]
    assert not parts[0].saturated
    assert parts[2].saturated
    bound = igsref.block_upper_bound(model, (x, y), block_size=16)
    assert bound == pytest.approx(sum(part.upper for part in parts), rel=1e-12)
    whole = igsref.exact_igs(model, (x, y))
    assert whole.value * 1.01 < bound < whole.ceiling * 0.99


def test_one_block_gives_the_upper_end_of_the_igs():
    model, data = smooth(0, 40)
    upper = igsref.exact_igs(model, data).upper
    for size in (40, 41, 10**6):
        bound = igsref.block_upper_bound(model, data, block_size=size)
        assert bound == pytest.approx(upper, rel=1e-14)


def test_blocks_that_are_saturated_give_the_ceiling():
    model, data = smooth(0, 40)
    bound = igsref.block_upper_bound(model, data, block_size=4)
    assert bound == pytest.approx(igsref.exact_igs(model, data).ceiling, rel=1e-13)


def test_a_twin_in_another_block_lowers_the_ceiling_all_the_same():
    model, (x, y) = smooth(0, 4)
    data = torch.cat([x, x]), torch.cat([y, y])
    bound = igsref.block_upper_bound(model, data, block_size=4)
    assert bound <= igsref.exact_igs(model, data).ceiling
    assert bound == pytest.approx(igsref.exact_igs(model, (x, y)).ceiling, rel=1e-12)


def test_bound_is_that_of_regression_by_blocks():
    """Linear regression: each block's hat matrix, Σ_b Σ_{i∈b} h_ii r_i²."""
    model = nn.Linear(3, 1, bias=False).double()
    x, y = gaussian(3, 11, 3), gaussian(4, 11, 1)
    r = (model(x).detach() - y)[:, 0]
    expected = 0.0
    for part in (slice(0, 5), slice(5, 10), slice(10, 11)):
        hat = x[part] @ torch.linalg.pinv(x[part])
        expected += float((hat.diagonal() * r[part].square()).sum())
    bound = igsref.block_upper_bound(model, (x, y), block_size=5, likelihood="gaussian")
    assert bound == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("size", [np.int64(4), torch.tensor(4)])
def test_a_block_size_may_be_any_integer(size):
    model, data = smooth(0, 9)
    expected = igsref.block_upper_bound(model, data, block_size=4)
    assert igsref.block_upper_bound(model, data, block_size=size) == expected


def test_a_problem_and_a_geometry_stand_for_model_and_data():
    model, data = smooth(0, 20)
    expected = igsref.block_upper_bound(model, data, block_size=12)
    problem = igsref.as_problem(model, data)
    assert igsref.block_upper_bound(problem, block_size=12) == expected
    assert igsref.block_upper_bound(igsref.as_geometry(problem), block_size=12) == expected


@pytest.mark.parametrize("name", ["attention and embedding", "LSTM", "batch norm"])
@pytest.mark.filterwarnings("ignore:model cannot be vmapped")
def test_bound_of_other_architectures_lies_between_the_igs_and_the_ceiling(name):
    model, x, y = architecture(name, 0, 9)
    result = igsref.exact_igs(model, (x, y))
    bound = igsref.block_upper_bound(model, (x, y), block_size=2)
    assert result.lower <= bound <= result.ceiling


def test_a_dead_block_adds_nothing_and_no_word_is_said_of_it():
    """One hidden ReLU without biases: dead where x < 0, alive where x > 0."""
    layers = nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 2, bias=False)
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[2].weight.copy_(torch.tensor([[1.0], [0.0]]))
    x, y = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]]).double(), torch.tensor([0, 1, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound = igsref.block_upper_bound(model, (x, y), block_size=2)
    alive = igsref.exact_igs(model, (x[2:], y[2:]))
    assert igsref.exact_igs(model, (x, y)).value == pytest.approx(alive.value, rel=1e-12)
    assert alive.upper <= bound <= igsref.exact_igs(model, (x, y)).ceiling


def test_a_known_rank_bounds_every_block():
    model, data = smooth(0, 40)
    rank = igsref.exact_igs(model, data).rank_lower
    free = igsref.block_upper_bound(model, data, block_size=16)
    assert igsref.block_upper_bound(model, data, block_size=16, rank_bound=rank) <= free
    with pytest.raises(ValueError, match=rf"rank_bound=3 is below the rank that is proven, {rank}"):
        igsref.block_upper_bound(model, data, block_size=16, rank_bound=3)


def test_an_interruption_says_how_many_blocks_were_done(monkeypatch):
    model, data = smooth(0, 9)
    done = []

    def stopped(*arguments, **options):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        return igsref.as_geometry(*arguments, **options)

    monkeypatch.setattr("igsref.measures.blocks.as_geometry", stopped)
    with pytest.raises(KeyboardInterrupt, match="after 2 of 5 blocks of samples; no bound yet"):
        igsref.block_upper_bound(model, data, block_size=2)


@pytest.mark.parametrize("members", [None, torch.tensor([1, 0, 2, 3])])
def test_a_pool_is_refused(members):
    model, (x, y) = smooth(0, 4)
    pool = x if members is None else x[members.argsort()]
    with pytest.raises(ValueError, match="leave fisher_data out"):
        igsref.block_upper_bound(model, (x, y), block_size=2, fisher_data=pool, members=members)
