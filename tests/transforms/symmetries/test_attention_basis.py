"""Changes of basis within the heads of attention keep the function."""

import warnings

import pytest
import torch
from torch import Tensor, nn

import igsref
from igsref.transforms.symmetries import (
    attention_heads,
    change_query_key_basis,
    change_value_output_basis,
    draw_bases,
    draw_query_key_basis,
    draw_value_output_basis,
)
from tests.closeness import assert_within
from tests.strategies import Attention, classes, gaussian, mlp
from tests.transforms.networks import allowance, flat, generator, network, ready

DRAWS = [draw_query_key_basis, draw_value_output_basis]


class Cross(nn.Module):
    """Attention of five positions to seven others of another width, summed over positions."""

    def __init__(self, **settings) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True, **settings)

    def forward(self, x: Tensor) -> Tensor:
        key = x[:, :7, : self.attention.kdim]
        value = x[:, :7, 1 : 1 + self.attention.vdim]
        return self.attention(x[:, :5, :6], key, value)[0].sum(1)


SETTINGS = {
    "packed": {},
    "without biases": {"bias": False},
    "separate": {"kdim": 3, "vdim": 4},
    "learnt key and value": {"add_bias_kv": True},
    "a key of zeros": {"add_zero_attn": True},
    "all": {"kdim": 5, "vdim": 2, "add_bias_kv": True, "add_zero_attn": True},
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_change_of_basis_keeps_the_function(settings, draw):
    for seed, strength in enumerate([0.0, 0.5, 1.5]):
        model = ready(Cross(**settings), seed)
        x = gaussian(seed + 1, 3, 7, 7)
        changed = draw(model, generator(seed), strength)
        assert not torch.equal(flat(changed), flat(model))
        # Solving with T of size 3 loses κ(T) = 10^(2·strength) more digits, a few times 3·eps.
        allowed = 10 * 10.0 ** (2 * strength) * allowance(model, changed, x)
        with torch.no_grad():
            assert_within(changed(x), model(x), allowed)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_basis_of_powers_of_two_changes_no_bit_of_the_projections_back(draw):
    """Diagonal T of powers of two in whole networks: values are scaled exactly."""
    model, x = network("attention", 1)
    change = change_query_key_basis if draw is draw_query_key_basis else change_value_output_basis
    bases = [torch.diag_embed(torch.tensor([[2.0, 0.25], [8.0, 1.0]])).double()]
    assert torch.equal(change(model, bases)(x), model(x))


@pytest.mark.parametrize("change", [change_query_key_basis, change_value_output_basis])
def test_the_transposed_inverse_matters(change):
    """The negative control: a map that is not undone moves the function."""
    model, x = network("attention", 1)
    (basis,) = draw_bases(model, generator(0), 0.5)
    changed = change(model, [basis])
    weight = changed.attention.in_proj_weight.data
    weight[:4] = model.attention.in_proj_weight.data[:4]
    weight[8:] = model.attention.in_proj_weight.data[8:]
    assert float((changed(x) - model(x)).detach().abs().max()) > 1e-6


@pytest.mark.parametrize("draw", DRAWS)
def test_igs_stays(draw):
    model, x = ready(Attention(), 1), classes(2, 30, 7).view(6, 5)
    data, strength = (x, classes(3, 6, 3)), 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        before = igsref.exact_igs(model, data)
        after = igsref.exact_igs(draw(model, generator(4), strength), data)
    # The parameters are rounded to eps·κ(T), κ = 10; what both state is for eps.
    allowed = 1e-10 * before.value + 10 * (before.rounding_error + after.rounding_error)
    assert abs(before.value - after.value) <= allowed
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)


def test_bases_have_the_condition_of_their_strength():
    (bases,) = draw_bases(Cross(), generator(1), 1.0)
    assert bases.shape == (2, 3, 3)
    assert torch.linalg.cond(bases).tolist() == pytest.approx([100.0, 100.0])


def test_heads_are_listed_in_the_order_of_the_model():
    model = nn.ModuleList([nn.MultiheadAttention(6, 2), nn.MultiheadAttention(8, 8)])
    assert attention_heads(model) == [(2, 3), (8, 1)]


@pytest.mark.parametrize(
    ("bases", "message"),
    [
        ([], r"bases must hold one tensor per attention module, of shapes \[\(2, 3, 3\)\]"),
        ([torch.ones(1, 6, 6)], r"got \[\(1, 6, 6\)\]"),
        ([torch.zeros(2, 3, 3)], "bases must be invertible"),
        ([torch.ones(2, 3, 3)], "bases must be invertible"),
        ([torch.full((2, 3, 3), torch.nan)], "bases must be finite"),
    ],
)
@pytest.mark.parametrize("change", [change_query_key_basis, change_value_output_basis])
def test_bases_that_do_not_fit_are_refused(change, bases, message):
    with pytest.raises(ValueError, match=message):
        change(Cross(), bases)


def test_a_model_without_attention_to_act_on_is_refused():
    with pytest.raises(ValueError, match="it has none at all"):
        draw_query_key_basis(mlp(0, [2, 3, 2], nn.ReLU), generator(0), 1.0)
    tied = nn.ModuleList([nn.MultiheadAttention(6, 2), nn.MultiheadAttention(6, 2)])
    tied[1].in_proj_weight = tied[0].in_proj_weight
    with pytest.raises(ValueError, match=r"0, 1: a subclass.* sharing its tensors"):
        draw_value_output_basis(tied, generator(0), 1.0)


def test_the_given_model_is_left_alone():
    model = Cross()
    before = flat(model).clone()
    for draw in DRAWS:
        draw(model, generator(0), 1.0)
    assert torch.equal(flat(model), before)
