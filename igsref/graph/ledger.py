"""The book that the pass over a network keeps: signals, what ties them, and what stops them.

A signal is the channels of one intermediate result. Two partitions of the signals are kept:
those that share their factors (``scaled``), and the coarser one of those that share their order
(``permuted``). A tensor that is used twice ties the signals of both uses.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum

from igsref.graph.groups import ChannelGroup, Place, Shift


class Role(Enum):
    """What a tensor does to a signal."""

    PRODUCER = "producers"
    CONSUMER = "consumers"
    FOLLOWER = "followers"


class Stop(Enum):
    """What a signal must not suffer."""

    ALL = "any change"
    SCALING = "scaling"
    FLIPPING = "a change of sign"
    PERMUTING = "permutation"


@dataclass(frozen=True)
class Hold:
    """A signal's place on an axis of a tensor, of one use of that tensor."""

    role: Role
    signal: int
    axis: int
    outer: int = 1
    inner: int = 1
    groups: int = 1

    def place(self, tensor: str) -> Place:
        """The same of a tensor."""
        return Place(tensor, self.axis, self.outer, self.inner, self.groups)


@dataclass
class Partition:
    """Disjoint sets of 0, 1, …; Tarjan, J. ACM 22 (1975), with path halving."""

    parents: list[int] = field(default_factory=list)

    def root(self, member: int) -> int:
        """The member that stands for the set; the smallest, so that sets keep their order."""
        while self.parents[member] != member:
            self.parents[member] = self.parents[self.parents[member]]
            member = self.parents[member]
        return member

    def unite(self, one: int, other: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.root(one), self.root(other)))
        self.parents[high] = low


@dataclass
class Ledger:
    """Signals with their sizes, both partitions, what stops each, uses of tensors, and shifts."""

    sizes: list[int | None] = field(default_factory=list)
    scaled: Partition = field(default_factory=Partition)
    permuted: Partition = field(default_factory=Partition)
    stops: list[tuple[Stop, int, str]] = field(default_factory=list)
    uses: dict[str, list[tuple[Hold, ...]]] = field(default_factory=lambda: defaultdict(list))
    fixed: dict[str, str] = field(default_factory=dict)
    shifts: list[tuple[int, Shift]] = field(default_factory=list)

    def signal(self, size: int | None) -> int:
        """A new signal of so many channels."""
        number = len(self.sizes)
        self.sizes.append(size)
        self.scaled.parents.append(number)
        self.permuted.parents.append(number)
        return number

    def tie(self, one: int, other: int) -> None:
        """Both signals share factors and order."""
        self.scaled.unite(one, other)
        self.couple(one, other)

    def couple(self, one: int, other: int) -> None:
        """Both signals share their order, and may have factors of their own."""
        self.permuted.unite(one, other)

    def stop(self, what: Stop, signal: int, reason: str) -> None:
        """Keep a signal, and all that is tied to it, from a change."""
        self.stops.append((what, signal, reason))

    def reason(self, signal: int) -> str:
        """Why a signal that was stopped must stay."""
        return next(reason for what, s, reason in self.stops if (what, s) == (Stop.ALL, signal))

    def use(self, tensor: str, *holds: Hold) -> None:
        """Note that a tensor is used once, with these signals on its axes."""
        self.uses[tensor].append(holds)

    def fix(self, tensor: str, reason: str) -> None:
        """A tensor must stay as it is: nobody knows all that is done with it."""
        self.fixed.setdefault(tensor, reason)

    def used_once(self, tensor: str) -> bool:
        """Whether all that is done with a tensor is one call of its layer."""
        return len(self.uses[tensor]) == 1 and tensor not in self.fixed

    def settle(self) -> None:
        """Tie the signals of tensors used twice; stop those whose uses do not agree."""
        for tensor, uses in self.uses.items():
            agree = all(self._shape(use) == self._shape(uses[0]) for use in uses)
            reason = self.fixed.get(tensor) or (None if agree else f"{tensor} is used in two ways")
            for first, *others in zip(*uses, strict=True) if agree else ():
                for other in others:
                    self.tie(first.signal, other.signal)
            for hold in (hold for use in uses for hold in use) if reason else ():
                self.stop(Stop.ALL, hold.signal, reason or "")

    def _shape(self, use: tuple[Hold, ...]) -> list[tuple[object, ...]]:
        return [(h.role, h.place(""), self.sizes[h.signal]) for h in use]

    def groups(self, partition: Partition, *stopped: Stop) -> tuple[ChannelGroup, ...]:
        """Sets of a partition that nothing stops, made by some tensor and read by some tensor."""
        barred = {partition.root(signal) for what, signal, _ in self.stops if what in stopped}
        places: dict[tuple[int, Role], dict[Place, None]] = defaultdict(dict)
        for tensor, uses in self.uses.items():
            for hold in (hold for use in uses for hold in use):
                places[partition.root(hold.signal), hold.role][hold.place(tensor)] = None
        notes: dict[tuple[int, Stop], dict[str, None]] = defaultdict(dict)
        for what, signal, reason in self.stops:
            notes[partition.root(signal), what][reason] = None
        groups = (
            ChannelGroup(
                self.sizes[root] or 0,
                producers=tuple(places[root, Role.PRODUCER]),
                consumers=tuple(places[root, Role.CONSUMER]),
                followers=tuple(places[root, Role.FOLLOWER]),
                bends=tuple(notes[root, Stop.SCALING]),
                uneven=tuple(notes[root, Stop.FLIPPING]),
            )
            for root in sorted({partition.root(signal) for signal in range(len(self.sizes))})
            if root not in barred
        )
        return tuple(group for group in groups if group.producers and group.consumers)
