"""The sketch against its dense matrix, and the damped triangle against its square."""

import pytest
import torch

from igsref.linalg.sketch import GROUPS, damped_triangle, sparse_sketch
from tests.closeness import EPS, assert_within
from tests.strategies import gaussian


def dense(sketch, rows):
    out = torch.zeros(sketch.height, rows, dtype=torch.float64)
    sketch.add_(out, torch.eye(rows).double(), 0)
    return out


def test_each_row_goes_to_one_place_of_each_group_with_a_sign():
    matrix = dense(sparse_sketch(40, 16, seed=1), 40) * GROUPS**0.5
    assert matrix.shape == (16, 40)
    groups = matrix.view(GROUPS, 2, 40)
    assert_within(groups.abs().sum(dim=1), torch.ones(GROUPS, 40).double(), 4 * EPS)
    assert_within(groups.abs().amax(dim=1), torch.ones(GROUPS, 40).double(), 4 * EPS)
    assert {-1.0, 0.0, 1.0} == set(matrix.round().unique().tolist())


def test_groups_need_not_divide_the_height():
    matrix = dense(sparse_sketch(500, 13, seed=1), 500)
    assert matrix.any(dim=1).all()
    assert_within((matrix != 0).sum(dim=0).double(), torch.full((500,), GROUPS).double(), 0.0)
    assert (dense(sparse_sketch(9, 3, seed=1), 9) != 0).all()  # three groups of one row


def test_blocks_of_rows_add_up_to_the_sketch_of_all():
    rows, sketch = gaussian(0, 30, 4), sparse_sketch(30, 8, seed=2)
    parts = torch.zeros(8, 4, dtype=torch.float64)
    first = 0
    for block in rows.split(7):
        sketch.add_(parts, block, first)
        first += len(block)
    # Sums of up to 30 products with ±1/√8, rounded, in another order.
    allowed = 32 * EPS * dense(sketch, 30).abs() @ rows.abs()
    assert_within(parts, dense(sketch, 30) @ rows, allowed)


def test_what_would_not_shrink_is_kept_as_it_is():
    matrix = dense(sparse_sketch(9, 9, seed=3), 9)
    assert torch.equal(matrix.abs(), torch.eye(9).double())


def test_a_seed_decides():
    one, same, other = (sparse_sketch(50, 20, seed) for seed in (4, 4, 5))
    assert torch.equal(one.places, same.places)
    assert torch.equal(one.signs, same.signs)
    assert not torch.equal(one.places, other.places)
    assert not torch.equal(one.signs, other.signs)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        sparse_sketch(5, 3, -1)


def test_lengths_are_kept_in_the_mean():
    """E‖S x‖² = ‖x‖²; with Var ≤ 2‖x‖⁴/height, within four standard errors of 200 draws."""
    x, draws, height = gaussian(6, 60, 1), 200, 10
    square = float(x.square().sum())
    found = []
    for seed in range(draws):
        image = torch.zeros(height, 1, dtype=torch.float64)
        sparse_sketch(60, height, seed).add_(image, x, 0)
        found.append(float(image.square().sum()) / square)
    assert abs(sum(found) / draws - 1) <= 4 * (2 / height / draws) ** 0.5


@pytest.mark.parametrize("damping", [1e-8, 1e-3, 1.0])
def test_the_triangle_is_that_of_the_matrix_and_a_multiple_of_the_identity(damping):
    matrix = gaussian(7, 12, 5)
    matrix[:, 4] = matrix[:, 0] - matrix[:, 1]  # singular
    triangle = damped_triangle(matrix, damping)
    assert torch.equal(triangle, triangle.triu())
    size = float(matrix.norm()) + damping
    # Backward error of a QR of 17 rows and 5 columns; squares are twice that.
    rounding = 8 * 17 * 5 * EPS * size
    expected = matrix.mT @ matrix + damping**2 * torch.eye(5).double()
    assert_within(triangle.mT @ triangle, expected, 2 * size * rounding)
    smallest = float(torch.linalg.svdvals(triangle)[-1])
    assert damping - rounding <= smallest <= damping + rounding
