"""A unit that is never active: behind it a ReLU, into it no weights and a negative bias.

The weights into it are 0 and its bias (or the β of the BatchNorm behind it) is −1, so that ReLU
gets −1 on every input, not only on the data; the weights out of it are any.

**What it does.** m grows; range(A) and IGS stay. *Proof.* The unit's output is 0 and stays 0 near
these parameters. So a weight out of it has derivative φ = 0; what makes the unit (weights, bias, γ,
β) acts on the outputs through ReLU'(−1) = 0 alone; and the old units see and send back what they
did. A gains zero columns. Proposition 3.1 of the paper on IGS does not cover it.

**Where it does not hold.** With weights and bias 0, a tanh unit outputs tanh(0) = 0 too, and yet it
is not dead: the derivative by its bias is the weight out of it times tanh'(0) = 1, times what is
sent back, a column that need not be in range(A). The same goes for GELU, leaky ReLU and all others
whose derivative vanishes nowhere on an interval where they are 0. A ReLU unit without a bias would
sit on its kink. All these are refused.
"""

import torch
from torch import nn

from igsref.arguments import check_generator
from igsref.transforms.surgery.channel import (
    Part,
    drawn,
    find_group,
    grow,
    growable_groups,
)
from igsref.transforms.surgery.channel_flow import Signal, follow

_DEAD = {
    Part.INCOMING: 0.0,
    Part.BIAS: -1.0,
    Part.GAIN: 1.0,
    Part.SHIFT: -1.0,
    Part.MEAN: 0.0,
    Part.VARIANCE: 1.0,
}


def add_dead_unit(model: nn.Module, layer: str, generator: torch.Generator) -> nn.Module:
    """A copy of the model with one more unit in a layer, the last, that no input makes active.

    layer: name of a Linear or Conv layer, as ``model.named_modules()`` has it; the unit is one of
        all layers and BatchNorms that share its channels.
    generator: draws the weights out of it, normal and as large as those of the others.

    Outputs, range(A) and IGS are the same (proof above), and so is every sum of squares of
    derivatives, such as Tr F.

    Raises TypeError for what is no name or generator; ValueError for a layer that does not exist
    or whose units are not free to change, and where a layer would read the unit not behind a ReLU,
    or ReLU would sit on its kink.

    >>> network = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> wider = add_dead_unit(network, "0", torch.Generator().manual_seed(0))
    >>> wider[0].bias[5].item()
    -1.0
    """
    group = find_group(model, layer)
    for reader, signal in follow(model, group, _made):
        if signal is not Signal.OFF:
            raise ValueError(
                f"layer {layer!r} cannot take a dead unit: {reader!r} would read one that is "
                f"{signal.value}, not off. It takes a bias (of the layer or of a BatchNorm) and "
                "then a ReLU: other activations are 0 nowhere but at single points, where "
                "derivatives are not"
            )
    return grow(model, group, drawn(_DEAD, generator))


def draw_add_dead_unit(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """:func:`add_dead_unit` in a random layer of those that can take one.

    Raises TypeError for what is no generator; ValueError where none can.
    """
    check_generator(generator)
    groups = growable_groups(model)
    names = [
        name
        for name, group in groups.items()
        if all(signal is Signal.OFF for _, signal in follow(model, group, _made))
    ]
    if not names:
        raise ValueError(
            "model has no layer that can take a dead unit: hidden units with a bias, then a ReLU"
        )
    name = names[int(torch.randint(len(names), (), generator=generator))]
    return add_dead_unit(model, name, generator)


def _made(layer: nn.Module) -> Signal:
    """What a layer gives on the unit: its bias of −1, or nothing."""
    return Signal.IDLE if layer.bias is None else Signal.NEGATIVE
