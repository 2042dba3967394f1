"""SAM and ASAM held against formulas written out, and the published defaults."""

import inspect

import pytest
import torch

from igsref.training import ASAM, SAM, filter_wise_ASAM
from tests.training.networks import batch, closure_of, gradient, small


def moved(make, model, data, **settings):
    """δ, and the gradient that the base optimizer gets."""
    optimizer = make(model, torch.optim.SGD(model.parameters(), lr=0.0), **settings)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    closure = closure_of(model, optimizer, data)
    closure()
    optimizer.perturb()
    change = {n: p.detach() - before[n] for n, p in model.named_parameters()}
    closure()
    optimizer.restore()
    return change, {n: p.grad for n, p in model.named_parameters()}


def flat(named):
    return torch.cat([value.flatten() for value in named.values()])


def naive_scale(name, parameter, eta, filter_wise):
    if "bias" in name:
        return torch.ones_like(parameter)
    if not filter_wise:
        return parameter.abs() + eta
    return torch.stack([torch.ones_like(row) * (row.norm() + eta) for row in parameter])


@pytest.mark.parametrize("make, filter_wise", [(ASAM, False), (filter_wise_ASAM, True)])
def test_asam_is_its_formula(make, filter_wise):
    model, data = small(2), batch(3)
    change, second = moved(make, model, data, rho=0.7, eta=0.05)
    g, theta = gradient(model, data), dict(model.named_parameters())
    T = {n: naive_scale(n, p.detach(), 0.05, filter_wise) for n, p in theta.items()}
    norm = flat({n: T[n] * g[n] for n in g}).norm()
    expected = {n: 0.7 * T[n] ** 2 * g[n] / norm for n in g}
    # θ + δ − θ has lost a last place of θ.
    torch.testing.assert_close(flat(change), flat(expected), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(flat(second), flat(gradient(model, data, expected)), rtol=1e-12,
                               atol=1e-14)  # fmt: skip


def test_sam_is_its_formula():
    model, data = small(2), batch(3)
    change, second = moved(SAM, model, data, rho=0.2)
    g = gradient(model, data)
    expected = {n: 0.2 * value / flat(g).norm() for n, value in g.items()}
    torch.testing.assert_close(flat(change), flat(expected), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(flat(second), flat(gradient(model, data, expected)), rtol=1e-12,
                               atol=1e-14)  # fmt: skip


def test_the_defaults_are_those_of_the_papers():
    assert inspect.signature(SAM).parameters["rho"].default == 0.05
    for make in (ASAM, filter_wise_ASAM):
        settings = inspect.signature(make).parameters
        assert (settings["rho"].default, settings["eta"].default) == (0.5, 0.01)


def test_at_a_stationary_point_nothing_moves():
    model, (x, _) = small(), batch()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    optimizer = SAM(model, torch.optim.SGD(model.parameters(), lr=0.1))
    (0.0 * model(x).sum()).backward()
    optimizer.perturb()
    assert not any(bool(p.any()) for p in model.parameters())


@pytest.mark.parametrize("make", [SAM, ASAM, filter_wise_ASAM])
@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_refused(make, rho):
    model = small()
    with pytest.raises(ValueError, match="rho must be finite and positive"):
        make(model, torch.optim.SGD(model.parameters(), lr=0.1), rho=rho)


@pytest.mark.parametrize("eta", [-0.1, float("inf"), float("nan")])
def test_an_eta_that_is_none_is_refused(eta):
    model = small()
    with pytest.raises(ValueError, match="eta must be at least 0 and finite"):
        ASAM(model, torch.optim.SGD(model.parameters(), lr=0.1), eta=eta)
