"""Independent yes-or-no outputs: one of them is softmax over (0, f)."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from igsref.likelihoods import Bernoulli, Categorical
from tests.closeness import EPS, TINY, assert_within
from tests.likelihoods import exact, outputs
from tests.likelihoods.open_ends import assert_covers, moves
from tests.likelihoods.outputs import laws

sigmoid, softmax = Bernoulli(), Categorical()
# p of the label: 1 − 1e-13, 1 − 1e-13, 1e-300, 1e-300.
EXTREME = (
    torch.tensor([[30.0], [-30.0], [-690.0], [690.0]], dtype=torch.float64),
    torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64),
)


def rounding(f):
    """Relative error of a few exponentials of f, each off by u|f| and its own rounding."""
    return 4 * EPS * (2 + float(f.abs().max()))


def as_softmax(f, y):
    """One output as two classes: logits (0, f), probabilities (1 − y, y)."""
    return exact.with_silent_class(f), torch.cat([1 - y, y], dim=1)


@laws
@given(case=outputs.switches(outputs=1))
@example(case=EXTREME)
def test_one_output_is_softmax_over_zero_and_f(case):
    two, q = as_softmax(*case)
    f, y = case
    expected = exact.loss(two, q)
    assert_within(sigmoid.loss(f, y), expected, rounding(f) * expected)
    allowance = rounding(f) * exact.ceiling_size(two, q)
    assert_within(sigmoid.ceiling(f, y), exact.ceiling(two, q), allowance)
    assert_within(softmax.ceiling(two, q), exact.ceiling(two, q), allowance)


@laws
@given(case=outputs.switches(outputs=1))
@example(case=EXTREME)
def test_one_output_has_the_factor_of_softmax_up_to_sign(case):
    f, y = case
    two, q = as_softmax(f, y)
    A, B = sigmoid.root(f) @ sigmoid.contrast(f), softmax.root(two) @ softmax.contrast(two)
    # ∂(0, f)/∂f = (0, 1).
    assert_within(A.abs(), B[:, :, 1:].abs(), rounding(f) * A.abs())
    v, w = sigmoid.residual(f, y), softmax.residual(two, q)
    size = exact.ceiling_size(two, q).sqrt()[:, None]
    assert_within(v.abs(), w.abs(), rounding(f) * size)
    sign = (A[:, :, 0] * B[:, :, 1]).sign()
    assert_within(v * sign, w, rounding(f) * size)


@laws
@given(case=outputs.switches())
@example(case=EXTREME)
def test_contrast_and_root_give_the_metric(case):
    f, _ = case
    A = sigmoid.root(f) @ sigmoid.contrast(f)
    columns = [exact.metric(exact.with_silent_class(f[:, [c]]))[:, 1, 1] for c in range(f.shape[1])]
    expected = torch.diag_embed(torch.stack(columns, dim=1))
    assert_within(A.mT @ A, expected, rounding(f) * expected + TINY)


@laws
@given(case=outputs.switches())
@example(case=EXTREME)
def test_the_residual_gives_the_output_gradient(case):
    f, y = case
    u = torch.einsum("nr,nrc->nc", sigmoid.residual(f, y), sigmoid.root(f) @ sigmoid.contrast(f))
    pairs = [as_softmax(f[:, [c]], y[:, [c]]) for c in range(f.shape[1])]
    expected = torch.stack([exact.output_gradient(*pair)[:, 1] for pair in pairs], dim=1)
    size = torch.stack([exact.gradient_size(*pair)[:, 1] for pair in pairs], dim=1)
    assert_within(u, expected, rounding(f) * size + TINY)
    # u itself may cancel: p − y is only good to u of 1.
    assert_within(sigmoid.output_gradient(f, y), expected, rounding(f))


@laws
@given(case=outputs.switches())
@example(case=EXTREME)
def test_the_squared_residual_is_the_ceiling(case):
    f, y = case
    ceiling = sigmoid.ceiling(f, y)
    assert_within(sigmoid.residual(f, y).square().sum(dim=1), ceiling, 8 * EPS * ceiling)


@laws
@given(case=outputs.switches())
def test_the_loss_is_torch_s_summed_over_outputs(case):
    f, y = case
    each = torch.nn.functional.binary_cross_entropy_with_logits(f, y, reduction="none")
    expected = each.sum(dim=1)
    assert_within(sigmoid.loss(f, y), expected, rounding(f) * (1 + expected))


@laws
@given(case=outputs.switches())
@example(case=EXTREME)
def test_the_textbook_root_gives_the_metric(case):
    f, _ = case
    M, Lam = sigmoid.textbook_root(f), sigmoid.metric(f)
    assert_within(M.mT @ M, Lam, 4 * EPS * Lam)


@laws
@given(case=outputs.switches(), step=st.sampled_from([0.0, 2.0**-40, 2.0**-10, 0.5, -20.0]))
@example(case=EXTREME, step=-1.0)
def test_the_divergence_is_non_negative_and_a_sum_over_outputs(case, step):
    f, _ = case
    moved = f + step
    columns = [
        [exact.with_silent_class(logits[:, [c]]) for logits in (f, moved)]
        for c in range(f.shape[1])
    ]
    expected = sum(exact.divergence(*pair) for pair in columns)
    size = sum(exact.divergence_size(*pair) for pair in columns)
    actual = sigmoid.divergence(f, moved)
    assert bool((actual >= 0).all())
    assert_within(actual, expected, rounding(torch.cat([f, moved])) * size + TINY)


@laws
@given(case=outputs.switches(outputs=1))
def test_label_probabilities_sum_to_one(case):
    f, _ = case
    pairs = sigmoid.label_distribution(f)
    assert_within(sum(p for p, _ in pairs), torch.ones(len(f)), 4 * EPS)
    assert torch.equal(sum(q for _, q in pairs), torch.ones_like(f))


def test_several_outputs_offer_no_label_distribution():
    assert sigmoid.label_distribution(torch.zeros(1, 2)) == []


@pytest.mark.parametrize("labels", [torch.tensor([0, 1]), torch.tensor([False, True])])
def test_a_vector_of_labels_stands_for_one_column(labels):
    targets = sigmoid.targets(labels, torch.zeros(2, 1, dtype=torch.float64))
    assert targets.tolist() == [[0.0], [1.0]]


@laws
@given(case=outputs.switches(), data=st.data())
def test_the_output_error_covers_the_exact_logits(case, data):
    f, y = case
    assert_covers(sigmoid, f, y, *data.draw(moves(f)))


@pytest.mark.parametrize("step", [0.0, 1e-12, -1e-3, 0.5])
def test_the_output_error_covers_the_extremes(step):
    f, y = EXTREME
    for target in (y, 1 - y, y / 2):
        move = torch.full_like(f, step)
        assert_covers(sigmoid, f, target, move, move.abs())


@laws
@given(case=outputs.switches())
@example(case=EXTREME)
def test_exact_logits_leave_no_more_open_than_rounding(case):
    f, y = case
    found = sigmoid.output_error(f, y.round(), torch.zeros_like(f))
    allowed = 8 * EPS * (f.abs().amax(dim=1) + 8)
    assert bool((found.metric <= allowed).all())
    assert bool((found.residual <= allowed * sigmoid.residual(f, y.round()).norm(dim=1)).all())
