"""Inputs that are images, as small PNG files inside the page."""

import base64
import io
from collections.abc import Sequence

import matplotlib.image
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import interpolate

from igsref.problem import Problem

COLOURED = 3
SIDE = 64
"""Pixels of the longer side, at most; of the CSS too, so that one is one where screens are so."""


def thumbnails(
    problem: Problem, chosen: Sequence[int], shape: tuple[int, ...] | None = None
) -> list[str]:
    """A ``data:`` address for each chosen labelled sample; an empty list if inputs are no images.

    shape: (height, width) or (channels, height, width) of an input that is stored otherwise.
    Images have one channel or three. Larger ones are scaled down, by the mean over areas; the
    darkest and the brightest value of what is shown become black and white. Raises ValueError for
    a shape that an input does not have.
    """
    inputs = list(problem.samples.named_inputs().values())
    if len(inputs) != 1 or not chosen:
        return []
    pixels = inputs[0][problem.members[list(chosen)]].detach().cpu().double()
    if shape is not None:
        pixels = _shaped(pixels, shape)
    if pixels.ndim != 4 or pixels.shape[1] not in (1, COLOURED):
        return []
    pixels = _scaled_down(pixels)
    low, high = pixels.min(), pixels.max()
    scaled = ((pixels - low) / (high - low).clamp(min=1e-12)).permute(0, 2, 3, 1)
    return [_address(each) for each in scaled]


def _scaled_down(
    pixels: Float64[Tensor, "chosen channels height width"],
) -> Float64[Tensor, "chosen channels rows columns"]:
    """Neither side longer than ``SIDE``, in about the same proportion."""
    height, width = pixels.shape[2:]
    longer = max(height, width)
    if longer <= SIDE:
        return pixels
    sides = [max(1, round(side * SIDE / longer)) for side in (height, width)]
    return interpolate(pixels, sides, mode="area")


def _shaped(pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    known = isinstance(shape, tuple) and all(isinstance(side, int) and side > 0 for side in shape)
    full = (1, *shape) if known and len(shape) == 2 else shape
    size = pixels[0].numel()
    if (
        not known
        or len(full) != 3
        or full[0] not in (1, COLOURED)
        or torch.Size(full).numel() != size
    ):
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width), with 1 or 3 "
            f"channels and {size} pixels in all; got {shape}"
        )
    return pixels.reshape(len(pixels), *full)


def _address(image: Tensor) -> str:
    """image: (height, width, channels) in [0, 1]."""
    buffer = io.BytesIO()
    array = image.double().expand(-1, -1, COLOURED).contiguous().numpy()
    matplotlib.image.imsave(buffer, array, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
