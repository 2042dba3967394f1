"""The checks that bijections share."""

import pytest
import torch

from igsref.transforms.bijections import Bijection, Sinh
from igsref.transforms.bijections.protocol import (
    check_bijection,
    check_square,
    check_vector,
    constant,
    refuse_where,
)


def test_a_bijection_is_known_by_its_methods():
    assert isinstance(Sinh(), Bijection)
    assert not isinstance(torch.nn.Tanh(), Bijection)


def test_what_a_bijection_lacks_is_named():
    check_bijection("bijection", Sinh())
    with pytest.raises(
        TypeError, match=r"parts must be .*lacks name, inverse, jacobian, log_abs_d"
    ):
        check_bijection("parts", torch.nn.Tanh())
    # A class has all the attributes that its instances have.
    with pytest.raises(TypeError, match="got the class Sinh: call it"):
        check_bijection("bijection", Sinh)


def test_constants_are_detached_float64_copies():
    given = torch.ones(2, requires_grad=True)
    held = constant("scale", given, 1)
    assert held.dtype == torch.float64
    assert not held.requires_grad
    held += 1
    assert torch.equal(given, torch.ones(2))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2, 2), r"scale must be a non-empty real vector; got shape \(2, 2\)"),
        (torch.ones(0), "non-empty real vector"),
        (torch.ones(2, dtype=torch.complex64), "non-empty real vector"),
        (torch.tensor([1.0, torch.inf]), r"scale must be finite; scale\[1\] is inf"),
    ],
)
def test_what_is_no_constant_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        constant("scale", value, 1)


def test_what_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"matrix must be square; got shape \(2, 3\)"):
        check_square("matrix", torch.ones(2, 3))


def test_vectors_are_real_of_the_right_size_and_finite():
    check_vector("theta", torch.ones(2), 2)
    with pytest.raises(ValueError, match=r"theta must have shape \(3,\)"):
        check_vector("theta", torch.ones(2), 3)
    with pytest.raises(ValueError, match=r"eta must be finite; eta\[0\] is nan"):
        check_vector("eta", torch.tensor([torch.nan]))
    with pytest.raises(ValueError, match="theta must be a floating-point vector"):
        check_vector("theta", torch.ones(2, 2))


def test_a_refusal_names_the_first_entry_and_how_many_there_are():
    values = torch.tensor([1.0, -2.0, -3.0])
    with pytest.raises(ValueError, match=r"be positive; theta\[1\] is -2.0 \(2 of 3 entries\)"):
        refuse_where(values < 0, "theta", values, "theta must be positive")
    refuse_where(values < -9, "theta", values, "never said")
