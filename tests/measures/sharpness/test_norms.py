"""Norms of the gradient and of the weights."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from igsref.measures.sharpness.norms import (
    FROBENIUS_NORM,
    GRADIENT_NORM,
    PATH_NORM,
    frobenius_norm,
    gradient_norm,
    path_norm,
)
from igsref.transforms.symmetries import permute_nodes, scale_layers, scale_nodes
from tests.closeness import EPS
from tests.strategies import SEEDS, classes, fill_, gaussian, mlp

ALL = pytest.mark.parametrize("measure", [gradient_norm, frobenius_norm, path_norm])


def network(*, bias=True):
    model = mlp(0, [3, 5, 4, 3], nn.ReLU, bias=bias)
    return model, (gaussian(1, 12, 3), classes(2, 12, 3))


def data_for(inputs, outputs):
    return torch.ones(2, inputs), classes(2, 2, outputs)


def naive_path_norm(model):
    """Every path from an input, or from the constant unit that a bias is, to an output."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    total = 0.0
    for first, layer in enumerate(layers):
        behind = [range(later.out_features) for later in layers[first:]]
        for path in product(*behind):
            tail = 1.0
            for later, unit, following in zip(layers[first + 1 :], path, path[1:], strict=False):
                tail *= float(later.weight[following, unit].detach()) ** 2
            starts = layer.weight[path[0]].tolist() if first == 0 else []
            starts += [] if layer.bias is None else [float(layer.bias[path[0]].detach())]
            total += tail * sum(start**2 for start in starts)
    return total**0.5


def test_gradient_norm_is_that_of_autograd():
    model, (x, y) = network()
    nn.functional.cross_entropy(model(x), y).backward()
    expected = torch.cat([value.grad.flatten() for value in model.parameters()]).norm()
    assert gradient_norm(model, (x, y)).value == pytest.approx(float(expected), rel=500 * EPS)


def test_gradient_norm_knows_no_pool():
    model, data = network()
    pooled = gradient_norm(model, data, fisher_data=gaussian(5, 4, 3)).value
    assert pooled == pytest.approx(gradient_norm(model, data).value, rel=100 * EPS)


def test_frobenius_norm_is_over_the_chosen_tensors():
    model, data = network()
    squares = {
        name: float(value.detach().square().sum()) for name, value in model.named_parameters()
    }
    expected = sum(squares.values()) ** 0.5
    assert frobenius_norm(model, data).value == pytest.approx(expected, rel=100 * EPS)
    weights = sum(size for name, size in squares.items() if name.endswith("weight")) ** 0.5
    found = frobenius_norm(model, data, parameters="*weight").value
    assert found == pytest.approx(weights, rel=100 * EPS)


@settings(max_examples=10)
@given(seed=SEEDS, hidden=st.lists(st.integers(1, 4), max_size=3), bias=st.booleans())
def test_path_norm_is_the_sum_over_all_paths(seed, hidden, bias):
    model = mlp(seed, [2, *hidden, 3], nn.ReLU, bias=bias)
    # Sums of non-negative products, each of at most 4 factors squared.
    found = path_norm(model, data_for(2, 3)).value
    assert found == pytest.approx(naive_path_norm(model), rel=100 * EPS)


@settings(max_examples=10)
@given(seed=SEEDS, powers=st.lists(st.integers(-30, 30), min_size=5, max_size=5))
def test_path_norm_keeps_its_promise_of_node_scaling(seed, powers):
    model = mlp(seed, [2, 3, 2, 3], nn.ReLU)
    factors = 2.0 ** torch.tensor(powers).double()
    scaled = scale_nodes(model, [factors[:3], factors[3:]])
    # Exact: powers of two round nothing.
    assert path_norm(scaled, data_for(2, 3)).value == path_norm(model, data_for(2, 3)).value


def test_path_norm_keeps_its_promise_of_layer_scaling():
    model, data = network()
    assert path_norm(scale_layers(model, [8.0, 0.25]), data).value == path_norm(model, data).value


@ALL
def test_permutations_leave_it_unpromised(measure):
    model, data = network()
    orders = [torch.tensor([4, 2, 0, 1, 3]), torch.tensor([3, 2, 1, 0])]
    after = measure(permute_nodes(model, orders), data).value
    assert after == pytest.approx(measure(model, data).value, rel=1e-10)


@pytest.mark.parametrize("measure", [gradient_norm, frobenius_norm])
def test_scaling_a_layer_moves_the_others(measure):
    model, data = network()
    after = measure(scale_layers(model, [4.0, 1.0]), data).value
    assert abs(after / measure(model, data).value - 1) > 0.01


def test_path_norm_moves_where_weights_cancel():
    # The same function by two units of opposite sign and nothing else: more paths, none in f.
    model, data = network()
    wider = mlp(0, [3, 5, 6, 3], nn.ReLU)
    with torch.no_grad():
        wider[0].load_state_dict(model[0].state_dict())
        wider[2].weight[:4], wider[2].bias[:4] = model[2].weight, model[2].bias
        wider[2].weight[5], wider[2].bias[5] = wider[2].weight[4], wider[2].bias[4]
        wider[4].weight[:, :4], wider[4].bias[:] = model[4].weight, model[4].bias
        wider[4].weight[:, 5] = -wider[4].weight[:, 4]
    torch.testing.assert_close(wider(data[0]), model(data[0]), rtol=0, atol=1e-14)
    assert path_norm(wider, data).value > 1.01 * path_norm(model, data).value


def test_path_norm_counts_weights_that_are_not_in_theta():
    model, data = network()
    assert path_norm(model, data, parameters="0.*").value == path_norm(model, data).value


def test_path_norm_passes_over_what_changes_nothing():
    plain = mlp(0, [4, 3, 2], nn.ReLU)
    model = nn.Sequential(nn.Flatten(), *plain, nn.Dropout()).eval()
    x, y = gaussian(1, 3, 2, 2), classes(2, 3, 2)
    assert path_norm(model, (x, y)).value == path_norm(plain, (x.flatten(1), y)).value


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (mlp(0, [3, 4, 3], nn.Tanh), r"needs a network of nn\.Linear and nn\.ReLU; .* a Tanh"),
        (mlp(0, [3, 4, 3], nn.LeakyReLU), "has a LeakyReLU"),
        (fill_(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)).double(), 0), "has a LayerNorm"),
        (fill_(Inner().double(), 0), r"needs an nn\.Sequential of nn\.Linear and nn\.ReLU"),
    ],
)
def test_path_norm_refuses_another_network_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        path_norm(model, data_for(3, 3))


def test_path_norm_refuses_features_that_are_folded_together():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    data = gaussian(1, 5, 4, 3), classes(2, 5, 3)
    with pytest.raises(ValueError, match=r"3\.weight takes 8 features and is given 2"):
        path_norm(fill_(model, 0), data)


def test_scaling_is_promised_of_the_path_norm_alone():
    assert PATH_NORM.promised == {"layer scaling", "node scaling"}
    assert not GRADIENT_NORM.promised | FROBENIUS_NORM.promised
    computed = [GRADIENT_NORM.compute, FROBENIUS_NORM.compute, PATH_NORM.compute]
    assert computed == [gradient_norm, frobenius_norm, path_norm]
