"""IGS and its expectation."""

import itertools
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.curvature.factor import gradients
from igsref.curvature.rank_bound import rank_bound
from tests.assertions import assert_in_order
from tests.curvature.test_rank_bound import exact_rank
from tests.strategies import SEEDS, architecture, gaussian, mlp, relu_networks


@settings(max_examples=25)
@given(network=relu_networks())
def test_value_lies_between_zero_and_the_ceiling(network):
    model, x, y = network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        assert_in_order(igsref.exact_igs(model, (x, y)))


def test_saturated_value_is_the_ceiling_and_the_sum_of_expm1_of_the_losses():
    model, x, y = architecture("MLP with tanh", 0, 4)
    result = igsref.exact_igs(model, (x, y))
    losses = nn.functional.cross_entropy(model(x), y, reduction="none")
    assert result.saturated
    assert result.saturation == 1.0
    assert result.upper == pytest.approx(result.ceiling, rel=1e-14)
    assert result.value == float(result.sample_ceiling.mean())
    assert result.upper - result.lower < 1e-11 * result.value
    assert result.value == pytest.approx(float(torch.expm1(losses.detach()).sum()), rel=1e-13)


def test_per_sample_terms_are_g_pinv_g():
    model, x, y = architecture("MLP with tanh", 0, 30)
    problem = igsref.as_problem(model, (x, y))
    g = gradients(problem)
    pinv = torch.linalg.pinv(igsref.fisher(problem), rtol=1e-11, hermitian=True)
    result = igsref.exact_igs(problem)
    expected = ((g @ pinv) * g).sum(dim=1)
    torch.testing.assert_close(result.per_sample, expected, rtol=1e-7, atol=1e-9)
    assert float(result.per_sample.mean()) == pytest.approx(result.value, rel=1e-14)


def test_full_batch_is_g_bar_pinv_g_bar():
    model, x, y = architecture("MLP with tanh", 0, 30)
    problem = igsref.as_problem(model, (x, y))
    mean = gradients(problem).mean(dim=0)
    pinv = torch.linalg.pinv(igsref.fisher(problem), rtol=1e-11, hermitian=True)
    full_batch = igsref.exact_igs(problem).full_batch
    assert float(full_batch) == pytest.approx(float(mean @ pinv @ mean), rel=1e-7)


def test_bernoulli_with_one_logit_is_softmax_over_zero_and_the_logit():
    model = mlp(1, [2, 3, 1], nn.Tanh)
    pair = nn.Sequential(*model, nn.ConstantPad1d((1, 0), 0.0))
    x, y = gaussian(2, 25, 2), torch.arange(25) % 2
    one = igsref.exact_igs(model, (x, y), likelihood="bernoulli")
    two = igsref.exact_igs(pair, (x, y))
    assert one.value == pytest.approx(two.value, rel=1e-11)
    assert one.ceiling == pytest.approx(two.ceiling, rel=1e-13)


def test_square_loss_is_the_hat_matrix_of_regression():
    """For a linear model P is the hat matrix H: IGS = Σ h_ii r_i², G = ‖H r‖²/N, r = f − y."""
    model = nn.Linear(3, 1, bias=False).double()
    x, y = gaussian(3, 10, 3), gaussian(4, 10, 1)
    result = igsref.exact_igs(model, (x, y), likelihood="gaussian")
    hat = x @ torch.linalg.pinv(x)
    r = model(x).detach() - y
    expected = float((hat.diagonal() * r[:, 0].square()).sum())
    assert result.value == pytest.approx(expected, rel=1e-12)
    assert float(result.full_batch) == pytest.approx(
        float((hat @ r).square().sum()) / 10, rel=1e-12
    )
    assert result.rank == 3


def test_class_probabilities_as_labels_weigh_the_gradients():
    model, x, y = architecture("MLP with tanh", 0, 30)
    hard = igsref.exact_igs(model, (x, y))
    one_hot = igsref.exact_igs(model, (x, nn.functional.one_hot(y, 3).double()))
    assert one_hot == hard
    smooth = 0.9 * nn.functional.one_hot(y, 3).double() + 0.1 / 3
    soft = igsref.exact_igs(model, (x, smooth))
    textbook = igsref.textbook_igs(model, (x, smooth), rcond=1e-11)
    assert soft.value == pytest.approx(textbook, rel=1e-7)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
@given(seed=SEEDS, samples=st.integers(1, 12))
@settings(max_examples=15)
def test_expected_value_is_the_rank(likelihood, seed, samples):
    model = mlp(seed, [2, 3, 1 if likelihood == "bernoulli" else 3], nn.Tanh)
    data = (gaussian(seed, samples, 2), torch.arange(samples) % 2)
    geometry = igsref.as_geometry(model, data, likelihood=likelihood)
    rank = geometry.space.dimension
    assert igsref.expected_igs(geometry) == pytest.approx(rank, abs=samples * 9 * 2**-48)


@pytest.mark.long
def test_expected_value_equals_the_sum_over_all_labellings():
    model, x, _ = architecture("MLP with tanh", 0, 3)
    p = igsref.as_problem(model, (x, torch.zeros(3, dtype=torch.int64))).logits.softmax(dim=1)
    total = 0.0
    for labels in itertools.product(range(3), repeat=3):
        weight = float(torch.stack([p[i, c] for i, c in enumerate(labels)]).prod())
        total += weight * float(igsref.exact_igs(model, (x, torch.tensor(labels))))
    geometry = igsref.as_geometry(model, (x, torch.zeros(3, dtype=torch.int64)))
    assert igsref.expected_igs(geometry) == pytest.approx(total, rel=1e-12)


def test_expectation_over_uncountable_labels_is_refused():
    model, x, _ = architecture("MLP with tanh", 0, 3)
    with pytest.raises(ValueError, match="countable labels; gaussian has none"):
        igsref.expected_igs(model, (x, gaussian(1, 3, 3)), likelihood="gaussian")


def test_a_subset_of_parameters_is_a_lower_bound():
    model, x, y = architecture("MLP with tanh", 0, 30)
    whole = igsref.exact_igs(model, (x, y))
    head = igsref.exact_igs(model, (x, y), parameters="4.*")
    assert head.value < whole.value
    assert head.num_parameters < head.full_num_parameters == whole.num_parameters
    assert "lower bound for the whole network" in str(head)
    assert (head.is_lower_bound, whole.is_lower_bound) == (True, False)


@pytest.mark.parametrize("name", ["MLP with tanh", "MLP with gelu"])
def test_a_subset_of_parameters_is_a_lower_bound_of_either_grade(name):
    model, x, y = architecture(name, 0, 30)
    head = igsref.exact_igs(model, (x, y), parameters="4.*")
    assert head.grade == ("verified" if name == "MLP with tanh" else "estimated")
    assert "15 of 59 parameters: a lower bound for the whole network" in str(head)
    assert head.upper < igsref.exact_igs(model, (x, y)).lower


def trained_with_a_dead_unit() -> tuple[nn.Sequential, tuple[torch.Tensor, torch.Tensor]]:
    """A ReLU network on two clusters, one unit off on all of its samples."""
    model, x = mlp(3, [2, 5, 3], nn.ReLU), gaussian(4, 24, 2)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
    with torch.no_grad():
        model[0].bias[1] = -40.0
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model, (x, y)


def without_exact_ranks(patch):
    """As for networks whose rank is not decided exactly: the bound from structure stands."""
    patch.setattr("igsref.geometry.geometry.exact_bound", lambda *_: None)


def test_the_exact_rank_closes_the_upper_end():
    model, data = trained_with_a_dead_unit()
    result = igsref.exact_igs(model, data)
    assert result.clear_rank
    assert result.rank == result.rank_lower == result.rank_upper
    assert result.rank == exact_rank(model, igsref.as_problem(model, data))
    assert result.rank_source == "exact rank"
    assert result.grade == "verified"
    assert result.upper - result.lower < 1e-9 * result.value


def test_the_exact_rank_as_bound_closes_the_upper_end(monkeypatch):
    model, data = trained_with_a_dead_unit()
    problem = igsref.as_problem(model, data)
    rank = exact_rank(model, problem)
    without_exact_ranks(monkeypatch)
    loose, tight = igsref.exact_igs(problem), igsref.exact_igs(model, data, rank_bound=rank)
    assert loose.clear_rank
    assert loose.rank == loose.rank_lower == rank < loose.rank_upper
    assert loose.upper > loose.value * (1 + 1e-4)
    assert tight.rank_lower == tight.rank_upper == rank
    assert tight.rank_source == "rank_bound"
    assert tight.grade == "verified"
    assert tight.upper - tight.lower < 1e-9 * tight.value
    assert loose.lower <= tight.lower <= tight.value == loose.value <= tight.upper


def test_a_bound_above_what_the_structure_shows_is_idle():
    model, data = trained_with_a_dead_unit()
    shown = rank_bound(igsref.as_problem(model, data)).value
    loose = igsref.exact_igs(model, data)
    assert loose.rank_upper < shown
    assert igsref.exact_igs(model, data, rank_bound=shown + 1) == loose


@pytest.mark.parametrize("samples", [4, 40], ids=["saturated", "tall"])
@pytest.mark.parametrize("name", ["MLP with tanh", "MLP with gelu"])
def test_a_rank_bound_below_the_rank_is_refused(name, samples):
    model, x, y = architecture(name, 0, samples)
    shown = igsref.exact_igs(model, (x, y)).rank_lower
    assert igsref.exact_igs(model, (x, y), rank_bound=shown).rank_upper == shown
    how = "proven" if name == "MLP with tanh" else "estimated"
    message = f"rank_bound={shown - 1} is below the rank that is {how}, {shown}$"
    with pytest.raises(ValueError, match=message):
        igsref.exact_igs(model, (x, y), rank_bound=shown - 1)


def test_badly_determined_value_is_warned_of():
    model = mlp(3, [2, 8, 8, 3], nn.Tanh)
    x = gaussian(5, 1, 2) + 1e-7 * gaussian(6, 12, 2)
    with pytest.warns(igsref.AccuracyWarning, match="to about ±.* only: the spectrum"):
        result = igsref.exact_igs(model, (x, torch.arange(12) % 3))
    assert result.rounding_error > 1e-6 * result.value
    assert "unclear" in str(result)


def test_ceiling_that_overflows_in_the_sum_names_the_sample():
    model = nn.Sequential(nn.Linear(1, 4, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0], [708.9], [708.9], [708.9]]))
    data = (torch.tensor([[0.1], [1.0]]).double(), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="overflows float64: sample 1 alone"):
        igsref.exact_igs(model, data)


def test_a_second_run_gives_the_same_bits():
    model, x, y = architecture("convolution", 0, 9)
    assert igsref.exact_igs(model, (x, y)).to_json() == igsref.exact_igs(model, (x, y)).to_json()


def test_a_loose_bound_of_the_user_leaves_the_exact_rank_to_be_decided():
    """Below what structure knows and above the exact rank; and one below it is refused."""
    model, data = twins()
    exact = igsref.exact_rank(model, data)
    alone = igsref.exact_igs(model, data)
    assert alone.rank_source == "exact rank"
    loose = igsref.exact_igs(model, data, rank_bound=exact + 1)
    assert (loose.rank_source, loose.rank_upper) == ("exact rank", exact)
    assert (loose.lower, loose.upper) == (alone.lower, alone.upper)
    with pytest.raises(ValueError, match=f"below the rank that is proven, {exact}"):
        igsref.exact_igs(model, data, rank_bound=exact - 1)


def twins():
    """A ReLU network with two equal hidden units, and samples enough for all other directions."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data.copy_(gaussian(seed, *parameter.shape))
    model[0].weight.data[1], model[0].bias.data[1] = model[0].weight[0], model[0].bias[0]
    model[2].weight.data[:, 1] = model[2].weight[:, 0]
    return model, (gaussian(9, 30, 2), torch.arange(30) % 3)
