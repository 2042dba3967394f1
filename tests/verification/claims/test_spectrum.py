"""Eigenvalues with multiplicity, and parts of F that are orthogonal by construction."""

import random

from flint import fmpq

from verification.claims.exact_geometry import diagonal, rational, row, stacked
from verification.claims.spectrum import (
    balanced,
    class_constant,
    differences,
    eigenvalues,
    sum_and_rest,
    with_orthogonal_parts,
)


def test_eigenvalues_fall_and_repeat():
    turned = rational([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    found = eigenvalues(turned * diagonal([2, 5, 2]) * turned)
    assert [value.overlaps(expected) for value, expected in zip(found, (5, 2, 2), strict=True)] == [
        True
    ] * 3


def test_balanced_probabilities_sum_to_one():
    p = balanced(4, 2, fmpq(1, 5))
    assert sum(p, fmpq(0)) == 1
    assert p[0] == p[1] == p[3] == fmpq(1, 25)


def test_sum_and_rest_are_those_of_the_differences():
    jacobian = rational([[1, 2], [4, 0], [0, 7]])
    assert differences(jacobian, 1) == rational([[-3, 2], [-4, 7]])
    s, rest = sum_and_rest(jacobian, 1)
    assert s == rational([[-7, 9]])
    assert row(rest, 0) + row(rest, 1) == rational([[0, 0]])


def test_orthogonal_parts_are_orthogonal():
    jacobians = with_orthogonal_parts(random.Random(0), 3)
    parts = [sum_and_rest(jacobian, label) for label, jacobian in enumerate(jacobians)]
    s, rest = stacked([part for part, _ in parts]), stacked([part for _, part in parts])
    product = s * rest.transpose()
    assert product == 0 * product
    assert s.rank() == 3
    assert rest.rank() == 3
    F, outlying, secondary, _ = class_constant(jacobians, [fmpq(1, 5)] * 3)
    assert outlying + secondary == F
