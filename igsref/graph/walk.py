"""The state of the pass over a network's calls, and the steps that several calls have in common."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from igsref.graph.groups import Shift
from igsref.graph.ledger import Hold, Ledger, Stop
from igsref.graph.values import Order, Pair, Rank, Unknown, Value


@dataclass
class Walk:
    """The ledger, the names of tensors and modules by identity, and the call being looked at.

    demands: ranks that must lie in a range for what was said of a signal to be true.
    """

    tensors: dict[int, str]
    modules: dict[int, str]
    ledger: Ledger = field(default_factory=Ledger)
    label: str = ""
    demands: list[tuple[Rank, range, int, str]] = field(default_factory=list)

    def stopped(self, reason: str, size: int | None = None) -> int:
        """A new signal that must stay as it is."""
        signal = self.ledger.signal(size)
        self.ledger.stop(Stop.ALL, signal, reason)
        return signal

    def opaque(self, inputs: Iterable[Any], reason: str) -> Value:
        """The result of a call of which nothing is known; its inputs stay as they are."""
        for entry in inputs:
            for value in (entry.first, entry.second) if isinstance(entry, Pair) else (entry,):
                if isinstance(value, Value):
                    self.ledger.stop(Stop.ALL, value.signal, reason)
        return Value(self.stopped(reason), None, Rank())

    def through(self, x: Value, *, homogeneous: bool, odd: bool) -> Value:
        """The result of a function that acts on every entry, or on every channel, alike."""
        if not homogeneous:
            self.ledger.stop(Stop.SCALING, x.signal, self.label)
        if not odd:
            self.ledger.stop(Stop.FLIPPING, x.signal, self.label)
        return replace(x, maker=None, logits_of=None)

    def read(self, x: Value, axis: int, size: int) -> int:
        """The signal that a layer reads along an axis; one that is stopped if it is no channels."""
        if x.axis == axis and x.order is Order.PLAIN and self.ledger.sizes[x.signal] == size:
            return x.signal
        if x.axis is None:
            return self.stopped(self.ledger.reason(x.signal), size)
        reason = f"{self.label} reads another axis than that of the channels"
        self.ledger.stop(Stop.ALL, x.signal, reason)
        return self.stopped(reason, size)

    def demand(self, rank: Rank, allowed: range, signal: int) -> None:
        """Stop the signal unless the rank is found, by the end, to lie in the range."""
        reason = f"{self.label} may act on the channels: the number of axes there is not known"
        self.demands.append((rank, allowed, signal, reason))

    def use(self, tensor: Tensor | None, *holds: Hold) -> None:
        """Note one use of a layer's tensor; None is a layer without it.

        Sizes come from a layer's attributes. A tensor of another shape, as after pruning or for
        broadcasting, stays as it is. Raises Unknown for what is no parameter or buffer.
        """
        if tensor is None:
            return
        name = self._name(tensor)
        self.ledger.use(name, *holds)
        if any(self._length(hold) != _axis_length(tensor, hold.axis) for hold in holds):
            self.ledger.fix(name, f"{name} has another shape than {self.label} says")

    def _name(self, tensor: Tensor) -> str:
        if id(tensor) not in self.tensors:
            raise Unknown("has a tensor that is no parameter or buffer of the model")
        return self.tensors[id(tensor)]

    def _length(self, hold: Hold) -> int | None:
        size = self.ledger.sizes[hold.signal]
        return None if size is None else hold.outer * size * hold.inner // hold.groups

    def shift(
        self, signal: int, tensor: Tensor | None, count: int, counterpart: Tensor | None = None
    ) -> None:
        """Note constants on a signal that are taken away, or that the counterpart makes good."""
        if tensor is not None:
            name = None if counterpart is None else self._name(counterpart)
            self.ledger.shifts.append((signal, Shift(self._name(tensor), count, name)))

    def fix(self, module: nn.Module, reason: str) -> None:
        """All tensors of a module stay as they are."""
        for tensor in (*module.parameters(), *module.buffers()):
            self.ledger.fix(self.tensors[id(tensor)], reason)


def _axis_length(tensor: Tensor, axis: int) -> int:
    return tensor.shape[axis] if axis < tensor.ndim else 0


def as_value(x: Any) -> Value:
    """The argument as an intermediate tensor; Unknown where it is none."""
    if not isinstance(x, Value):
        raise Unknown
    return x
