"""Channel groups: which tensors carry the same channels of a network, and along which axis.

A channel c of a group is made by its producers and read by its consumers. With s_c ≠ 0, the map

    producer entries of c  ·  s_c,      consumer entries of c  /  s_c

keeps the network's function where all between them commutes with s_c: s_c > 0 where it is
positively homogeneous, s_c = ±1 where it is odd. One permutation of the channels of all its
tensors keeps the function where all between them acts on every channel alike.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """One axis of one tensor that carries channels; its length is outer·size·inner.

    The axis is read as (outer, size, inner): after flattening maps of H×W, channel c has the H·W
    features from c·H·W on (inner = H·W).

    tensor: name of the parameter or buffer in the model.
    groups: of a grouped convolution, which reads an equal share of the channels by each block of
        rows: the axis, 1, is that much shorter.
    """

    tensor: str
    axis: int
    outer: int = 1
    inner: int = 1
    groups: int = 1


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be changed together.

    producers, consumers: tensors that s_c multiplies and divides.
    followers: tensors that a permutation takes along, and that a scaling leaves alone.
    bends: modules and operations on the way that are not positively homogeneous.
    uneven: those that are not odd.
    """

    size: int
    producers: tuple[Place, ...]
    consumers: tuple[Place, ...]
    followers: tuple[Place, ...] = ()
    bends: tuple[str, ...] = ()
    uneven: tuple[str, ...] = ()

    @property
    def homogeneous(self) -> bool:
        """Whether every channel may be scaled by a number above zero."""
        return not self.bends

    @property
    def odd(self) -> bool:
        """Whether every channel may change its sign."""
        return not self.uneven

    @property
    def places(self) -> tuple[Place, ...]:
        """All places of the group, each once."""
        return tuple(dict.fromkeys((*self.producers, *self.consumers, *self.followers)))

    def __str__(self) -> str:
        """How many channels, and the tensors that make them, read them and go with them."""
        parts = (
            ("made by", self.producers),
            ("read by", self.consumers),
            ("also in", self.followers),
        )
        told = (f"{what} {_names(places)}" for what, places in parts if places)
        return f"{self.size} channels, {'; '.join(told)}"


def _names(places: tuple[Place, ...]) -> str:
    return ", ".join(dict.fromkeys(place.tensor for place in places))


@dataclass(frozen=True)
class Shift:
    """Constants that may be added to what a tensor gives to the channels behind it.

    Not a whole symmetry of the tensors at any size, but one of the function: the layer that reads
    the channels takes the constants away again, or its own bias does.

    tensor: the bias, the weight (the same row added to all), or the mean that is subtracted.
    count: how many such constants there are, independent of each other.
    counterpart: the bias that makes them good; None where a normalisation takes them away.
    """

    tensor: str
    count: int
    counterpart: str | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """What is changed."""
        return (self.tensor,) if self.counterpart is None else (self.tensor, self.counterpart)


@dataclass(frozen=True)
class ChannelGraph:
    """The channel groups of a network, in the order in which it makes them.

    scaled: groups whose channels may be scaled or change sign, as far as their properties say.
    permuted: groups whose channels may be permuted; BatchNorm, LayerNorm and depthwise
        convolutions put several of the first kind into one of these.
    stops: what keeps other channels as they are: nodes unknown to the pass, tensors used in two
        ways, inputs and outputs.
    head: name of the Linear whose output is the network's, if there is one and nothing else uses
        its tensors.
    shifts: constants that a tensor may add to channels and the layer behind takes away; of tensors
        that are used once.
    """

    scaled: tuple[ChannelGroup, ...]
    permuted: tuple[ChannelGroup, ...]
    stops: tuple[str, ...] = field(default=())
    head: str | None = None
    shifts: tuple[Shift, ...] = ()

    @property
    def scalable(self) -> tuple[ChannelGroup, ...]:
        """Groups of ``scale_nodes`` and ``scale_layers``: positively homogeneous all the way."""
        return tuple(group for group in self.scaled if group.homogeneous)

    @property
    def flippable(self) -> tuple[ChannelGroup, ...]:
        """Groups of ``flip_signs``: odd all the way."""
        return tuple(group for group in self.scaled if group.odd)

    def __str__(self) -> str:
        """The groups of every symmetry, numbered as it takes them, with their tensors by name."""
        lines = (
            *_section("scale_nodes, scale_layers", self.scalable),
            *_section("flip_signs", self.flippable),
            *_section("permute_nodes", self.permuted),
            *(f"in the way: {reason}" for reason in self.stops),
        )
        return "\n".join(lines)


def _section(title: str, groups: tuple[ChannelGroup, ...]) -> list[str]:
    return [f"{title}:" + (" no group" if not groups else "")] + [
        f"  {number}: {group}" for number, group in enumerate(groups)
    ]
