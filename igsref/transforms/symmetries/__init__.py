"""Maps of a network onto itself that keep its function; one file per symmetry, each on a copy.

Every symmetry has a random draw ``draw_…(model, generator, strength)``.

They work in the model's own dtype, and round there; powers of two, signs and orders round nothing.
With other factors call ``model.double()`` first: the float32 weights that come out are, by their
rounding, those of another network, whose IGS agrees to that rounding only (1e-9 to 1e-7 of itself
in small networks); brackets of the two may be disjoint.

``print(channel_graph(model))``, of ``igsref.graph``, shows the groups of channels that
factors, signs and orders are for.
"""

from igsref.transforms.symmetries.attention_basis import (
    attention_heads,
    change_query_key_basis,
    change_value_output_basis,
    draw_bases,
    draw_query_key_basis,
    draw_value_output_basis,
)
from igsref.transforms.symmetries.layer_scaling import (
    draw_layer_factors,
    draw_layer_scaling,
    draw_layer_scaling_by_powers_of_two,
    scale_layers,
)
from igsref.transforms.symmetries.node_scaling import (
    draw_node_factors,
    draw_node_scaling,
    draw_node_scaling_by_powers_of_two,
    nearest_powers_of_two,
    scalable_widths,
    scale_nodes,
)
from igsref.transforms.symmetries.permutation import (
    draw_permutation,
    hidden_widths,
    permute_nodes,
)
from igsref.transforms.symmetries.sign_flip import draw_sign_flip, flip_signs, flippable_widths
from igsref.transforms.symmetries.softmax_shift import draw_softmax_shift, shift_softmax

__all__ = [
    "attention_heads",
    "change_query_key_basis",
    "change_value_output_basis",
    "draw_bases",
    "draw_layer_factors",
    "draw_layer_scaling",
    "draw_layer_scaling_by_powers_of_two",
    "draw_node_factors",
    "draw_node_scaling",
    "draw_node_scaling_by_powers_of_two",
    "draw_permutation",
    "draw_query_key_basis",
    "draw_sign_flip",
    "draw_softmax_shift",
    "draw_value_output_basis",
    "flip_signs",
    "flippable_widths",
    "hidden_widths",
    "nearest_powers_of_two",
    "permute_nodes",
    "scalable_widths",
    "scale_layers",
    "scale_nodes",
    "shift_softmax",
]
