"""Inputs that are images become PNG files of their pixels; others none."""

import base64
import io

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import igsref
from igsref.report.thumbnails import SIDE, thumbnails
from tests.report.networks import images, perceptron


def pixels(address):
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_the_darkest_value_is_black_and_the_brightest_white():
    model, (x, y) = images()
    shown = thumbnails(igsref.as_problem(model, (x, y)), [4, 1])
    chosen = x[[4, 1], 0]
    scaled = (chosen - chosen.min()) / (chosen.max() - chosen.min())
    for address, expected in zip(shown, scaled, strict=True):
        found = pixels(address)
        assert found.shape == (5, 5, 3)
        assert np.abs(found[:, :, 0] / 255 - expected.numpy()).max() <= 1 / 255
        assert (found[:, :, 0] == found[:, :, 2]).all()


def test_three_channels_are_colours():
    model, (x, y) = images(channels=3)
    (address,) = thumbnails(igsref.as_problem(model, (x, y)), [2])
    scaled = (x[2] - x[2].min()) / (x[2].max() - x[2].min())
    assert np.abs(pixels(address) / 255 - scaled.permute(1, 2, 0).numpy()).max() <= 1 / 255


def test_the_labelled_samples_of_a_pool_are_shown():
    model, (x, y) = images()
    whole = igsref.as_problem(model, (x, y))
    pooled = igsref.as_problem(model, (x[3:], y[3:]), fisher_data=x, members=torch.arange(3, 6))
    assert thumbnails(pooled, [0, 2]) == thumbnails(whole, [3, 5])


def test_flat_inputs_need_a_shape():
    problem = igsref.as_problem(*perceptron())
    assert thumbnails(problem, [0]) == []
    (address,) = thumbnails(problem, [0], (2, 2))
    assert pixels(address).shape == (2, 2, 3)
    for wrong in ((2, 3), (4,), (2, 2, 1), (-2, -2)):
        with pytest.raises(ValueError, match="4 pixels in all; got"):
            thumbnails(problem, [0], wrong)


def test_a_shape_that_is_none_is_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"image_shape must be .*; got 4"):
        thumbnails(igsref.as_problem(*perceptron()), [0], 4)


def test_two_inputs_and_other_channels_are_no_images():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, a, b):
            return self.layer(a + b)

    _, (x, y) = perceptron()
    assert thumbnails(igsref.as_problem(Sum().eval(), [((x, x), y)]), [0]) == []
    model, (x, y) = images(channels=2)
    assert thumbnails(igsref.as_problem(model, (x, y)), [0]) == []


def test_yes_and_no_are_black_and_white():
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x.flatten(1).to(self.layer.weight.dtype))

    x = torch.tensor([[[[True, False], [False, True]]]] * 2)
    problem = igsref.as_problem(Cast().eval(), (x, torch.tensor([0, 1])))
    (address,) = thumbnails(problem, [0])
    assert pixels(address)[:, :, 0].tolist() == [[255, 0], [0, 255]]


class Mean(nn.Module):
    """Of all pixels, whatever the size."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 3)

    def forward(self, x):
        return self.layer(x.mean(dim=(1, 2, 3))[:, None])


def test_large_images_are_means_over_areas():
    x = torch.rand(2, 3, 4 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(0)).double()
    x[0, :, :4, :4] = torch.tensor([[1.0, 0.0] * 2] * 4)  # a pattern that a choice would lose
    problem = igsref.as_problem(Mean().double().eval(), (x, torch.tensor([0, 1])))
    (address,) = thumbnails(problem, [0])
    means = x[0].unfold(1, 4, 4).unfold(2, 4, 4).mean(dim=(3, 4))
    expected = (means - means.min()) / (means.max() - means.min())
    found = pixels(address)
    assert found.shape == (SIDE, SIDE // 2, 3)
    assert np.abs(found / 255 - expected.permute(1, 2, 0).numpy()).max() <= 1 / 255


@pytest.mark.parametrize(
    ("size", "shown"),
    [((SIDE, 3), (SIDE, 3)), ((1000, 1), (SIDE, 1)), ((100, SIDE + 1), (SIDE, 42))],
)
def test_neither_side_is_longer_and_none_is_nothing(size, shown):
    x = torch.rand(2, 1, *size, dtype=torch.float64)
    problem = igsref.as_problem(Mean().double().eval(), (x, torch.tensor([0, 1])))
    assert pixels(thumbnails(problem, [0])[0]).shape == (*shown, 3)
