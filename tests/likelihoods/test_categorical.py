"""Softmax over classes: the closed forms against 50 digits, confident and misclassified alike."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from igsref.likelihoods import Categorical
from tests.closeness import EPS, TINY, assert_within
from tests.likelihoods import exact, outputs
from tests.likelihoods.open_ends import assert_covers, moves
from tests.likelihoods.outputs import laws

softmax = Categorical()
CONFIDENT = torch.tensor([[30.0, 0.0, -3.0], [0.0, 33.0, 1.0]], dtype=torch.float64)
HOPELESS = torch.tensor([[0.0, 690.0, 3.0], [-400.0, 308.5, 0.0]], dtype=torch.float64)
ZEROS = torch.zeros(2, dtype=torch.int64)
DIAGONAL = torch.tensor([0, 1])


def rounding(f):
    """Relative error that the closed forms may have.

    A difference of logits is off by u|d|, so its exponential by (|d| + 2)u; sums of C positive
    terms add Cu; what cancels at last does so against tails t ≥ p_ref ≥ 1/C, which costs C.
    """
    spread = (f.amax(dim=1) - f.amin(dim=1)).amax()
    return f.shape[1] ** 2 * EPS * (2 + float(spread))


def underflow(v):
    """Entries of L below 2⁻¹⁰²² are off by 2⁻¹⁰⁷⁴, which v multiplies."""
    return 2.0**-1074 * v.abs().sum(dim=1, keepdim=True) + TINY


def one_hot(labels, f):
    return softmax.targets(labels, f)


@laws
@given(f=outputs.logits())
@example(f=CONFIDENT)
@example(f=HOPELESS)
def test_contrast_and_root_give_the_metric(f):
    K, Lt = softmax.contrast(f), softmax.root(f)
    A = Lt @ K
    expected = exact.metric(f)
    assert_within(A.mT @ A, expected, rounding(f) * expected.abs() + TINY)


@laws
@given(f=outputs.logits())
@example(f=CONFIDENT)
def test_the_root_is_upper_triangular_with_positive_diagonal(f):
    Lt = softmax.root(f)
    assert torch.equal(Lt, Lt.triu())
    assert bool((Lt.diagonal(dim1=1, dim2=2) > 0).all())


@laws
@given(f=outputs.logits())
def test_a_contrast_sees_no_common_shift(f):
    assert float(softmax.contrast(f).sum(dim=2).abs().max()) == 0


@laws
@given(case=outputs.hard())
@example(case=(CONFIDENT, DIAGONAL))
@example(case=(HOPELESS, ZEROS))
def test_the_residual_gives_the_output_gradient(case):
    f, q = case[0], one_hot(case[1], case[0])
    v = softmax.residual(f, q)
    u = torch.einsum("nr,nrc->nc", v, softmax.root(f) @ softmax.contrast(f))
    expected = exact.output_gradient(f, q)
    assert_within(u, expected, rounding(f) * expected.abs() + underflow(v))


@laws
@given(case=outputs.soft())
def test_the_residual_of_class_probabilities_gives_the_output_gradient(case):
    f, q = case
    v = softmax.residual(f, q)
    u = torch.einsum("nr,nrc->nc", v, softmax.root(f) @ softmax.contrast(f))
    allowance = rounding(f) * exact.gradient_size(f, q) + underflow(v)
    assert_within(u, exact.output_gradient(f, q), allowance)


@laws
@given(case=outputs.soft())
def test_the_output_gradient_does_not_cancel(case):
    f, q = case
    assert_within(
        softmax.output_gradient(f, q),
        exact.output_gradient(f, q),
        rounding(f) * exact.gradient_size(f, q) + TINY,
    )


@laws
@given(case=outputs.hard())
@example(case=(CONFIDENT, DIAGONAL))
@example(case=(HOPELESS, ZEROS))
def test_the_squared_residual_is_the_ceiling_to_full_relative_accuracy(case):
    f, q = case[0], one_hot(case[1], case[0])
    expected = exact.hard_ceiling(f, q)
    allowance = rounding(f) * expected
    assert_within(softmax.residual(f, q).square().sum(dim=1), expected, allowance)
    assert_within(softmax.ceiling(f, q), expected, allowance)


@laws
@given(case=outputs.soft())
def test_the_squared_residual_of_class_probabilities_is_the_ceiling(case):
    f, q = case
    expected, allowance = exact.ceiling(f, q), rounding(f) * exact.ceiling_size(f, q)
    assert_within(softmax.residual(f, q).square().sum(dim=1), expected, allowance)
    assert_within(softmax.ceiling(f, q), expected, allowance)


def test_the_examples_are_as_extreme_as_they_should_be():
    missing = exact.hard_ceiling(CONFIDENT, one_hot(DIAGONAL, CONFIDENT))
    assert float(missing.min()) > 1e-15
    assert float(missing.max()) < 1e-13
    assert float(exact.probabilities(HOPELESS)[:, 0].max()) < 1e-299


def test_a_ceiling_by_expm1_of_torch_s_loss_loses_the_digits_of_confident_samples():
    q = one_hot(DIAGONAL, CONFIDENT)
    naive = torch.nn.functional.cross_entropy(CONFIDENT, DIAGONAL, reduction="none").expm1()
    assert float((naive / exact.hard_ceiling(CONFIDENT, q) - 1).abs().max()) > 1e-4


@laws
@given(case=outputs.hard())
@example(case=(CONFIDENT, DIAGONAL))
@example(case=(HOPELESS, ZEROS))
def test_the_loss_has_full_relative_accuracy(case):
    f, q = case[0], one_hot(case[1], case[0])
    expected = exact.loss(f, q)
    assert_within(softmax.loss(f, q), expected, rounding(f) * expected)


@laws
@given(case=outputs.soft())
def test_the_loss_is_torch_s_cross_entropy(case):
    f, q = case
    expected = torch.nn.functional.cross_entropy(f, q, reduction="none")
    # torch's log-softmax is off by u of its largest term.
    assert_within(softmax.loss(f, q), expected, rounding(f) * (1 + expected))
    assert_within(softmax.loss(f, q), exact.loss(f, q), rounding(f) * exact.loss(f, q))


@laws
@given(f=outputs.logits(), step=st.sampled_from([0.0, 2.0**-40, 2.0**-10, 0.5, 20.0]))
@example(f=CONFIDENT, step=1.0)
@example(f=HOPELESS, step=-1.0)
def test_the_divergence_is_non_negative_and_exact(f, step):
    moved = f + step * torch.cos(torch.arange(f.numel(), dtype=torch.float64)).view_as(f)
    actual, expected = softmax.divergence(f, moved), exact.divergence(f, moved)
    assert bool((actual >= 0).all())
    # log p is known to rounding(f)·max(1, |log p|), which acts on p_ref − p.
    size = exact.divergence_size(f, moved)
    assert_within(actual, expected, rounding(torch.cat([f, moved])) * size + TINY)


@laws
@given(f=outputs.logits())
@example(f=HOPELESS)
def test_an_output_does_not_diverge_from_itself(f):
    assert torch.equal(softmax.divergence(f, f), torch.zeros(len(f), dtype=torch.float64))


@laws
@given(f=outputs.logits())
def test_the_textbook_root_gives_the_metric(f):
    M, Lam = softmax.textbook_root(f), softmax.metric(f)
    allowance = rounding(f)  # absolute: the textbook cancels where p → 1
    assert_within(M.mT @ M, Lam, allowance)
    assert_within(Lam, exact.metric(f), allowance)


def test_the_textbook_root_loses_the_label_row_of_a_confident_sample():
    M = softmax.textbook_root(CONFIDENT)
    q = one_hot(DIAGONAL, CONFIDENT)
    # Its entry √p (1 − p), and 1 − p is −u at the label.
    expected = -exact.output_gradient(CONFIDENT, q)[[0, 1], DIAGONAL]
    relative = (M[[0, 1], DIAGONAL, DIAGONAL] / expected - 1).abs()
    assert float(relative.max()) > 1e-4


@laws
@given(f=outputs.logits())
def test_label_probabilities_sum_to_one_over_all_labels(f):
    pairs = softmax.label_distribution(f)
    assert_within(sum(p for p, _ in pairs), torch.ones(len(f)), rounding(f))
    assert torch.equal(sum(q for _, q in pairs), torch.ones_like(f))


@laws
@given(f=outputs.logits())
def test_the_ceiling_over_the_model_s_own_labels_is_c_minus_one(f):
    pairs = softmax.label_distribution(f)
    total = sum(p * softmax.ceiling(f, q) for p, q in pairs)
    # Σ_y p_y (1−p_y)/p_y = C − 1.
    assert_within(total, torch.full((len(f),), f.shape[1] - 1.0), rounding(f) * f.shape[1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_class_indices_of_any_integer_type_become_one_hot(dtype):
    targets = softmax.targets(torch.tensor([2, 0], dtype=dtype), torch.zeros(2, 3))
    assert targets.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert targets.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_class_probabilities_are_renormalised_in_float64(dtype):
    q = torch.tensor([[0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64).to(dtype)
    targets = softmax.targets(q, torch.zeros(2, 3, dtype=torch.float64))
    assert_within(targets.sum(dim=1), torch.ones(2), 2 * EPS)
    assert_within(targets, q.double(), 4 * torch.finfo(dtype).eps)


@laws
@given(case=outputs.hard(), data=st.data())
def test_the_output_error_of_class_indices_covers_the_exact_logits(case, data):
    f, q = case[0], one_hot(case[1], case[0])
    assert_covers(softmax, f, q, *data.draw(moves(f)))


@laws
@given(case=outputs.soft(), data=st.data())
def test_the_output_error_of_class_probabilities_covers_the_exact_logits(case, data):
    f, q = case
    assert_covers(softmax, f, q, *data.draw(moves(f)))


@pytest.mark.parametrize("f", [CONFIDENT, HOPELESS, HOPELESS * 0, CONFIDENT * 20])
@pytest.mark.parametrize("step", [0.0, 1e-12, 1e-3, -0.5])
def test_the_output_error_covers_the_extremes(f, step):
    for move in torch.eye(3, dtype=torch.float64) * step:
        move = (move - (step / 3 if step == -0.5 else 0)).expand_as(f)
        for labels in (ZEROS, DIAGONAL):
            assert_covers(softmax, f, one_hot(labels, f), move, move.abs())


@laws
@given(case=outputs.hard())
@example(case=(HOPELESS, ZEROS))
def test_exact_logits_leave_no_more_open_than_rounding(case):
    f, q = case[0], one_hot(case[1], case[0])
    found = softmax.output_error(f, q, torch.zeros_like(f))
    # κ ≤ √R + 2 √(R C) ≤ 3 C, of ε; and no term of the residual of a hard label cancels.
    epsilon = 2 * EPS * (f.amax(dim=1) - f.amin(dim=1) + 2 * f.shape[1] + 12)
    allowed = 8 * f.shape[1] * epsilon
    assert bool((found.metric <= allowed).all())
    assert bool((found.residual <= allowed * softmax.residual(f, q).norm(dim=1)).all())


@laws
@given(case=outputs.soft(), power=st.integers(-40, -20))
def test_an_error_of_the_logits_opens_the_residual_and_the_metric_in_proportion(case, power):
    f, q = case
    none, some = (softmax.output_error(f, q, torch.full_like(f, e)) for e in (0.0, 2.0**power))
    # r = 2 error and a bit; |Δp_c| ≤ r min(p_c, 1 − p_c) for v, and 2 r for Λ.
    p = exact.probabilities(f)
    others = p @ (1 - torch.eye(f.shape[1], dtype=torch.float64))
    moved = 2 * 2.0**power * (torch.minimum(p, others) / p.sqrt()).norm(dim=1)
    assert bool((some.residual >= moved * (1 - 1e-9)).all())
    assert bool((some.residual <= none.residual * (1 + EPS) + 1.01 * moved).all())
    assert bool((some.metric - none.metric <= 4.1 * 2.0**power).all())
