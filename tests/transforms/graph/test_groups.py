"""Places and groups of channels."""

from igsref.transforms.graph import ChannelGroup, Place

WEIGHT, BIAS, NEXT = Place("a.weight", 0), Place("a.bias", 0), Place("b.weight", 1, inner=4)


def test_a_group_names_every_place_once():
    group = ChannelGroup(3, (WEIGHT, BIAS), (NEXT, WEIGHT), (BIAS,))
    assert group.places == (WEIGHT, BIAS, NEXT)


def test_a_group_is_homogeneous_and_odd_unless_something_on_the_way_is_not():
    assert ChannelGroup(3, (WEIGHT,), (NEXT,)).homogeneous
    assert ChannelGroup(3, (WEIGHT,), (NEXT,)).odd
    assert not ChannelGroup(3, (WEIGHT,), (NEXT,), bends=("tanh",)).homogeneous
    assert not ChannelGroup(3, (WEIGHT,), (NEXT,), uneven=("relu",)).odd
