"""The comparison of two samples, and the square on the constraint by hand."""

from flint import fmpq

from verification.claims.exact_geometry import diagonal, rational
from verification.claims.margin_meaning import (
    sharper_has_smaller_margin,
    square_on_constraint,
    symbolic,
)
from verification.claims.normal_form import require_zero


def test_at_equal_losses_the_sharper_sample_is_nearer_to_the_boundary():
    assert sharper_has_smaller_margin((fmpq(9, 10), fmpq(9, 10)))


def test_at_a_smaller_loss_it_can_be_further_away():
    assert not sharper_has_smaller_margin((fmpq(9, 10), fmpq(3, 5)))


def test_rationals_stay_exact_in_symbols():
    assert str(symbolic(rational([[fmpq(1, 3)]]))) == "Matrix([[1/3]])"


def test_the_shortest_step_in_the_plane():
    """F = diag(1, 4), a = (1, 2), M = 2: the minimum is 4/(1 + 1) = 2."""
    excess = square_on_constraint(
        diagonal([1, 4]), rational([[1, 2]]), symbolic(rational([[2]]))[0]
    )
    require_zero([excess], "δᵀFδ − 2 − square")
