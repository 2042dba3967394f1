"""One block and its powers, held against the matrix that it stands for."""

import pytest
import torch

from igsref.curvature.kfac.block import Block
from tests.closeness import EPS, assert_within
from tests.curvature.kfac.cases import basis
from tests.strategies import gaussian

SHAPES = [(1, 3, 4), (3, 2, 2), (1, 1, 5)]


def block(groups, outputs, inputs, *, kept=("input", "output")):
    def orthogonal(seed, side, name):
        return torch.linalg.qr(gaussian(seed, groups, side, side)).Q if name in kept else None

    return Block(
        torch.arange(groups * outputs * inputs).view(groups, outputs, inputs),
        1 + gaussian(1, groups, outputs, inputs).square(),
        orthogonal(2, inputs, "input"),
        orthogonal(3, outputs, "output"),
    )


def dense(one, damping=0.0, absolute=0.0, exponent=1.0):
    u, shift = basis(one), damping * one.scalings.max() + absolute
    return u @ torch.diag((one.scalings.flatten() + shift) ** exponent) @ u.mT


def applied(one, vectors, *settings):
    shaped = vectors.view(*one.entries.shape, vectors.shape[1])
    return one.power(shaped, *settings).reshape(vectors.shape)


@pytest.mark.parametrize("kept", [(), ("input",), ("output",), ("input", "output")])
@pytest.mark.parametrize("shape", SHAPES)
def test_powers_are_those_of_the_matrix(shape, kept):
    one = block(*shape, kept=kept)
    vectors = gaussian(4, one.entries.numel(), 2)
    for settings in [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (-0.5, 0.1, 0.0), (0.5, 0.0, 0.3)]:
        exponent, damping, absolute = settings
        matrix = dense(one, damping, absolute, exponent)
        # Four sums of at most m terms each way.
        allowed = 16 * len(matrix) * EPS * float(torch.linalg.matrix_norm(matrix, 2))
        assert_within(
            applied(one, vectors, *settings), matrix @ vectors, allowed * float(vectors.norm())
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_diagonal_is_that_of_the_matrix(shape):
    one = block(*shape)
    expected = dense(one).diagonal()
    assert_within(one.diagonal().flatten(), expected, 16 * len(expected) * EPS * expected.max())


def test_a_direction_without_curvature_has_no_inverse():
    one = Block(torch.arange(2).view(1, 1, 2), torch.tensor([[[0.0, 4.0]]]).double())
    vector = torch.ones(1, 1, 2, 1).double()
    assert one.power(vector, -0.5, 0.0, 0.0).flatten().tolist() == [0.0, 0.5]
    assert one.power(vector, 0.0, 0.0, 0.0).flatten().tolist() == [1.0, 1.0]
    assert one.power(vector, -1.0, 0.25, 1.0).flatten().tolist() == [0.5, 1 / 6]
