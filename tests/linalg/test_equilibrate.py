"""Scaling by powers of two."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.linalg.equilibrate import equilibrate_, equilibrate_rows_, power_of_two_scale
from tests.strategies import SEEDS, gaussian

POWERS = st.integers(-200, 200)


@given(norm=st.floats(1e-250, 1e250))
def test_scaled_norm_lies_between_a_half_and_one(norm):
    scaled = norm * float(power_of_two_scale(torch.tensor([norm], dtype=torch.float64)))
    assert 0.5 <= scaled < 1


@given(seed=SEEDS, powers=st.lists(POWERS, min_size=4, max_size=4))
def test_equilibrating_rounds_nothing_and_reports_its_scales(seed, powers):
    original = gaussian(seed, 4, 3) * 2.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]
    matrix = original.clone()
    rows, columns = equilibrate_(matrix)
    assert torch.equal(columns.frexp().mantissa, torch.full_like(columns, 0.5))
    assert torch.equal(matrix, original * rows[:, None] * columns)
    norms = matrix.norm(dim=1)
    assert bool(((norms >= 0.5) & (norms < 1)).all())


@given(seed=SEEDS, powers=st.lists(POWERS, min_size=3, max_size=3))
def test_equilibrated_matrix_ignores_the_scale_of_each_column(seed, powers):
    matrix = gaussian(seed, 5, 3)
    scaled = matrix * 2.0 ** torch.tensor(powers, dtype=torch.float64)
    equilibrate_(matrix)
    equilibrate_(scaled)
    assert torch.equal(matrix, scaled)


def test_zero_rows_and_columns_stay_zero():
    matrix = torch.tensor([[0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    scales = equilibrate_(matrix)
    assert torch.equal(matrix, torch.tensor([[0.0, 0.75], [0.0, 0.0]], dtype=torch.float64))
    assert scales.rows.tolist() == [1.0, 1.0]


@given(seed=SEEDS, powers=st.lists(st.integers(-400, 400), min_size=4, max_size=4))
def test_rows_whose_squares_vanish_are_equilibrated_too(seed, powers):
    original = gaussian(seed, 4, 3) * 2.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]
    matrix = original / 2.0**400
    scales = equilibrate_rows_(matrix)
    norms = matrix.norm(dim=1)
    assert bool(((norms >= 0.5) & (norms < 1)).all())
    assert torch.equal(scales.frexp().mantissa, torch.full_like(scales, 0.5))
