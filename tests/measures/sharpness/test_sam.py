"""The rise after one step of SAM and ASAM: written out, what rescaling does, refusals."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import igsref
from igsref.measures.sharpness.sam import (
    ASAM_SHARPNESS,
    SAM_SHARPNESS,
    asam_sharpness,
    sam_sharpness,
)
from igsref.measures.sharpness.worst_case import worst_case_sharpness
from igsref.transforms.symmetries import scale_layers, scale_nodes
from tests.closeness import EPS
from tests.strategies import architecture, classes, gaussian, mlp


def written_out(model: nn.Module, x: Tensor, y: Tensor, rho: float, scales: list[Tensor]) -> float:
    """The step by torch's autograd, tensor by tensor, as the authors take it."""
    before = cross_entropy(model(x), y)
    gradients = torch.autograd.grad(before, list(model.parameters()))
    pairs = list(zip(gradients, scales, strict=True))
    norm = sum((t * g).square().sum() for g, t in pairs) ** 0.5
    with torch.no_grad():
        for value, (g, t) in zip(model.parameters(), pairs, strict=True):
            value.add_(rho * t**2 * g / norm)
        return float(cross_entropy(model(x), y) - before)


def network() -> tuple[nn.Sequential, Tensor, Tensor]:
    return mlp(0, [3, 5, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)


def test_sam_takes_the_step_of_length_rho_along_the_gradient():
    model, x, y = network()
    found = sam_sharpness(model, (x, y), rho=0.3)
    expected = written_out(model, x, y, 0.3, [torch.ones(()).double()] * 6)
    # Losses near 1 through three layers of width five, a thousand operations in depth at most.
    assert found.value == pytest.approx(expected, abs=1024 * EPS)
    assert (found.uncertainty, found.kind) == (0.0, "computed")


def test_asam_normalises_weights_and_leaves_biases():
    model, x, y = network()
    found = asam_sharpness(model, (x, y), rho=0.4, eta=0.02)
    scales = [
        value.detach().abs() + 0.02 if "weight" in name else torch.ones_like(value)
        for name, value in model.named_parameters()
    ]
    expected = written_out(model, x, y, 0.4, scales)
    assert found.value == pytest.approx(expected, abs=1024 * EPS)
    assert found.value != asam_sharpness(*network()[:1], (x, y), rho=0.4, eta=0.0).value


def test_the_worst_case_is_no_lower_than_one_step():
    model, x, y = architecture("MLP with tanh", 0, 8)
    for rho in (0.01, 0.3):
        step = sam_sharpness(model, (x, y), rho=rho).value
        # The first step of the search from δ = 0 is this one, rounded otherwise.
        assert worst_case_sharpness(model, (x, y), rho=rho, starts=1).value >= step - 64 * EPS


def test_a_short_step_rises_by_the_norm_of_the_gradient():
    model, x, y = network()
    rho = 2.0**-20
    gradients = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    norm = float(sum(g.square().sum() for g in gradients) ** 0.5)
    halves = [sam_sharpness(model, (x, y), rho=rho / k).value * k / rho for k in (1, 2)]
    # What is left is linear in ρ: halving shows its size; rounding of losses near 1 over ρ/2.
    allowance = 2 * abs(halves[0] - halves[1]) + 64 * EPS / (rho / 2)
    assert abs(halves[1] - norm) <= allowance < 1e-4 * norm


def test_asam_without_eta_and_biases_keeps_its_bits_under_powers_of_two():
    model = mlp(0, [3, 4, 3], nn.ReLU, bias=False)
    x, y = gaussian(1, 9, 3), classes(2, 9, 3)
    scaled = scale_nodes(model, [2.0 ** torch.tensor([3.0, -7.0, 20.0, -20.0]).double()])
    before = asam_sharpness(model, (x, y), eta=0.0)
    assert asam_sharpness(scaled, (x, y), eta=0.0) == before


@pytest.mark.parametrize(("bias", "eta"), [(False, 0.01), (True, 0.0)])
def test_eta_and_biases_each_break_what_asam_promises(bias, eta):
    model = mlp(0, [3, 4, 3], nn.ReLU, bias=bias)
    x, y = gaussian(1, 9, 3), classes(2, 9, 3)
    before, after = (
        asam_sharpness(net, (x, y), eta=eta).value for net in (model, scale_layers(model, [64.0]))
    )
    assert abs(after / before - 1) > 0.01
    assert ASAM_SHARPNESS.promised == {"layer scaling", "node scaling"}


def test_layer_scaling_moves_sam():
    model, x, y = network()
    before, after = (
        sam_sharpness(net, (x, y)).value for net in (model, scale_layers(model, [16.0, 1.0]))
    )
    assert abs(after / before - 1) > 0.01
    assert SAM_SHARPNESS.promised == frozenset()


def test_a_gradient_beyond_the_square_root_of_the_range_has_a_direction():
    model, x, y = network()
    scaled = scale_layers(model, [2.0**-600, 1.0])
    assert math.isfinite(sam_sharpness(scaled, (x, y), rho=2.0**-650).value)


def test_a_gradient_of_zero_is_refused():
    model, x, _ = network()
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
    # All logits are equal; two samples of each class balance the last bias.
    data = x[:6], torch.arange(6) % 3
    for measure in (sam_sharpness, asam_sharpness):
        with pytest.raises(ValueError, match="must have a gradient"):
            measure(model, data)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rho": 0.0}, ValueError, "rho must be positive and finite"),
        ({"rho": math.inf}, ValueError, "rho must be positive and finite"),
        ({"rho": 1e300}, ValueError, "rho must be so small that the loss is finite"),
        ({"rho": "1"}, TypeError, "rho"),
        ({"colour": 1}, TypeError, "unknown option 'colour'"),
    ],
)
def test_bad_input_is_refused(options, error, message):
    model, x, y = network()
    for measure in (sam_sharpness, asam_sharpness):
        with pytest.raises(error, match=message):
            measure(model, (x, y), **options)


@pytest.mark.parametrize("eta", [-0.1, math.nan, math.inf])
def test_a_bad_eta_is_refused(eta):
    model, x, y = network()
    with pytest.raises(ValueError, match="eta must be at least 0 and finite"):
        asam_sharpness(igsref.as_problem(model, (x, y)), eta=eta)


@pytest.mark.parametrize("eta", ["a", True, None])
def test_an_eta_that_is_no_number_is_refused(eta):
    model, x, y = network()
    with pytest.raises(TypeError, match="eta"):
        asam_sharpness(model, (x, y), eta=eta)
