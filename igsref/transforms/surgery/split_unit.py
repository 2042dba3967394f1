"""One unit as two: the same weights into both, and its weights out of it shared between them.

With φ_u the unit's output, w_u φ_u = (α w_u) φ_u + ((1 − α) w_u) φ_u. A unit is one of a dense
layer or a channel of a convolution, with its row in every layer that makes it (several in a
residual network), its place in every BatchNorm between, and its columns in every layer that reads
it.

**What it does.** m grows; range(A) and IGS stay. *Proof.* Let a_1 = α, a_2 = 1 − α. The copy k
sends a_k δ back where the unit sent δ, and forward the same φ_u. So the column of A that belongs to
an entry of the new network is that of the old entry which it was copied from, times a_k if it is an
entry of what makes the copy k (weights, biases, γ, β), times 1 if it is one of what only reads it;
in a matrix that does both, times a_k of its row. Every column of the new A is a multiple of one of
the old, and every old one is there times at least one number that is not zero, as a_1 + a_2 = 1.
This holds for every activation, at kinks too. Proposition 3.1 of the paper on IGS does not cover
it.

Measures that sum over coordinates move. In a ReLU network the unit's part of Tr H in what makes it
goes from t to (α² + (1 − α)²)t, while its part in what reads it doubles.

Fukumizu and Amari, Neural Networks 13 (2000), section 3.
"""

import math

import torch
from torch import Tensor, nn

from igsref.arguments import check_number, checked_integer
from igsref.transforms.surgery.channel import Part, draw_layer, find_group, grow


def split_unit(model: nn.Module, layer: str, unit: int, fraction: float = 0.5) -> nn.Module:
    """A copy of the model with a unit split; the second half stands behind the layer's last unit.

    layer: name of a Linear or Conv layer, as ``model.named_modules()`` has it; unit: its row.
    fraction: α, 0 < α < 1; the weights out of the unit are multiplied by α, those out of its copy
        by 1 − α. One half, and other powers of two times an integer that fit, round nothing.

    IGS is unchanged (proof above), as is all that range(A) and the outputs determine.

    Raises TypeError for what is no name, index or number; ValueError for a layer or unit that does
    not exist, for a layer whose units are not free to change (with the reason), for a fraction
    that is not between 0 and 1.

    >>> network = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> split_unit(network, "0", unit=4)[2]
    Linear(in_features=6, out_features=3, bias=True)
    """
    unit = checked_integer("unit", unit)
    check_number("fraction", fraction)
    if not (math.isfinite(fraction) and 0 < fraction < 1):
        raise ValueError(
            f"fraction must lie between 0 and 1, both excluded; got {fraction}. At the ends one "
            "copy has no weights out of it: that is what add_silent_unit makes"
        )
    group = find_group(model, layer)
    if not 0 <= unit < group.size:
        raise ValueError(f"unit must be one of 0..{group.size - 1} of layer {layer!r}; got {unit}")

    def growth(part: Part, entries: Tensor) -> Tensor:
        copied = torch.cat([entries, entries[unit : unit + 1]])
        if part is Part.OUTGOING:
            copied[unit] *= fraction
            copied[-1] *= 1 - fraction
        return copied

    return grow(model, group, growth)


def draw_split_unit(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """:func:`split_unit` of a random unit of a random layer, with α uniform.

    Raises ValueError where no unit can be split.
    """
    layer = draw_layer(model, generator)
    size = find_group(model, layer).size
    unit = int(torch.randint(size, (), generator=generator))
    # The middle 98%, so that the ends, which are refused, are never drawn.
    fraction = 0.01 + 0.98 * float(torch.rand((), generator=generator, dtype=torch.float64))
    return split_unit(model, layer, unit, fraction)
