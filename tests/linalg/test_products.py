"""What is no product of an operator is refused, whoever multiplies; random vectors have a seed."""

import math

import pytest
import torch

from igsref.linalg.cg import conjugate_gradient
from igsref.linalg.density import lanczos_quadrature
from igsref.linalg.lanczos import leading_eigenpairs
from igsref.linalg.products import random_signs, seeded
from igsref.linalg.trace import trace_estimate


@pytest.mark.parametrize(
    ("product", "error", "message"),
    [
        (lambda v: v[:-1], ValueError, r"product must give the shape .*\(10, 1\).*got \(9, 1\)"),
        (lambda v: v * math.nan, ValueError, "product must give finite numbers"),
        (lambda v: v.float(), TypeError, "product must give float64; got torch.float32"),
        (lambda v: v.tolist(), TypeError, "the result of product must be a torch.Tensor; got"),
    ],
)
def test_what_is_no_product_is_refused(product, error, message):
    with pytest.raises(error, match=message):
        leading_eigenpairs(product, 10, 2)
    with pytest.raises(error, match=message):
        lanczos_quadrature(product, 10, probes=2, steps=2)
    with pytest.raises(error, match=message):
        trace_estimate(product, 10, products=6)
    with pytest.raises(error, match=message):
        ones = torch.ones(10, 1, dtype=torch.float64)
        conjugate_gradient(product, ones, tolerance=1e-8, max_iterations=3)


def test_signs_follow_from_the_seed():
    signs = random_signs(seeded(3), 40, 2)
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    assert signs.equal(random_signs(seeded(3), 40, 2))
    assert not signs.equal(random_signs(seeded(4), 40, 2))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be"):
        seeded(seed)
