"""The networks have the sizes that were published, and can be differentiated sample by sample."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.func import functional_call, vjp, vmap

from experiments.networks import NETWORKS, ZeroPadding, build, image_side, wide_resnet
from tests.closeness import assert_rows_agree


def linear(fan_in, width):
    return fan_in * width + width


def convolution(side, fan_in, width):
    """Without biases."""
    return side * side * fan_in * width


def norm(width):
    return 2 * width


def block(fan_in, width):
    """Two 3×3 convolutions, each with its BatchNorm."""
    return convolution(3, fan_in, width) + convolution(3, width, width) + 2 * norm(width)


def projection(fan_in, width):
    return convolution(1, fan_in, width) + norm(width)


def wide_block(fan_in, width):
    """BatchNorms come before the convolutions; the projection has none."""
    convolutions = convolution(3, fan_in, width) + convolution(3, width, width)
    shortcut = convolution(1, fan_in, width) if fan_in != width else 0
    return norm(fan_in) + norm(width) + convolutions + shortcut


STEM16 = convolution(3, 3, 16) + norm(16)
STEM64 = convolution(3, 3, 64) + norm(64)
VGG_LAYERS = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), *[(512, 512)] * 3]
COUNTS = {
    "3fcn": linear(784, 300) + linear(300, 100) + linear(100, 10),
    "lenet5": convolution(5, 1, 6) + 6 + convolution(5, 6, 16) + 16  # with their biases
    + linear(400, 120) + linear(120, 84) + linear(84, 10),
    "cnn500": convolution(3, 3, 2) + 2 + 2 * (convolution(3, 2, 2) + 2) + linear(2 * 4 * 4, 10),
    "cnn2k": convolution(3, 3, 6) + 6 + convolution(3, 6, 7) + 7 + convolution(3, 7, 8) + 8
    + linear(8 * 4 * 4, 10),
    "cnn5k": convolution(3, 3, 8) + 8 + convolution(3, 8, 12) + 12 + convolution(3, 12, 15) + 15
    + linear(15 * 4 * 4, 10),
    "vgg11_bn": sum(convolution(3, a, b) + b + norm(b) for a, b in VGG_LAYERS) + linear(512, 10),
    "resnet8": STEM16 + block(16, 16) + block(16, 32) + projection(16, 32)
    + block(32, 64) + projection(32, 64) + linear(64, 10),
    "resnet18": STEM64 + 2 * block(64, 64)
    + sum(block(w, 2 * w) + projection(w, 2 * w) + block(2 * w, 2 * w) for w in (64, 128, 256))
    + linear(512, 10),
    "resnet56": STEM16 + 9 * block(16, 16) + block(16, 32) + 8 * block(32, 32)
    + block(32, 64) + 8 * block(64, 64) + linear(64, 10),
    "wrn16_8": convolution(3, 3, 16) + wide_block(16, 128) + wide_block(128, 128)
    + wide_block(128, 256) + wide_block(256, 256) + wide_block(256, 512) + wide_block(512, 512)
    + norm(512) + linear(512, 10),
    **{
        f"wrn10_{k}": convolution(3, 3, 16) + wide_block(16, 16 * k) + wide_block(16 * k, 32 * k)
        + wide_block(32 * k, 64 * k) + norm(64 * k) + linear(64 * k, 10)
        for k in (1, 2, 4)
    },
}  # fmt: skip
PUBLISHED = {
    "3fcn": (266_610, "0.267M"),
    "lenet5": (61_706, "0.06M"),
    "vgg11_bn": (9_231_114, "9.2M"),
    "resnet8": (78_042, "0.078M"),
    "resnet18": (11_173_962, "11.17M"),
    "resnet56": (853_018, "0.85M"),
    "wrn16_8": (10_961_370, "11.0M"),
}
OTHERS = {
    "cnn500": 462,
    "cnn2k": 2_355,
    "cnn5k": 5_145,
    "wrn10_1": 77_850,
    "wrn10_2": 303_706,
    "wrn10_4": 1_198_810,
}
"""Our own, and wide networks of a depth for which no count was published."""
GREY = ("3fcn", "lenet5")  # their counts are those on MNIST


# Channels and pixels before the mean over positions.
LAST_MAPS = {
    "vgg11_bn": (512, 1, 1),
    "resnet8": (64, 8, 8),
    "resnet18": (512, 4, 4),
    "resnet56": (64, 8, 8),
    "wrn16_8": (512, 8, 8),
    **{f"wrn10_{k}": (64 * k, 8, 8) for k in (1, 2, 4)},
}


@functools.cache
def ten_classes(name, in_channels):
    return build(name, 10, in_channels).eval()


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_each_network_has_a_count():
    assert set(NETWORKS) == set(COUNTS) == {*PUBLISHED, *OTHERS}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_have_the_sizes_that_are_stated(name):
    assert parameters(ten_classes(name, 3)) == COUNTS[name] == OTHERS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name):
    count, rounded = PUBLISHED[name]
    digits = len(rounded.partition(".")[2]) - 1
    assert COUNTS[name] == count
    assert f"{count / 1e6:.{digits}f}M" == rounded
    assert parameters(ten_classes(name, 1 if name in GREY else 3)) == count


@pytest.mark.parametrize(
    ("name", "in_channels"),
    [
        *((name, 3) for name in NETWORKS),
        *((name, 1) for name in ("3fcn", "lenet5", "vgg11_bn", "cnn2k")),
    ],
)
def test_images_of_mnist_and_of_cifar_get_a_logit_for_each_class(name, in_channels):
    side = image_side(in_channels)
    model = ten_classes(name, in_channels)
    last_maps = []
    for module in model.modules():
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_pre_hook(lambda _, args: last_maps.append(args[0].shape[1:]))
    with torch.no_grad():
        assert model(torch.zeros(1, in_channels, side, side)).shape == (1, 10)
    assert last_maps == ([LAST_MAPS[name]] if name in LAST_MAPS else [])


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_samples_by_vmap_are_those_one_by_one_in_float64(name):
    generator = torch.Generator().manual_seed(0)
    model = copy.deepcopy(ten_classes(name, 1 if name in GREY else 3)).double()
    side = 32 if name.startswith("cnn") else 4  # these take no other size
    shape = (1, 28, 28) if name in GREY else (3, side, side)
    x = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    v = torch.randn(2, 10, generator=generator, dtype=torch.float64)
    # What reaches the first tensor has passed through all layers.
    names = [name for name, _ in model.named_parameters()]
    ends = (names[0], names[-1])
    some = {name: model.get_parameter(name) for name in ends}

    def gradient(sample, weight):
        def logits(values):
            return functional_call(model, values, (sample[None],))[0]

        return vjp(logits, some)[1](weight)[0]

    together = vmap(gradient)(x, v)
    for name in ends:
        parameter = model.get_parameter(name)
        logits = (v * model(x)).sum(dim=1)
        alone = [torch.autograd.grad(one, parameter, retain_graph=True)[0] for one in logits]
        # Each layer may round differently.
        multiple = 64 * len(names)
        rows = torch.stack(alone).flatten(1)
        assert_rows_agree(together[name].detach().flatten(1), rows, multiple=multiple)


def test_zero_padding_takes_every_second_pixel_and_adds_channels_on_both_sides():
    x = torch.arange(1.0, 33.0).view(1, 2, 4, 4)
    expected = torch.zeros(1, 4, 2, 2)
    expected[:, 1:3] = x[:, :, ::2, ::2]
    assert torch.equal(ZeroPadding(2, 4, 2)(x), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet9", 10, 3), f"^network must be one of {', '.join(NETWORKS)}; got 'resnet9'$"),
        (("resnet8", 1, 3), "^num_classes must be at least 2; got 1$"),
        (("resnet8", 10, 0), "^in_channels must be at least 1; got 0$"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(*arguments)


@pytest.mark.parametrize("depth", [4, 17])
def test_a_depth_without_whole_groups_is_refused(depth):
    with pytest.raises(ValueError, match=f"^depth must be 6n \\+ 4; got {depth}$"):
        wide_resnet(depth, 1, 10, 3)
