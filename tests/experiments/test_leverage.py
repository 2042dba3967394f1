"""A row's numbers are those of exact_igs, or follow from leverage and loss."""

import math

import pytest
import torch

import igsref
from experiments.data import random_images
from experiments.leverage import BAND, correlation, examined, matched
from experiments.pools import pool_size
from experiments.training import score
from tests.experiments.pool_examples import LABELLED, half_wrong, row


def test_a_row_holds_the_igs_of_the_labelled_in_the_pool():
    trained, test = half_wrong(), random_images(1, 10)
    found = examined("a", trained, LABELLED, 1.3, test)
    x, y = trained.data.data
    size = pool_size(trained.model, 1.3, 10)
    expected = igsref.exact_igs(
        trained.model,
        (x[:LABELLED], y[:LABELLED]),
        fisher_data=x[:size],
        members=torch.arange(LABELLED),
    )
    assert found.saturated_alone
    assert found.value == pytest.approx(expected.value)
    assert found.ceiling == pytest.approx(expected.ceiling)
    assert found.loss == pytest.approx(expected.loss)
    assert found.training_loss == score(trained.model, trained.data).loss
    assert found.test_loss == score(trained.model, test).loss
    assert found.epochs == trained.epochs
    assert len(found.leverage) == len(found.wrong) == size
    with torch.no_grad():
        p = trained.model(x[:size]).softmax(dim=1).double()
    assert found.spread == pytest.approx(float((p * (1 - p)).sum(dim=1).mean()), rel=1e-5)
    assert found.wrong == trained.wrong[:size].tolist()


def test_the_numbers_of_a_row_are_sums_over_the_labelled():
    found = row([0.5, 0.25], [math.log(3), 9.0], [False, False])
    assert found.value == pytest.approx(2 * 0.5 * 2)
    assert found.ceiling == pytest.approx(2 * 2)
    assert found.loss == math.log(3)
    assert found.gap == 0.4
    assert found.missing == 1 - 0.75 / 2


def test_only_losses_in_the_band_count_there():
    inside, outside = sum(BAND) / 2, 2 * BAND[1]
    found = row([0.5, 0.9, 0.1], [inside, inside, outside], [False] * 3)
    assert found.missing_in_band == pytest.approx(0.3)
    assert math.isnan(row([0.5], [outside], [False]).missing_in_band)


def test_wrong_images_are_held_against_the_right_one_nearest_in_loss():
    found = row([0.9, 0.5, 0.2, 0.8], [0.1, 1.0, 0.9, 0.12], [False, False, True, True])
    # 0.2 − 0.5 and 0.8 − 0.9, whose standard deviation is 0.2/√2.
    assert matched(found) == pytest.approx((-0.2, 0.1))


@pytest.mark.parametrize("wrong", [[False] * 4, [True] * 4, [True, False, False, False]])
def test_labels_are_mixed_from_two_images_of_either_kind_on(wrong):
    numbers = [0.9, 0.5, 0.2, 0.8], [0.1, 1.0, 0.9, 0.12]
    assert not row(*numbers, wrong).mixed
    assert matched(row(*numbers, wrong)) is None
    assert row(*numbers, [True, False, False, True]).mixed


def test_correlation_is_of_ranks():
    assert correlation([1.0, 2.0, 3.0], [1.0, 10.0, 11.0]) == pytest.approx(1)
    assert correlation([1.0, 2.0, 3.0], [5.0, 2.0, 1.0]) == pytest.approx(-1)
