"""A unit that nobody listens to: random weights into it, zeros out of it.

**What it does.** m grows, and range(A) and IGS can grow: the outputs do not depend on the unit, but
they would on the weights out of it. *Proof that IGS never falls.* All old columns of A stay, as the
old units compute and send back what they did; columns are added, so range(A) ⊂ range(A'), P ≤ P'
and v_iᵀPv_i ≤ v_iᵀP'v_i for every sample. The weights into the unit add zeros: what they would move
is multiplied by 0. A weight from the unit into j adds the column of δ_j φ(x), with δ_j what is sent
back to j and φ the new unit's output: a new direction, unless range(A) holds it already. The
ceiling, which depends on the outputs alone, stays, and a saturated network stays saturated. So a
network can be made to look sharper, up to the ceiling, without a change of its function:
Proposition 3.1 of the paper on IGS is about bijections of the parameters, and this is none. Where
the weights out of the unit are not trained, nothing is added, and IGS stays.
"""

import torch
from torch import nn

from igsref.transforms.surgery.channel import Part, draw_layer, drawn, find_group, grow

_NEUTRAL = {Part.OUTGOING: 0.0, Part.GAIN: 1.0, Part.SHIFT: 0.0, Part.MEAN: 0.0, Part.VARIANCE: 1.0}


def add_silent_unit(model: nn.Module, layer: str, generator: torch.Generator) -> nn.Module:
    """A copy of the model with one more unit in a layer, the last, whose outgoing weights are 0.

    layer: name of a Linear or Conv layer, as ``model.named_modules()`` has it; the unit is one of
        all layers and BatchNorms that share its channels.
    generator: draws the weights into it and its bias, normal and as large as those of the others.

    Outputs are the same. IGS never falls and can rise (proof above); the ceiling stays.

    Raises TypeError for what is no name or generator; ValueError for a layer that does not exist
    or whose units are not free to change (with the reason).

    >>> network = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> wider = add_silent_unit(network, "0", torch.Generator().manual_seed(0))
    >>> wider[2].weight[:, 5].tolist()
    [0.0, 0.0, 0.0]
    """
    return grow(model, find_group(model, layer), drawn(_NEUTRAL, generator))


def draw_add_silent_unit(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """:func:`add_silent_unit` in a random layer.

    Raises ValueError where no layer can take one.
    """
    return add_silent_unit(model, draw_layer(model, generator), generator)
