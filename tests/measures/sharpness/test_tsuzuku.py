"""Normalised sharpness: its curvature against dense Hessians, its promise, what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.flat import flatten
from igsref.linalg.geometric_programme import scaled_sum_minimum
from igsref.measures.sharpness.tsuzuku import (
    NORMALIZED_SHARPNESS,
    gauss_newton_diagonal,
    normalized_sharpness,
)
from igsref.transforms.symmetries import hidden_widths, scale_layers, scale_nodes
from tests.closeness import EPS, assert_within
from tests.strategies import SEEDS, architecture, classes, fill_, gaussian, mlp, relu_networks

CASES = settings(max_examples=12, deadline=None)


def hessian_diagonal(problem: igsref.Problem) -> torch.Tensor:
    return torch.func.hessian(loss_of_vector(problem))(parameter_vector(problem)).diagonal()


def powers(model: nn.Sequential, seed: int, reach: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        2.0 ** torch.randint(-reach, reach + 1, (width,), generator=generator).double()
        for width in hidden_widths(model)
    ]


@CASES
@given(network=relu_networks())
def test_relu_networks_have_the_gauss_newton_diagonal_of_their_hessian(network):
    model, x, y = network
    problem = igsref.as_problem(model, (x, y))
    # Both are sums over samples and classes of squared derivatives of logits, through at most four
    # layers of width at most four: well below 256 roundings of the largest such square.
    rows = torch.func.jacrev(
        lambda flat: torch.func.functional_call(model, _named(model, flat), (x,))
    )(flatten(dict(model.named_parameters())).detach())
    size = rows.square().amax(dim=(0, 1))
    assert_within(gauss_newton_diagonal(problem), hessian_diagonal(problem), 256 * EPS * size + EPS)


def _named(model: nn.Module, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    named = dict(model.named_parameters())
    parts = flat.split([value.numel() for value in named.values()])
    return {k: p.view_as(v) for (k, v), p in zip(named.items(), parts, strict=True)}


def test_other_networks_have_another_diagonal_and_negative_curvature():
    model, x, y = architecture("MLP with tanh", 3, 4)
    problem = igsref.as_problem(model, (x, y))
    exact, used = hessian_diagonal(problem), gauss_newton_diagonal(problem)
    assert float(exact.min()) < 0 <= float(used.min())
    assert float((exact - used).abs().max()) > 0.01 * float(used.max())


def test_only_the_labelled_samples_of_a_pool_count():
    model, x, y = architecture("MLP with relu", 0, 5)
    alone = gauss_newton_diagonal(igsref.as_problem(model, (x, y)))
    pool = igsref.as_problem(model, (x, y), fisher_data=gaussian(7, 4, 3))
    # Batches of other sizes round the logits otherwise.
    assert_within(gauss_newton_diagonal(pool), alone, 1024 * EPS * alone.max())


def test_the_value_is_the_sum_of_the_minima_over_the_weight_matrices():
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    found = normalized_sharpness(model, (x, y))
    problem = igsref.as_problem(model, (x, y))
    curvature = _named(model, hessian_diagonal(problem))
    expected = sum(
        scaled_sum_minimum(
            curvature[f"{k}.weight"].detach().clamp(min=0), model[k].weight.detach() ** 2
        ).value
        for k in (0, 2)
    )
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.kind == "bounded"
    assert 0 < found.uncertainty <= 1e-11 * found.value


@CASES
@given(network=relu_networks(), seed=SEEDS, reach=st.sampled_from([2, 20]))
def test_node_scaling_keeps_the_value_within_both_gaps(network, seed, reach):
    model, x, y = network
    before = normalized_sharpness(model, (x, y))
    after = normalized_sharpness(scale_nodes(model, powers(model, seed, reach)), (x, y))
    # Powers of two round nothing: both brackets hold the same number.
    assert abs(before.value - after.value) <= max(before.uncertainty, after.uncertainty)


def test_layer_scaling_by_any_factor_keeps_the_value_but_not_the_sum_without_scalings():
    model, x, y = mlp(0, [3, 5, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    scaled = scale_layers(model, [1e3, 1e-2])
    before, after = (normalized_sharpness(net, (x, y)).value for net in (model, scaled))
    # Squared weights and derivatives through three layers of width at most 5, 9 samples: each
    # carries at most some 100 roundings, and the minimum moves by no more than its terms.
    assert after == pytest.approx(before, rel=256 * EPS)
    plain = [
        float(gauss_newton_diagonal(igsref.as_problem(net, (x, y))).sum())
        + sum(float(v.detach().square().sum()) for v in net.parameters())
        for net in (model, scaled)
    ]
    assert abs(plain[1] / plain[0] - 1) > 0.01


def test_channel_scaling_of_convolutions_keeps_the_value():
    def network(scale: torch.Tensor) -> nn.Sequential:
        model = fill_(
            nn.Sequential(
                nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(8, 3)
            ).double(),
            0,
        )
        with torch.no_grad():
            model[0].weight.mul_(scale[:, None, None, None])
            model[0].bias.mul_(scale)
            model[2].weight.div_(scale[None, :, None, None])
        return model

    data = gaussian(1, 6, 1, 5, 5), classes(2, 6, 3)
    before = normalized_sharpness(network(torch.ones(3).double()), data)
    after = normalized_sharpness(network(torch.tensor([0.25, 64.0, 2.0]).double()), data)
    assert abs(before.value - after.value) <= max(before.uncertainty, after.uncertainty)


def test_a_dead_unit_adds_nothing():
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    with torch.no_grad():
        model[0].bias[1] = -1e3
    before = normalized_sharpness(model, (x, y))
    with torch.no_grad():
        model[0].weight[1] *= 5
        model[2].weight[:, 1] *= 7
    after = normalized_sharpness(model, (x, y))
    assert before.value == pytest.approx(after.value, rel=1e-12)


def test_a_loose_tolerance_shows_in_the_uncertainty():
    model, x, y = mlp(0, [3, 5, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    loose = normalized_sharpness(model, (x, y), tolerance=0.1)
    exact = normalized_sharpness(model, (x, y))
    assert loose.value - loose.uncertainty <= exact.value <= loose.value + exact.uncertainty
    assert 100 * exact.uncertainty < loose.uncertainty <= 0.1001 * loose.value


def test_a_network_without_matrices_is_refused():
    model = (lambda params, x: x * params["gain"], {"gain": gaussian(0, 2)})
    with pytest.raises(ValueError, match=r"must have a weight matrix.*'gain': \(2,\)"):
        normalized_sharpness(model, (gaussian(1, 4, 2), classes(2, 4, 2)))


@pytest.mark.parametrize(
    ("tolerance", "error", "message"),
    [
        ("a", TypeError, "tolerance"),
        (True, TypeError, "tolerance must be a number; got True"),
        (-1e-9, ValueError, "tolerance must be at least 0 and finite; got -1e-09"),
    ],
)
def test_a_senseless_tolerance_is_refused(tolerance, error, message):
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    with pytest.raises(error, match=message):
        normalized_sharpness(model, (x, y), tolerance=tolerance)


def test_what_is_said_of_it():
    assert NORMALIZED_SHARPNESS.promised == {"layer scaling", "node scaling"}
    assert NORMALIZED_SHARPNESS.compute is normalized_sharpness
