"""Data sets are found or missed with a word, normalised, and cut to the same subsets each time."""

import re

import numpy as np
import pytest
import torch

from experiments.data import (
    NORMALISATION,
    VARIABLE,
    DataNotFound,
    Images,
    chosen,
    find_data,
    generator,
    load_data,
    normalised,
    random_images,
    with_label_noise,
)
from tests.closeness import assert_within
from tests.experiments.image_files import write_folder, write_mnist, write_records

EPS32 = 2.0**-23


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder that IGSREF_DATA names, empty."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def test_pixels_are_normalised_channel_by_channel(root):
    (root / "cifar10").mkdir()
    records = write_records(root / "cifar10" / "test_batch.bin", 3)
    loaded = load_data("cifar10", "test")
    mean, deviation = (np.array(part).reshape(3, 1, 1) for part in NORMALISATION["cifar10"])
    scaled = (records[:, 1:].reshape(-1, 3, 32, 32) / 255 - mean) / deviation
    assert loaded.images.dtype == torch.float32
    # A rounding each of the quotient, of both constants, of the difference and of the next
    # quotient; all terms are at most 1/deviation < 5.
    assert_within(loaded.images, torch.tensor(scaled), 5 * EPS32 * 5)
    assert loaded.labels.tolist() == records[:, 0].tolist()
    assert (loaded.name, loaded.num_classes, loaded.in_channels) == ("cifar10 test", 10, 3)


def test_grey_images_have_one_channel(root):
    (root / "mnist").mkdir()
    write_mnist(root / "mnist", 12)
    loaded = load_data("mnist", "train")
    assert loaded.images.shape == (12, 1, 28, 28)
    assert loaded.data == (loaded.images, loaded.labels)


def test_a_folder_of_images_and_the_binary_layout_are_told_apart(root, tmp_path):
    write_folder(root / "cifar10" / "test", ("cat", "dog"), 2)
    cache = tmp_path / "out"
    assert load_data("cifar10", "test", cache=cache).num_classes == 2
    assert (cache / "cifar10-test.safetensors").is_file()
    (root / "cifar-100-binary").mkdir()
    write_records(root / "cifar-100-binary" / "train.bin", 2, labels=2, classes=100)
    assert load_data("cifar100", "train").num_classes == 100


def test_a_subset_is_the_images_at_the_chosen_places(root):
    (root / "mnist").mkdir()
    write_mnist(root / "mnist", 40)
    whole = load_data("mnist", "train")
    few = load_data("mnist", "train", 20, seed=3)
    places = chosen(whole.labels, 20, balanced=True, seed=3)
    assert torch.equal(few.images, whole.images[places])
    assert torch.equal(few.labels, whole.labels[places])


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_absent_data_say_what_was_looked_for_and_where(name, root, monkeypatch):
    missing = rf"^{name}: looked for {name}/.* in {re.escape(str(root))} \({VARIABLE}\); there"
    with pytest.raises(DataNotFound, match=missing) as caught:
        find_data(name)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv(VARIABLE)
    unset = f"^{name}: set {VARIABLE} to a folder that holds {name}/.*; it is not set$"
    with pytest.raises(DataNotFound, match=unset):
        find_data(name)


def test_unknown_names_and_splits_are_refused(root):
    with pytest.raises(
        ValueError, match=r"^data must be one of mnist, cifar10, cifar100; got 'x'$"
    ):
        load_data("x", "train")
    with pytest.raises(ValueError, match=r"^split must be one of train, test; got 'dev'$"):
        load_data("mnist", "dev")


LABELS = torch.arange(5).repeat_interleave(torch.tensor([10, 20, 30, 40, 50]))


@pytest.mark.parametrize("samples", [1, 7, 50])
def test_a_balanced_subset_has_as_many_of_each_class_up_to_one(samples):
    places = chosen(LABELS, samples, balanced=True, seed=0)
    counts = LABELS[places].bincount(minlength=5)
    assert int(counts.sum()) == samples == len(places.unique())
    assert int(counts.max() - counts.min()) == (1 if samples % 5 else 0)
    assert places.tolist() == sorted(places.tolist())


@pytest.mark.parametrize("balanced", [True, False])
def test_a_seed_decides_the_subset(balanced):
    first, again, other = (
        chosen(LABELS, 20, balanced=balanced, seed=seed).tolist() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_all_of_the_data_can_be_chosen_where_no_balance_is_asked():
    assert chosen(LABELS, 150, balanced=False, seed=0).tolist() == list(range(150))


@pytest.mark.parametrize("samples", [0, 151])
def test_too_few_and_too_many_samples_are_refused(samples):
    with pytest.raises(ValueError, match=f"^samples must be from 1 to 150; got {samples}$"):
        chosen(LABELS, samples, balanced=True, seed=0)


def test_a_class_that_is_too_small_is_named():
    message = "55 take 11 of class 0, which has 10: pass balanced=False$"
    with pytest.raises(ValueError, match=message):
        chosen(LABELS, 55, balanced=True, seed=0)


def test_label_noise_replaces_its_share_by_other_classes():
    data = random_images(0, 4000, num_classes=3, in_channels=1, side=1)
    noisy = with_label_noise(data, 0.3, seed=0)
    wrong = noisy.labels != data.labels
    # Five standard deviations of a share of 4,000 draws.
    assert abs(float(wrong.double().mean()) - 0.3) < 5 * (0.3 * 0.7 / 4000) ** 0.5
    assert set(noisy.labels[wrong & (data.labels == 1)].tolist()) == {0, 2}
    assert noisy.images is data.images
    assert torch.equal(with_label_noise(data, 0.0, seed=0).labels, data.labels)
    assert not (with_label_noise(data, 1.0, seed=0).labels == data.labels).any()
    assert torch.equal(noisy.labels, with_label_noise(data, 0.3, seed=0).labels)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_label_noise_is_a_probability(fraction):
    with pytest.raises(ValueError, match=f"^label noise must be from 0 to 1; got {fraction}$"):
        with_label_noise(random_images(0, 2), fraction, seed=0)


def test_synthetic_images_say_so_and_share_their_class_means():
    first, second = (random_images(seed, 500, num_classes=2, spread=0.5) for seed in (0, 1))
    assert first.name == "synthetic, seed 0"
    assert not torch.equal(first.images, second.images)
    for label in range(2):
        # Each mean is of about 250 images with deviation ½: five deviations of a difference, plus
        # two more for the largest of 3,072.
        means = [data.images[data.labels == label].mean(dim=0) for data in (first, second)]
        assert float((means[0] - means[1]).abs().max()) < 7 * 0.5 * (2 / 200) ** 0.5


def test_numbers_for_one_purpose_are_no_others():
    drawn = {
        float(torch.rand((), generator=generator(*key), dtype=torch.float64))
        for key in (("a", 0), ("a", 1), ("b", 0), ("a", 0, 1), ("a", 0))
    }
    assert len(drawn) == 4


def test_images_without_their_labels_are_refused():
    message = r"^images must be \(n, c, h, w\) and labels \(n,\); got \(2, 3, 4, 4\) and \(1,\)$"
    with pytest.raises(ValueError, match=message):
        Images("x", torch.zeros(2, 3, 4, 4), torch.zeros(1, dtype=torch.int64), 2)


def test_normalised_black_and_white_are_what_the_constants_say():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert normalised(pixels, (0.5,), (0.25,)).flatten().tolist() == [-2.0, 2.0]


def test_data_can_be_moved():
    moved = random_images(0, 2).to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
