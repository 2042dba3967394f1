"""Weight normalisation changes the number of parameters, and neither outputs nor IGS."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

import igsref
from igsref.transforms.surgery import draw_normalize_weights, normalize_weights
from tests.assertions import assert_same_igs
from tests.closeness import EPS, assert_within
from tests.strategies import ACTIVATIONS, SEEDS, architecture, classes, gaussian, mlp

pytestmark = pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")


@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, activation=st.sampled_from(sorted(ACTIVATIONS)))
def test_normalised_network_has_the_same_igs(seed, activation):
    model = mlp(seed, [2, 4, 3, 3], ACTIVATIONS[activation])
    data = gaussian(seed + 1, 30, 2), classes(seed + 2, 30, 3)
    normalized = draw_normalize_weights(model, torch.Generator().manual_seed(seed))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(normalized, data)
    assert after.num_parameters > before.num_parameters
    assert_same_igs(before, after)


@pytest.mark.long
def test_convolutions_have_one_length_a_channel_and_the_same_igs():
    model, x, y = architecture("convolution", 0, 50)
    normalized = normalize_weights(model)
    before, after = igsref.exact_igs(model, (x, y)), igsref.exact_igs(normalized, (x, y))
    assert after.num_parameters - before.num_parameters == 3 + 2 + 3
    assert before.saturation < 0.999
    assert_same_igs(before, after)


def test_weights_stay_to_rounding_and_the_model_as_it_was():
    model = mlp(0, [3, 50, 2], nn.Tanh)
    kept = copy.deepcopy(model.state_dict())
    weight = normalize_weights(model, "0")[0].weight.detach()
    # ‖v‖ carries (d/2 + 1)u from the sum and 1u from the root, division and product 1u each.
    assert_within(weight, kept["0.weight"], (3 / 2 + 4) * EPS * kept["0.weight"].abs())
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_new_coordinates_reach_every_direction_of_the_weights():
    layer = normalize_weights(mlp(0, [5, 1], nn.Tanh))[0]
    parametrized = layer.parametrizations.weight
    g, v = parametrized.original0.detach(), parametrized.original1.detach()

    def weight(g, v):
        names = {"original0": g, "original1": v}
        return functional_call(parametrized, names, ())

    dense = torch.cat([part.reshape(5, -1) for part in jacobian(weight, (g, v))], dim=1)
    assert dense.shape == (5, 6)
    # (v/‖v‖, (I − vvᵀ/‖v‖²)g/‖v‖) at g = ‖v‖ has five singular values 1.
    ones = torch.ones(5, dtype=torch.float64)
    assert_within(torch.linalg.svdvals(dense), ones, 64 * EPS)


def test_second_derivatives_run_in_forward_mode():
    normalized, x = normalize_weights(mlp(0, [2, 3, 2], nn.Tanh)), gaussian(1, 5, 2)
    values = {name: value.detach() for name, value in normalized.named_parameters()}
    name = "0.parametrizations.weight.original1"

    def output(v):
        return functional_call(normalized, {**values, name: v}, (x,)).square().sum()

    hessian = torch.func.hessian(output)(values[name]).reshape(6, 6)
    v = values[name].reshape(3, 2)
    # The outputs do not depend on ‖v‖, so that H v = −∇ for each unit's own v.
    gradient = torch.func.grad(output)(values[name]).reshape(3, 2)
    own = torch.stack([hessian[2 * u : 2 * u + 2, 2 * u : 2 * u + 2] @ v[u] for u in range(3)])
    torch.testing.assert_close(own, -gradient, rtol=1e-9, atol=1e-12 * float(hessian.abs().max()))


def test_weights_are_those_of_weight_norm_in_torch():
    model, x = mlp(0, [2, 3, 2], nn.Tanh), gaussian(1, 5, 2)
    ours = normalize_weights(model, "0")
    theirs = copy.deepcopy(model)
    torch.nn.utils.parametrizations.weight_norm(theirs[0])
    with torch.no_grad():
        for network in (ours, theirs):
            network[0].parametrizations.weight.original0.copy_(torch.tensor([[2.0], [3.0], [4.0]]))
        # Both round a norm of two terms, a product and a quotient: 4 eps of the weights.
        expected = theirs[0].weight
        assert_within(ours[0].weight, expected, 8 * EPS * expected.abs())
        assert not torch.equal(ours(x), model(x))


def test_only_the_named_layers_are_normalised():
    normalized = normalize_weights(mlp(0, [2, 3, 4, 2], nn.ReLU), ["2", "2"])
    assert sorted(name for name, _ in normalized.named_parameters()) == [
        *("0.bias", "0.weight", "2.bias"),
        *("2.parametrizations.weight.original0", "2.parametrizations.weight.original1"),
        *("4.bias", "4.weight"),
    ]


def test_frozen_weights_stay_frozen():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    model[0].weight.requires_grad_(False)
    normalized = normalize_weights(model)
    assert not any(value.requires_grad for value in normalized[0].parametrizations.parameters())
    assert normalized[2].parametrizations.weight.original0.requires_grad


def test_layer_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(
        ValueError, match="'7' is no Linear or Conv layer of the model; it has '0', '2'"
    ):
        normalize_weights(mlp(0, [2, 3, 2], nn.ReLU), ["0", "7"])
    with pytest.raises(ValueError, match="'1' is no Linear or Conv layer"):
        normalize_weights(mlp(0, [2, 3, 2], nn.ReLU), "1")


@pytest.mark.parametrize(
    "draw", [normalize_weights, lambda m: draw_normalize_weights(m, torch.Generator())]
)
def test_network_without_such_layers_is_refused(draw):
    with pytest.raises(ValueError, match="no Linear or Conv layer"):
        draw(nn.Sequential(nn.Bilinear(2, 2, 3)))


def test_no_layer_at_all_is_refused():
    with pytest.raises(ValueError, match="layers must hold at least one name"):
        normalize_weights(mlp(0, [2, 3, 2], nn.ReLU), [])


def test_unit_without_weights_is_refused():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    with torch.no_grad():
        model[0].weight[1] = 0
    with pytest.raises(ValueError, match=r"the weights of '0' have length 0.0 for unit 1"):
        normalize_weights(model)


def test_draw_leaves_out_what_cannot_be_normalised():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    with torch.no_grad():
        model[0].weight[1] = 0
    drawn = draw_normalize_weights(model, torch.Generator().manual_seed(0))
    assert "0.weight" in dict(drawn.named_parameters())
    assert "2.weight" not in dict(drawn.named_parameters())


def test_parametrised_and_shared_weights_are_refused():
    model = mlp(0, [3, 3, 3], nn.ReLU)
    with pytest.raises(ValueError, match="the weights of '0' are parametrised already"):
        normalize_weights(normalize_weights(model, "0"), "0")
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match=r"are shared, under the names 0\.weight, 2\.weight"):
        normalize_weights(model)
