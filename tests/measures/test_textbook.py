"""The textbook oracle."""

import pytest
import torch

import igsref
from igsref.measures.textbook import AUTHORS_RCOND
from tests.strategies import architecture


def test_textbook_in_float64_agrees_on_a_well_conditioned_network():
    model, x, y = architecture("MLP with tanh", 0, 30)
    textbook = igsref.textbook_igs(model, (x, y), rcond=1e-11)
    assert textbook == pytest.approx(float(igsref.exact_igs(model, (x, y))), rel=1e-8)


def test_authors_cut_off_drops_what_counts():
    model, x, y = architecture("MLP with tanh", 0, 30)
    cut = igsref.textbook_igs(model, (x, y))
    assert AUTHORS_RCOND == 1e-5
    assert cut == igsref.textbook_igs(model, (x, y), rcond=1e-5)
    assert cut < 0.999 * float(igsref.exact_igs(model, (x, y)))


def test_float32_is_computed_in_float32():
    model, x, y = architecture("MLP with tanh", 0, 30)
    single = igsref.textbook_igs(model, (x, y), dtype=torch.float32)
    double = igsref.textbook_igs(model, (x, y), dtype=torch.float64)
    assert 1e-9 < abs(single / double - 1) < 1e-2


@pytest.mark.parametrize("rcond", [-1e-9, float("nan"), 1.0])
def test_senseless_cut_off_is_refused(rcond):
    model, x, y = architecture("MLP with tanh", 0, 3)
    with pytest.raises(ValueError, match="rcond must lie in"):
        igsref.textbook_igs(model, (x, y), rcond=rcond)


def test_integer_dtype_is_refused():
    model, x, y = architecture("MLP with tanh", 0, 3)
    with pytest.raises(TypeError, match=r"dtype must be torch\.float32 or torch\.float64"):
        igsref.textbook_igs(model, (x, y), dtype=torch.int64)
