"""Hadamard matrices."""

import pytest

from verification.claims.iterate_bounds import hadamard


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_rows_are_orthogonal_signs(order: int) -> None:
    rows = hadamard(order)
    gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    assert gram == [[order * int(i == j) for j in range(order)] for i in range(order)]
    assert all(abs(z) == 1 for row in rows for z in row)
