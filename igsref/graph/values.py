"""What the pass knows of an intermediate result: its signal, the axis of its channels, its rank."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

TRAINING = "in training mode"
"""How a reason ends that ``model.eval()`` takes away."""


def told(reasons: Iterable[str]) -> str:
    """Each reason once, and at the end the remedy, if one of them has it."""
    once = list(dict.fromkeys(reasons))
    cured = any(reason.endswith(TRAINING) for reason in once)
    return "; ".join([*once, "call model.eval()"] if cured else once)


class Order(Enum):
    """How the channels lie on their axis."""

    PLAIN = "one entry a channel"
    BLOCKS = "flattened: all entries of a channel, then those of the next"
    TILES = "flattened: all channels of a position, then those of the next"


@dataclass
class Unknown(Exception):
    """The pass does not know what a call does to the channels."""

    reason: str = "is unknown here"


@dataclass
class Symbol:
    """A number that may be found later."""

    number: int | None = None


@dataclass(frozen=True)
class Rank:
    """The number of axes, up to a number that all results derived from one input share."""

    symbol: Symbol = field(default_factory=Symbol)
    more: int = 0

    @staticmethod
    def of(number: int) -> "Rank":
        """A known rank."""
        return Rank(Symbol(number))

    @property
    def known(self) -> int | None:
        """The rank, if it has been found."""
        return None if self.symbol.number is None else self.symbol.number + self.more

    def require(self, number: int) -> None:
        """The rank is this number; raises Unknown where it is known to be another."""
        if self.known not in (None, number):
            raise Unknown(f"was given {self.known} axes where {number} were expected")
        self.symbol.number = number - self.more

    def plus(self, count: int) -> "Rank":
        """The rank with so many axes more."""
        return Rank(self.symbol, self.more + count)


@dataclass(frozen=True)
class Value:
    """An intermediate tensor.

    axis: of the channels, counted from the end; None where it is not known, which is so of inputs
        and of what unknown calls return: their signals are stopped.
    maker: the layer, with a weight and maybe a bias, whose output this is, unchanged and read by
        one call.
    logits_of: the same of the layer whose log_softmax this is.
    """

    signal: int
    axis: int | None
    rank: Rank
    order: Order = Order.PLAIN
    maker: Any = None
    logits_of: Any = None


@dataclass(frozen=True)
class Pair:
    """Two results of one call."""

    first: Value
    second: Value


@dataclass(frozen=True)
class Shape:
    """The shape of a tensor."""


@dataclass(frozen=True)
class Extent:
    """One number out of a shape; batch: the first."""

    batch: bool
