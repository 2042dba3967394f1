"""Places and groups of channels."""

from igsref.graph import ChannelGraph, ChannelGroup, Place

WEIGHT, BIAS, NEXT = Place("a.weight", 0), Place("a.bias", 0), Place("b.weight", 1, inner=4)


def test_a_group_names_every_place_once():
    group = ChannelGroup(3, (WEIGHT, BIAS), (NEXT, WEIGHT), (BIAS,))
    assert group.places == (WEIGHT, BIAS, NEXT)


def test_a_group_is_homogeneous_and_odd_unless_something_on_the_way_is_not():
    assert ChannelGroup(3, (WEIGHT,), (NEXT,)).homogeneous
    assert ChannelGroup(3, (WEIGHT,), (NEXT,)).odd
    assert not ChannelGroup(3, (WEIGHT,), (NEXT,), bends=("tanh",)).homogeneous
    assert not ChannelGroup(3, (WEIGHT,), (NEXT,), uneven=("relu",)).odd


def test_a_graph_shows_the_groups_as_every_symmetry_numbers_them():
    bent = ChannelGroup(2, (BIAS,), (NEXT,), bends=("tanh",))
    uneven = ChannelGroup(3, (WEIGHT, BIAS), (NEXT,), (Place("a.var", 0),), uneven=("relu",))
    graph = ChannelGraph((bent, uneven), (), ("x is an input",))
    assert (graph.scalable, graph.flippable) == ((uneven,), (bent,))
    assert str(graph).splitlines() == [
        "scale_nodes, scale_layers:",
        "  0: 3 channels, made by a.weight, a.bias; read by b.weight; also in a.var",
        "flip_signs:",
        "  0: 2 channels, made by a.bias; read by b.weight",
        "permute_nodes: no group",
        "in the way: x is an input",
    ]
