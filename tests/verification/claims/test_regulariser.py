"""The small network's gradient, Fisher matrix and step, and mini-batches by hand."""

import pytest
import sympy
from flint import fmpq

from verification.claims.exact_geometry import Pool, rational
from verification.claims.normal_form import require_zero
from verification.claims.regulariser import STAY, SmallNetwork, batch_mean


@pytest.mark.parametrize("kappa", [0, 1])
def test_gradient_and_hessian_are_derivatives_of_the_loss(kappa):
    network, shift = SmallNetwork(kappa), sympy.Matrix(sympy.symbols("s:2"))
    at = dict.fromkeys(shift, 0)
    loss = network.along(STAY, sympy.Symbol("rho"), shift)
    gradient = sympy.Matrix([sympy.diff(loss, s).subs(at) for s in shift])
    hessian = sympy.Matrix(2, 2, [sympy.diff(loss, s, t).subs(at) for s in shift for t in shift])
    require_zero(gradient - network.gradient(), "gradient")
    require_zero(hessian - network.hessian(), "Hessian")


def test_step_solves_the_system_of_the_fisher_matrix():
    network = SmallNetwork()
    require_zero(network.fisher() * network.step() - network.gradient(), "F δ − g")


def test_batches_by_hand():
    """F = 1/4, g = ∓1/2: batches of one give 1, of two 1 or 0, each half of the time."""
    half = (fmpq(1, 2), fmpq(1, 2))
    pool = Pool((rational([[1], [0]]),) * 2, (half, half), (0, 1))
    assert batch_mean(pool, 1) == 1
    assert batch_mean(pool, 2) == fmpq(1, 2)
