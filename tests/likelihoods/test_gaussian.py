"""The square loss: everything is exact, since small integers are drawn."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.likelihoods import Gaussian
from tests.likelihoods import outputs
from tests.likelihoods.open_ends import assert_covers, moves
from tests.likelihoods.outputs import laws
from tests.strategies import SEEDS, gaussian

square = Gaussian()


@st.composite
def regressions(draw):
    """Outputs and targets of one shape."""
    size = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return tuple(draw(outputs.matrices(*size, st.integers(-16, 16))) for _ in "fy")


@laws
@given(case=regressions())
def test_contrast_root_and_textbook_root_give_the_metric(case):
    f, _ = case
    for A in (square.root(f) @ square.contrast(f), square.textbook_root(f)):
        assert torch.equal(A.mT @ A, square.metric(f))
    assert torch.equal(square.metric(f)[0], torch.eye(f.shape[1], dtype=torch.float64))


@laws
@given(case=regressions())
def test_the_residual_is_the_output_gradient_and_its_square_the_ceiling(case):
    f, y = case
    assert torch.equal(square.residual(f, y), f - y)
    assert torch.equal(square.output_gradient(f, y), f - y)
    assert torch.equal(square.ceiling(f, y), (f - y).square().sum(dim=1))


@laws
@given(case=regressions())
def test_the_loss_is_half_of_torch_s_summed_over_outputs(case):
    f, y = case
    expected = torch.nn.functional.mse_loss(f, y, reduction="none").sum(dim=1) / 2
    assert torch.equal(square.loss(f, y), expected)


@laws
@given(case=regressions())
def test_the_output_gradient_is_the_derivative_of_the_loss(case):
    f, y = case
    u = torch.func.grad(lambda f: square.loss(f, y).sum())(f)
    assert torch.equal(u, square.output_gradient(f, y))


@laws
@given(case=regressions())
def test_the_divergence_is_the_loss_between_two_outputs(case):
    f, g = case
    assert torch.equal(square.divergence(f, g), square.loss(f, g))
    assert torch.equal(square.divergence(f, f), torch.zeros(len(f), dtype=torch.float64))


def test_labels_are_not_countable():
    assert square.label_distribution(torch.zeros(1, 2)) == []


def test_a_vector_of_targets_stands_for_one_column():
    targets = square.targets(torch.tensor([1, 3]), torch.zeros(2, 1, dtype=torch.float64))
    assert targets.tolist() == [[1.0], [3.0]]
    assert targets.dtype == torch.float64


@laws
@given(case=regressions(), data=st.data())
def test_the_output_error_covers_the_exact_outputs(case, data):
    f, y = case
    assert_covers(square, f, y, *data.draw(moves(f)))


@laws
@given(seed=SEEDS, data=st.data())
def test_the_output_error_covers_the_rounding_of_a_difference(seed, data):
    f, y = gaussian(seed, 2, 3), 1e-3 * gaussian(seed + 1, 2, 3)
    assert_covers(square, f, y, *data.draw(moves(f)))


@laws
@given(case=regressions())
def test_exact_outputs_leave_no_more_open_than_rounding(case):
    f, y = case
    found = square.output_error(f, y, torch.zeros_like(f))
    assert torch.equal(found.metric, torch.zeros(len(f), dtype=torch.float64))
    assert bool((found.residual <= 2.0**-52 * (f - y).norm(dim=1)).all())
