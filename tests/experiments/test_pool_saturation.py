"""The script's numbers are those of exact_igs; what it says of them follows from them."""

import dataclasses
import math

import pytest
import torch

import igsref
from experiments import pool_saturation
from experiments.data import random_images
from experiments.pool_saturation import (
    BAND,
    COPIES,
    IMAGES,
    MEMORY,
    QUICK,
    Point,
    Row,
    crossing,
    examined,
    fitted,
    main,
    matched,
    measured,
    over_networks,
    pool,
    pool_size,
)
from experiments.training import score
from igsref.linalg.rounding import gamma

LABELLED = 20
PARAMETERS = 462


@pytest.fixture(scope="module")
def trained():
    recipe = dataclasses.replace(QUICK.pools, wrong=0.5)
    return fitted(recipe, random_images(0, recipe.images))


def row(leverage, loss, wrong, labelled=1):
    return Row("a", 1, 0.1, 0.5, 0.5, labelled, True, 0.5, leverage, loss, wrong)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    main(["--data", "synthetic", "--quick", "--output", str(folder)])
    return folder


def test_a_second_run_measures_nothing_and_prints_and_draws(run, monkeypatch, capsys):
    def refused(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(pool_saturation, "measured", refused)
    monkeypatch.setattr(pool_saturation, "examined", refused)
    (run / "pool_at_scale.png").unlink()
    main(["--data", "synthetic", "--quick", "--output", str(run)])
    assert (run / "pool_at_scale.png").stat().st_size > 0
    printed = capsys.readouterr().out
    assert "images: below 0.9 between 0.51 and 1.50" in printed
    assert "copies: below 0.9 at 1.50, the smallest" in printed
    assert "half of the labels wrong" in printed
    assert "verified: " in printed


def test_what_other_settings_gave_is_not_taken(run, monkeypatch):
    other = dataclasses.replace(QUICK.pools, seed=1)
    monkeypatch.setattr(pool_saturation, "QUICK", dataclasses.replace(QUICK, pools=other))

    def refused(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(pool_saturation, "measured", refused)
    with pytest.raises(AssertionError, match="measured again"):
        main(["--data", "synthetic", "--quick", "--output", str(run), "--part", "pools"])


@pytest.mark.parametrize("kind", [IMAGES, COPIES])
def test_a_point_lies_in_the_bracket_of_exact_igs(trained, kind):
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


def test_a_pool_with_fewer_rows_than_parameters_is_saturated(trained):
    found = measured(IMAGES, trained, LABELLED, 0.6, prove=False)
    assert found.rows < PARAMETERS
    assert found.saturation == 1


def test_a_row_holds_the_igs_of_the_labelled_in_the_pool(trained):
    test = random_images(1, 10)
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
    assert len(found.leverage) == len(found.wrong) == size
    with torch.no_grad():
        p = trained.model(x[:size]).softmax(dim=1).double()
    assert found.spread == pytest.approx(float((p * (1 - p)).sum(dim=1).mean()), rel=1e-5)
    assert found.wrong == trained.wrong[:size].tolist()


def test_training_ends_at_the_target_with_the_share_of_wrong_labels(trained):
    clean = random_images(0, QUICK.pools.images)
    assert torch.equal(trained.wrong, trained.data.labels != clean.labels)
    count = len(trained.wrong)
    # Five standard deviations of the binomial.
    assert abs(int(trained.wrong.sum()) - count / 2) < 5 * math.sqrt(count) / 2
    assert score(trained.model, trained.data).loss <= QUICK.pools.target
    assert 1 < trained.epochs < QUICK.pools.most_epochs
    longest = dataclasses.replace(QUICK.pools, target=0.0, most_epochs=2)
    assert fitted(longest, clean).epochs == 2


def test_copies_are_the_labelled_images_moved(trained):
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


def test_wrong_images_are_held_against_the_right_one_nearest_in_loss():
    found = row([0.9, 0.5, 0.2, 0.8], [0.1, 1.0, 0.9, 0.12], [False, False, True, True])
    # 0.2 − 0.5 and 0.8 − 0.9, whose standard deviation is 0.2/√2.
    assert matched(found) == pytest.approx((-0.2, 0.1))
    assert matched(row([0.9, 0.5], [0.1, 0.2], [False, True])) is None


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


def test_correlations_over_networks_are_of_ranks():
    rows = [
        dataclasses.replace(row([loss / 2], [loss], [False]), test_loss=test, spread=-(loss**3))
        for loss, test in ((0.2, 3.0), (0.9, 1.0), (0.4, 2.0))
    ]
    lines = {line[:24].strip(): line[24:].split() for line in over_networks(rows)}
    assert lines["loss"] == ["-1.00", "+1.00", "-1.00"]
    assert lines["tr Λ"] == ["+1.00", "-1.00", "+1.00"]


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


def test_absent_data_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("IGSREF_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="cifar10"):
        main(["--output", str(tmp_path)])
