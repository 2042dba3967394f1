"""The networks of the experiments, as published for images of 28×28 or 32×32 pixels.

``build(name, num_classes, in_channels)`` makes one of ``NETWORKS``. The convolutional ones but
LeNet-5 end in a mean over positions, so that they take images of other sizes too. Images of one
channel are taken to have 28×28 pixels (MNIST), all others 32×32 (CIFAR): see ``image_side``.
Three small ones of our own, cnn500, cnn2k and cnn5k, are there to be measured densely; like LeNet-5
they take one size of image.

All are usable under ``torch.func``: no operation writes into an activation, and nothing depends on
values. Convolutions have He's initialisation, all else torch's own, from torch's global generator.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

Shortcut = Callable[[int, int, int], nn.Module]


def build(name: str, num_classes: int, in_channels: int = 3) -> nn.Module:
    """A new network of this name, in float32 and training mode.

    Raises ValueError for an unknown name, for fewer than two classes or no channel.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}; got {name!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2; got {num_classes}")
    if in_channels < 1:
        raise ValueError(f"in_channels must be at least 1; got {in_channels}")
    model = NETWORKS[name](num_classes, in_channels)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def image_side(in_channels: int) -> int:
    """Pixels along a side: 28 with one channel, as MNIST has, else 32, as CIFAR."""
    return 28 if in_channels == 1 else 32


def perceptron(num_classes: int, in_channels: int) -> nn.Module:
    """784-300-100-10 with ReLU: 3FCN, also LeNet-300-100.

    266,610 parameters on MNIST: "267K" in Han et al., NeurIPS 2015, Table 1.
    """
    pixels = in_channels * image_side(in_channels) ** 2
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(pixels, 300), nn.ReLU()),
        *(nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, num_classes)),
    )


def lenet5(num_classes: int, in_channels: int) -> nn.Module:
    """LeNet-5 with ReLU, max pooling and all 6 maps seen by all 16: 61,706 parameters on MNIST.

    Its first convolution pads 28×28 pixels to the 32×32 of LeCun et al., Proc. IEEE 1998; without
    that padding there would be 44,426. The original, with sparse connections between the maps,
    has "60,000 trainable parameters".
    """
    padding = (32 - image_side(in_channels)) // 2
    return nn.Sequential(
        *(nn.Conv2d(in_channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * 5 * 5, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)),
    )


def strided_cnn(widths: tuple[int, ...], num_classes: int, in_channels: int) -> nn.Module:
    """3×3 convolutions of stride 2 with ReLU, then a linear layer on all positions: our own.

    So few parameters that F over a pool of thousands of rows can be factorised, and only layers
    for which igsref proves its bracket.
    """
    side = image_side(in_channels)
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(in_channels, width, 3, stride=2, padding=1), nn.ReLU()]
        in_channels, side = width, -(-side // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(in_channels * side**2, num_classes))


def vgg11_bn(num_classes: int, in_channels: int) -> nn.Module:
    """Configuration A of Simonyan & Zisserman, ICLR 2015, with BatchNorm, for CIFAR.

    One linear layer follows the convolutions, which keep their biases: 9,231,114 parameters with
    ten classes, as in kuangliu/pytorch-cifar.
    """
    layers: list[nn.Module] = []
    for width in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # 28×28 pixels are halved five times
            continue
        convolution = nn.Conv2d(in_channels, width, 3, padding=1)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers, *_head(in_channels, num_classes))


def cifar_resnet(n: int, shortcut: Shortcut, num_classes: int, in_channels: int) -> nn.Module:
    """The 6n+2 layers of He et al., CVPR 2016, section 4.2: n blocks each of width 16, 32, 64.

    ResNet-56 with ``ZeroPadding``: 853,018 parameters with ten classes; "0.85M" in their Table 6.
    """
    return _resnet((16, 32, 64), n, shortcut, num_classes, in_channels)


def resnet18(num_classes: int, in_channels: int) -> nn.Module:
    """ResNet-18 for CIFAR: a 3×3 stem and no pooling after it, widths 64 to 512, two blocks each.

    11,173,962 parameters with ten classes, as in kuangliu/pytorch-cifar.
    """
    return _resnet((64, 128, 256, 512), 2, Projection, num_classes, in_channels)


def wide_resnet(depth: int, factor: int, num_classes: int, in_channels: int) -> nn.Module:
    """WRN-depth-factor of Zagoruyko & Komodakis, BMVC 2016, without dropout.

    WRN-16-8: 10,961,370 parameters with ten classes; "11.0M" in their tables.
    Raises ValueError unless depth = 6n + 4.
    """
    n, rest = divmod(depth - 4, 6)
    if n < 1 or rest:
        raise ValueError(f"depth must be 6n + 4; got {depth}")
    blocks: list[nn.Module] = []
    width = 16
    for group in range(3):
        for number in range(n):
            stride = 2 if group and not number else 1
            wider = 16 * factor * 2**group
            blocks.append(PreActivationBlock(width, wider, stride))
            width = wider
    return nn.Sequential(
        OrderedDict(
            stem=_convolution(in_channels, 16, 1),
            blocks=nn.Sequential(*blocks),
            norm=nn.BatchNorm2d(width),
            activation=nn.ReLU(),
            head=nn.Sequential(*_head(width, num_classes)),
        )
    )


class Projection(nn.Sequential):
    """Option B of He et al., section 3.3: a 1×1 convolution with BatchNorm where shapes change."""

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        convolution = nn.Conv2d(fan_in, width, 1, stride=stride, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(width))


class ZeroPadding(nn.Module):
    """Option A of He et al.: every second pixel, and zeros in the new channels; no parameters.

    The new channels come half before and half behind the old ones.
    """

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        before = (width - fan_in) // 2
        self.channels = (before, width - fan_in - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        thinned = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(thinned, (0, 0, 0, 0, *self.channels))


class BasicBlock(nn.Module):
    """ReLU(shortcut(x) + norm(conv(ReLU(norm(conv(x)))))), He et al., CVPR 2016."""

    def __init__(self, fan_in: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        same = stride == 1 and fan_in == width
        self.shortcut = nn.Identity() if same else shortcut(fan_in, width, stride)
        self.residual = nn.Sequential(
            *(_convolution(fan_in, width, stride), nn.BatchNorm2d(width), nn.ReLU()),
            *(_convolution(width, width, 1), nn.BatchNorm2d(width)),
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.shortcut(x) + self.residual(x))


class PreActivationBlock(nn.Module):
    """x + conv(ReLU(norm(conv(z)))) with z = ReLU(norm(x)), Zagoruyko & Komodakis, Figure 1(c).

    Where shapes change, a 1×1 convolution of z takes the place of x.
    """

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(fan_in), nn.ReLU())
        self.residual = nn.Sequential(
            *(_convolution(fan_in, width, stride), nn.BatchNorm2d(width), nn.ReLU()),
            _convolution(width, width, 1),
        )
        same = stride == 1 and fan_in == width
        self.projection = None if same else nn.Conv2d(fan_in, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.activation(x)
        shortcut = x if self.projection is None else self.projection(z)
        return shortcut + self.residual(z)


def _resnet(
    widths: tuple[int, ...], n: int, shortcut: Shortcut, num_classes: int, in_channels: int
) -> nn.Module:
    """A 3×3 stem, n blocks of each width, a linear layer; strides of 2 where the width grows."""
    width = widths[0]
    stem = nn.Sequential(_convolution(in_channels, width, 1), nn.BatchNorm2d(width), nn.ReLU())
    blocks: list[nn.Module] = []
    for stage, wider in enumerate(widths):
        for number in range(n):
            stride = 2 if stage and not number else 1
            blocks.append(BasicBlock(width, wider, stride, shortcut))
            width = wider
    head = nn.Sequential(*_head(width, num_classes))
    return nn.Sequential(OrderedDict(stem=stem, blocks=nn.Sequential(*blocks), head=head))


def _convolution(fan_in: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(fan_in, width, 3, stride=stride, padding=1, bias=False)


def _head(width: int, num_classes: int) -> tuple[nn.Module, ...]:
    """The mean over positions and a linear layer."""
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "3fcn": perceptron,
    "lenet5": lenet5,
    "cnn500": partial(strided_cnn, (2, 2, 2)),
    "cnn2k": partial(strided_cnn, (6, 7, 8)),
    "cnn5k": partial(strided_cnn, (8, 12, 15)),
    "vgg11_bn": vgg11_bn,
    "resnet8": partial(cifar_resnet, 1, Projection),
    "resnet18": resnet18,
    "resnet56": partial(cifar_resnet, 9, ZeroPadding),
    "wrn16_8": partial(wide_resnet, 16, 8),
    **{f"wrn10_{factor}": partial(wide_resnet, 10, factor) for factor in (1, 2, 4)},
}
"""Name → (num_classes, in_channels) ↦ network.

ResNet-56 has shortcuts without parameters (option A), as published.
ResNet-8, of the same family, has projections (option B), 78,042 parameters, so that each of its
groups of channels can be scaled, flipped and permuted by ``igsref.transforms``.
"""
