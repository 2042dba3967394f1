"""Where a spectrum is cut, and whether that is clear."""

import pytest
import torch

from igsref.geometry.cut import estimated_row_error, is_clear

UNIT = 2.0**-53


def sizes(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("spectrum", "clear"),
    [
        ((1.0, 2e-9, 1e-14), True),
        ((1.0, 2e-9), True),
        ((1e-14, 0.0), True),
        ((), True),
        ((1.0, 9e-10, 1e-14), False),
        ((1.0, 1e-12), False),
        ((1.0, 2e-13), False),
        ((1.0, 9e-14), True),
    ],
)
def test_a_cut_is_clear_if_nothing_stands_shortly_above_or_below(spectrum, clear):
    assert is_clear(sizes(*spectrum), 1e-12) is clear


def test_the_error_of_a_row_goes_with_its_length():
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0**-30]], dtype=torch.float64)
    error = estimated_row_error(1e-9, rows)
    expected = (1e-9 + 4 * 3**0.5 * UNIT) * sizes(5.0, 0.0, 2.0**-30)
    assert torch.allclose(error, expected, rtol=1e-14, atol=0)


def test_exact_rows_are_known_to_the_rounding_of_a_factorisation():
    error = estimated_row_error(0.0, torch.eye(16, dtype=torch.float64))
    assert torch.allclose(error, torch.full((16,), 16 * UNIT, dtype=torch.float64))
