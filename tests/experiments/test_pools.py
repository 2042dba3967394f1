"""A pool holds what it should, and its IGS is that of exact_igs."""

import pytest
import torch

import igsref
from experiments.pools import COPIES, IMAGES, MEMORY, Point, crossing, measured, pool
from igsref.linalg.rounding import gamma
from tests.experiments.pool_examples import LABELLED, PARAMETERS, half_wrong


@pytest.mark.parametrize("kind", [IMAGES, COPIES])
def test_a_point_lies_in_the_bracket_of_exact_igs(kind):
    trained = half_wrong()
    found = measured(kind, trained, LABELLED, 1.3, prove=kind == IMAGES)
    x, y = (part[:LABELLED] for part in trained.data.data)
    inputs = pool(kind, trained.data.images, LABELLED, found.pool_size)
    expected = igsref.exact_igs(
        trained.model, (x, y), fisher_data=inputs, members=torch.arange(LABELLED), memory=MEMORY
    )
    # The same sum in another order.
    rounding = gamma(LABELLED * 9) * expected.value
    assert expected.lower - rounding <= found.value <= expected.upper + rounding
    assert found.ceiling <= expected.ceiling
    assert found.saturation == pytest.approx(expected.saturation)
    assert (found.rows, found.parameters) == (9 * found.pool_size, PARAMETERS)
    assert found.rank == expected.rank <= found.rank_bound
    assert found.saturation < 1
    bracket = (expected.lower, expected.upper, expected.grade)
    assert found.bracket == (bracket if kind == IMAGES else None)


def test_a_pool_with_fewer_rows_than_parameters_is_saturated():
    found = measured(IMAGES, half_wrong(), LABELLED, 0.6, prove=False)
    assert found.rows < PARAMETERS
    assert found.saturation == 1


def test_copies_are_the_labelled_images_moved():
    images = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    made = pool(COPIES, images, 3, 8)
    assert len(made) == 8
    assert torch.equal(made[:3], images)
    for number, copy in enumerate(made[3:]):
        original = images[number % 3]
        inside = copy[copy != 0]
        assert torch.isin(inside, original).all()
        assert not torch.equal(copy, original)


def test_a_pool_of_images_keeps_their_order_and_refuses_too_many():
    images = torch.arange(6.0).view(6, 1, 1, 1)
    assert torch.equal(pool(IMAGES, images, 2, 5), images[:5])
    with pytest.raises(ValueError, match="a pool of 7 images was asked for; there are 6"):
        pool(IMAGES, images, 2, 7)


@pytest.mark.parametrize(
    ("saturations", "expected"),
    [((1.0, 0.95, 0.8), (2.0, 3.0)), ((0.5, 0.4, 0.3), (0.0, 1.0)), ((1.0, 1.0, 0.9), None)],
)
def test_the_crossing_lies_between_neighbouring_sizes(saturations, expected):
    points = [
        Point(IMAGES, 1, 10 * number, 10, 1, 1, value, 1.0, 0.0)
        for number, value in enumerate(saturations, start=1)
    ]
    assert crossing(points[::-1]) == expected
