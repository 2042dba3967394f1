"""Maps to a network of more or fewer parameters that computes the same function.

They are no bijections of parameter space, so that Proposition 3.1 of the paper on IGS is silent on
them. Each module says, with a proof, what becomes of range(A), and with it of IGS.

They work in the model's own dtype, and round there. Call ``model.double()`` first: the float32
weights that come out are, by their rounding, those of another network, whose IGS agrees to that
rounding only (1e-9 to 1e-7 of itself in small networks); brackets of the two may be disjoint.
"""

from igsref.transforms.surgery.absorb_batch_norm import (
    absorb_batch_norm,
    draw_absorb_batch_norm,
)
from igsref.transforms.surgery.dead_unit import add_dead_unit, draw_add_dead_unit
from igsref.transforms.surgery.silent_unit import add_silent_unit, draw_add_silent_unit
from igsref.transforms.surgery.split_unit import draw_split_unit, split_unit
from igsref.transforms.surgery.weight_normalization import draw_normalize_weights, normalize_weights

__all__ = [
    "absorb_batch_norm",
    "add_dead_unit",
    "add_silent_unit",
    "draw_absorb_batch_norm",
    "draw_add_dead_unit",
    "draw_add_silent_unit",
    "draw_normalize_weights",
    "draw_split_unit",
    "normalize_weights",
    "split_unit",
]
