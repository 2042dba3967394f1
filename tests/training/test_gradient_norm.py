"""L + ρ‖∇L‖²: the double backward against autograd of the formula, the difference against both."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from igsref.training import GR, gradient_norm_penalty
from tests.training.networks import batch, closure_of, gradient, small


def flat(values):
    return torch.cat([value.flatten() for value in values])


def exact(model, data, rho):
    """g + 2ρ H g."""
    g = gradient(model, data)
    theta = {n: p.detach() for n, p in model.named_parameters()}
    x, y = data

    def loss(values):
        return cross_entropy(torch.func.functional_call(model, values, (x,)), y)

    along = torch.func.jvp(torch.func.grad(loss), (theta,), (g,))[1]
    return flat([g[n] + 2 * rho * along[n] for n in g])


def test_the_penalty_is_its_formula():
    model, (x, y) = small(1), batch(2)
    loss = cross_entropy(model(x), y)
    penalty = gradient_norm_penalty(loss, model.parameters(), 0.3)
    expected = 0.3 * flat(gradient(model, (x, y)).values()).square().sum()
    torch.testing.assert_close(penalty.detach(), expected, rtol=1e-12, atol=0)
    (loss + penalty).backward()
    found = flat([p.grad for p in model.parameters()])
    torch.testing.assert_close(found, exact(model, (x, y), 0.3), rtol=1e-12, atol=1e-14)


def test_the_difference_comes_near_by_the_first_order_of_the_radius():
    model, data = small(1), batch(2)
    errors = []
    for radius in (1e-2, 1e-3):
        optimizer = GR(model, torch.optim.SGD(model.parameters(), lr=0.0), rho=0.3, radius=radius)
        optimizer.step(closure_of(model, optimizer, data))
        found = flat([p.grad for p in model.parameters()])
        errors.append(float((found - exact(model, data, 0.3)).norm()))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert errors[1] < 1e-2 * float(exact(model, data, 0.3).norm())


@pytest.mark.parametrize("radius", [1e-2, 1e-1])
def test_the_difference_is_its_formula(radius):
    model, data = small(1), batch(2)
    optimizer = GR(model, torch.optim.SGD(model.parameters(), lr=0.0), rho=0.3, radius=radius)
    optimizer.step(closure_of(model, optimizer, data))
    found = flat([p.grad for p in model.parameters()])
    g = gradient(model, data)
    norm = flat(g.values()).norm()
    there = gradient(model, data, {n: radius * value / norm for n, value in g.items()})
    along = flat([norm * (there[n] - g[n]) / radius for n in g])
    # A difference of gradients loses what 1/radius makes of rounding: 1e-12 and a little.
    expected = flat(g.values()) + 2 * 0.3 * along
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.norm()))


def test_parameters_that_need_no_gradient_are_constants():
    model, (x, y) = small(1), batch(2)
    model[0].bias.requires_grad_(False)
    penalty = gradient_norm_penalty(cross_entropy(model(x), y), model.parameters(), 0.3)
    g = gradient(model, (x, y))
    del g["0.bias"]
    expected = 0.3 * flat(g.values()).square().sum()
    torch.testing.assert_close(penalty.detach(), expected, rtol=1e-12, atol=0)


def test_bad_settings_are_refused():
    model, (x, y) = small(), batch()
    with pytest.raises(ValueError, match="loss must be a scalar; got shape"):
        gradient_norm_penalty(cross_entropy(model(x), y, reduction="none"), model.parameters(), 0.1)
    with pytest.raises(ValueError, match="rho must be finite and positive"):
        GR(model, torch.optim.SGD(model.parameters(), lr=0.1), rho=-1.0)
    with pytest.raises(ValueError, match="radius must be finite and positive"):
        GR(model, torch.optim.SGD(model.parameters(), lr=0.1), rho=1.0, radius=0.0)
