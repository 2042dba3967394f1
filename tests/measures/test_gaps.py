"""Gaps of logits, their covectors, and these whitened."""

import pytest
import torch
from torch import nn

import igsref
from igsref.measures.gaps import (
    below_ceiling,
    check_off_boundary,
    checked_index,
    class_logits,
    covectors,
    gaps,
    hard_labels,
    share,
    whitened_gaps,
    whitened_squares,
)
from tests.closeness import EPS, assert_within
from tests.strategies import classes, gaussian, mlp

Y = classes(2, 6, 4)


def problem(classes_=4, **options):
    return igsref.as_problem(mlp(0, [3, 5, classes_], nn.Tanh), (gaussian(1, 6, 3), Y), **options)


def switch():
    labels = (Y % 2).double()
    model = mlp(0, [3, 5, 1], nn.Tanh)
    return igsref.as_problem(model, (gaussian(1, 6, 3), labels), likelihood="bernoulli")


def test_a_whitened_gap_solves_for_its_covector():
    made = problem()
    labels = hard_labels(made)
    contrast = made.likelihood.contrast(made.logits)
    root = made.likelihood.root(made.logits)
    for c, whitened in enumerate(whitened_gaps(made)):
        # Kᵀ L w = e_y − e_c: a_c = (e_y − e_c)ᵀ J = wᵀ Lᵀ K J.
        expected = covectors(made, labels, torch.full_like(labels, c))
        got = (contrast.mT @ (root.mT @ whitened[:, :, None]))[:, :, 0]
        # Three products of 3 terms, entries of L and w at most 1 and ‖w‖, two roundings each.
        size = whitened.norm(dim=1, keepdim=True)
        assert_within(got, expected, 64 * EPS * (1 + size))


@pytest.mark.parametrize("make", [problem, switch])
def test_whitened_squares_are_those_of_the_whitened_gaps(make):
    made = make()
    expected = torch.stack([w.square().sum(dim=1) for w in whitened_gaps(made)], dim=1)
    squares = whitened_squares(made, hard_labels(made))
    # Both sum positive numbers of a few roundings each; exponents are below 10.
    assert_within(squares, expected, 128 * EPS * expected)


def test_a_whitened_gap_keeps_its_digits_at_probabilities_of_1e_200():
    bias = torch.tensor([0.0, -200.0, -460.0], dtype=torch.float64)
    model = nn.Linear(1, 3).double()
    model.load_state_dict({"weight": torch.zeros(3, 1), "bias": bias})
    made = igsref.as_problem(model, (torch.ones(3, 1), torch.tensor([0, 1, 2])))
    squares = torch.stack([w.square().sum(dim=1) for w in whitened_gaps(made)], dim=1)
    total = bias.exp().sum()
    inverse = total / bias.exp()
    expected = (inverse[:, None] + inverse) * (1 - torch.eye(3, dtype=torch.float64))
    # log p is known to the spread 460 in units of rounding, its exponential to that.
    assert_within(squares, expected, 4 * 460 * EPS * expected)


def test_the_gap_is_the_difference_of_logits_and_0_for_the_own_class():
    made = problem()
    labels = hard_labels(made)
    found = gaps(made, made.logits, labels)
    for i, y in enumerate(labels.tolist()):
        for c in range(4):
            assert float(found[i, c]) == float(made.logits[i, y] - made.logits[i, c])


def test_a_switch_has_the_classes_0_and_f():
    made = switch()
    assert torch.equal(class_logits(made, made.logits)[:, 1:], made.logits)
    assert not class_logits(made, made.logits)[:, 0].any()
    assert torch.equal(hard_labels(made), Y % 2)
    labels = hard_labels(made)
    assert torch.equal(covectors(made, labels, 1 - labels)[:, 0], 2.0 * labels - 1)


@pytest.mark.parametrize(
    ("options", "labels", "message"),
    [
        ({"likelihood": "gaussian"}, gaussian(3, 6, 4), "margins need classes.*got gaussian with"),
        ({"likelihood": "bernoulli"}, torch.ones(6, 4), "margins need classes.*bernoulli with 4"),
        ({}, torch.full((6, 4), 0.25), r"one class per sample.*sample 0 is \[0\.25"),
    ],
)
def test_labels_that_are_no_single_class_are_refused(options, labels, message):
    made = igsref.as_problem(mlp(0, [3, 5, 4], nn.Tanh), (gaussian(1, 6, 3), labels), **options)
    with pytest.raises(ValueError, match=message):
        hard_labels(made)


def test_a_sample_on_a_boundary_is_named_with_its_rival():
    values = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"sample 1 .* its class 1 and class 2 .*\(1 such"):
        check_off_boundary(values, torch.tensor([0, 1]))
    check_off_boundary(values[:1], torch.tensor([0]))


def test_energies_are_clamped_at_the_share_of_a_duplicated_input():
    x = torch.ones(2, 3, dtype=torch.float64)
    made = igsref.as_problem(mlp(0, [3, 5, 2], nn.Tanh), (x, torch.tensor([0, 1])))
    most = torch.tensor([[4.0], [6.0]], dtype=torch.float64)
    energy, ceilings = below_ceiling(made, torch.tensor([[1.5], [3.25]]).double(), most)
    assert energy.tolist() == [[3.0], [6.0]]
    assert ceilings.tolist() == [[4.0], [6.0]]


def test_an_energy_above_its_ceiling_is_an_internal_error():
    made, most = problem(), torch.ones(6, 1, dtype=torch.float64)
    energy = most.clone()
    energy[3] = 1.1
    with pytest.raises(ArithmeticError, match="internal error: sample 3"):
        below_ceiling(made, energy, most)


def test_a_ceiling_that_overflows_is_refused():
    most = torch.ones(6, 1, dtype=torch.float64)
    most[4] = 1e308
    with pytest.raises(ValueError, match="squared slope of sample 4 overflows"):
        below_ceiling(problem(), torch.ones_like(most), most)


def test_a_share_of_nothing_is_nothing():
    whole = torch.tensor([0.0, 2.0, 2.0])
    assert share(torch.tensor([0.0, 1.0, 3.0]), whole).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("given", "error"), [(1.0, TypeError), (True, TypeError)])
def test_an_index_is_an_integer(given, error):
    with pytest.raises(error, match="sample must be an integer"):
        checked_index("sample", given, 3)


@pytest.mark.parametrize("given", [-1, 3])
def test_an_index_lies_in_its_range(given):
    with pytest.raises(ValueError, match=r"sample must lie in 0\.\.2; got"):
        checked_index("sample", given, 3)
