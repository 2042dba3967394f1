"""A unit without outgoing weights leaves the outputs alone; IGS never falls, and can rise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.transforms.surgery import add_silent_unit, draw_add_silent_unit
from tests.assertions import assert_same_igs
from tests.strategies import ACTIVATIONS, SEEDS, architecture, classes, gaussian, mlp
from tests.transforms.surgery.cases import RESIDUAL, residual

pytestmark = pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")


@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, activation=st.sampled_from(sorted(ACTIVATIONS)))
def test_igs_never_falls_and_the_ceiling_stays(seed, activation):
    model = mlp(seed, [2, 4, 3, 3], ACTIVATIONS[activation])
    data = gaussian(seed + 1, 40, 2), classes(seed + 2, 40, 3)
    wider = draw_add_silent_unit(model, torch.Generator().manual_seed(seed))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(wider, data)
    agreement = 1e-10 * before.value + before.rounding_error + after.rounding_error
    assert after.upper >= before.lower
    assert after.value >= before.value - agreement
    assert after.ceiling == pytest.approx(before.ceiling, rel=1e-10)


def test_igs_rises_where_the_unit_is_a_new_direction():
    model, data = mlp(0, [2, 3, 3], nn.Tanh), (gaussian(1, 40, 2), classes(2, 40, 3))
    wider = add_silent_unit(model, "0", torch.Generator().manual_seed(0))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(wider, data)
    # Two more directions: one for each class difference.
    assert after.rank == before.rank + 2
    assert after.lower > before.value * 1.01
    assert after.value < after.ceiling
    assert after.ceiling == pytest.approx(before.ceiling, rel=1e-12)


@pytest.mark.parametrize("layer", ["0", "3"])
def test_silent_channel_raises_igs(layer):
    model, x, y = architecture("batch norm", 0, 50)
    wider = add_silent_unit(model, layer, torch.Generator().manual_seed(0))
    before, after = igsref.exact_igs(model, (x, y)), igsref.exact_igs(wider, (x, y))
    torch.testing.assert_close(wider(x), model(x), rtol=1e-14, atol=1e-14)
    assert after.lower > before.value


@pytest.mark.parametrize("name", RESIDUAL)
def test_igs_never_falls_by_a_silent_unit_among_shared_channels(name):
    model, layer, data = residual(name, 0)
    wider = add_silent_unit(model, layer, torch.Generator().manual_seed(0))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(wider, data)
    # A sum of at most 36 products, twice, behind ReLU: far below 1e3 eps of logits of size one.
    torch.testing.assert_close(wider(data[0]), model(data[0]), rtol=1e-13, atol=1e-13)
    assert after.rank > before.rank
    assert after.value > before.value + before.rounding_error + after.rounding_error
    assert after.ceiling == pytest.approx(before.ceiling, rel=1e-10)


def test_silent_unit_does_not_hear_itself():
    model, layer, _ = residual("stream", 0)
    weight = add_silent_unit(model, layer, torch.Generator().manual_seed(0)).layer.weight
    assert weight[:, 3].tolist() == [0.0] * 4
    assert weight[3, :3].abs().min() > 0


def test_batch_norm_leaves_a_silent_unit_as_it_is():
    model, _, _ = architecture("batch norm", 0, 2)
    norm = add_silent_unit(model, "0", torch.Generator().manual_seed(0))[1]
    assert (norm.running_mean[3], norm.running_var[3]) == (0.0, 1.0)
    assert (norm.weight[3], norm.bias[3]) == (1.0, 0.0)


def test_igs_stays_where_outgoing_weights_are_not_trained():
    model, data = mlp(0, [2, 3, 3], nn.Tanh), (gaussian(1, 40, 2), classes(2, 40, 3))
    model[2].weight.requires_grad_(False)
    wider = add_silent_unit(model, "0", torch.Generator().manual_seed(0))
    assert_same_igs(igsref.exact_igs(model, data), igsref.exact_igs(wider, data))


def test_saturated_network_stays_at_its_ceiling():
    model, data = mlp(0, [2, 9, 3], nn.Tanh), (gaussian(1, 4, 2), classes(2, 4, 3))
    wider = add_silent_unit(model, "0", torch.Generator().manual_seed(0))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(wider, data)
    assert before.saturated and after.saturated
    assert_same_igs(before, after)


def test_generator_decides_and_global_state_is_left_alone():
    model, state = mlp(0, [2, 3, 3], nn.Tanh), torch.get_rng_state()
    one, same, other = (
        add_silent_unit(model, "0", torch.Generator().manual_seed(seed))[0].weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_layer_that_does_not_exist_is_refused_with_those_that_do():
    model = mlp(0, [2, 3, 4, 3], nn.Tanh)
    with pytest.raises(ValueError, match=r"layer must name .*: '0', '2'; got '9', which is"):
        add_silent_unit(model, "9", torch.Generator())
    for visible in ("1", "4"):
        with pytest.raises(ValueError, match=f"layer '{visible}' has no hidden units"):
            add_silent_unit(model, visible, torch.Generator())
