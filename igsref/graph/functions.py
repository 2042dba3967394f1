"""What functions and methods of tensors do to the channels: one function each.

Their own arguments stand in the signatures here; a call with others is unknown.
"""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from igsref.graph.ledger import Stop
from igsref.graph.values import Extent, Order, Pair, Rank, Shape, Unknown, Value
from igsref.graph.walk import Walk, as_value

Call = Callable[..., Any]


def flatten(walk: Walk, input: Value, start_dim: Any = 0, end_dim: Any = -1) -> Value:
    """All axes behind the first become one; channel c then has a block of features, or tiles."""
    x, rank = input, input.rank.known
    if start_dim != 1 or end_dim not in (-1, None if rank is None else rank - 1):
        raise Unknown("flattens other axes than all behind the first")
    if x.order is not Order.PLAIN or x.axis is None or (x.axis == -1 and rank == 2):
        return replace(x, rank=Rank.of(2))
    if x.axis == -1:
        return replace(x, rank=Rank.of(2), order=Order.TILES, maker=None, logits_of=None)
    if rank is None or x.axis != 1 - rank:
        raise Unknown("flattens axes on both sides of the channels")
    return Value(x.signal, -1, Rank.of(2), Order.BLOCKS)


def view(walk: Walk, input: Value, *shape: Any) -> Value:
    """``x.view(x.size(0), -1)`` flattens; any other shape is unknown."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if len(sizes) != 2 or sizes[0] != Extent(batch=True) or sizes[1] != -1:
        raise Unknown("has another shape than (x.size(0), -1)")
    return flatten(walk, input, 1)


def mean(walk: Walk, input: Value, dim: Any = None, keepdim: Any = False) -> Value:
    """The mean or sum over axes that are neither the batch's nor the channels'."""
    x, rank = input, input.rank.known
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    if x.axis is None or not all(isinstance(entry, int) for entry in dims):
        raise Unknown("does not say which axes it is taken over")
    if x.order is not Order.PLAIN:
        raise Unknown("is taken over flattened channels")
    places = [entry if entry < 0 or rank is None else entry - rank for entry in dims]
    if any(place == x.axis or place == 0 or place == -(rank or 0) for place in places):
        raise Unknown("is taken over the samples or the channels")
    if any(place > 0 for place in places):
        if x.axis != -1:
            raise Unknown(
                "is taken over axes counted from the first, of a number that is not known"
            )
        walk.demand(x.rank, range(max(places) + 2, 64), x.signal)
    if keepdim:
        return replace(x, maker=None, logits_of=None)
    behind = sum(x.axis < place < 0 for place in places)
    return Value(x.signal, x.axis + behind, x.rank.plus(-len(places)))


def pooled(walk: Walk, x: Value, spatial: int, *, odd: bool) -> Value:
    """The result of pooling over so many last axes, if the channels are not on one of them."""
    if x.axis is not None and (x.axis >= -spatial or x.order is not Order.PLAIN):
        raise Unknown("pools over the channels")
    return walk.through(x, homogeneous=True, odd=odd)


def pooling(spatial: int, *, odd: bool) -> Call:
    """Pooling as a function; its further arguments say how, not over what."""

    def pool(walk: Walk, input: Value, *rest: Any, **settings: Any) -> Value:
        if settings.get("return_indices") or rest[5:]:
            raise Unknown("may return indices")
        return pooled(walk, input, spatial, odd=odd)

    return pool


def log_softmax(
    walk: Walk, input: Value, dim: Any = None, _stacklevel: Any = None, dtype: Any = None
) -> Value:
    """Logits that give the same probabilities: a number added to all of them has no effect."""
    x, rank = input, input.rank.known
    last = dim == -1 or (rank is not None and dim == rank - 1)
    if x.axis != -1 or x.order is not Order.PLAIN or not last or dtype is not None:
        raise Unknown("is not known to be taken over the channels")
    walk.ledger.stop(Stop.PERMUTING, x.signal, f"{walk.label} mixes the channels")
    return replace(walk.through(x, homogeneous=False, odd=False), logits_of=x.maker)


def elementwise(*, homogeneous: bool, odd: bool) -> Call:
    """A function of every entry alike; its further arguments are numbers."""

    def act(walk: Walk, input: Value, *rest: Any, **settings: Any) -> Value:
        if any(isinstance(entry, Value | Pair) for entry in (*rest, *settings.values())):
            raise Unknown("has an argument that is computed")
        return walk.through(input, homogeneous=homogeneous, odd=odd)

    return act


def dropout(
    walk: Walk, input: Value, p: Any = 0.5, training: Any = True, inplace: Any = False
) -> Value:
    """The identity where it is told not to train."""
    if training is not False and p != 0:
        raise Unknown("drops entries at random")
    return input


def add(walk: Walk, input: Any, other: Any, *, alpha: Any = 1) -> Value:
    """A sum or difference: both summands' channels are shared; a number shifts them."""
    values = [entry for entry in (input, other) if isinstance(entry, Value)]
    numbers = [entry for entry in (input, other, alpha) if isinstance(entry, int | float)]
    if not values or len(values) + len(numbers) != 3:
        raise Unknown("adds what is no number and no result of a layer")
    if len(values) == 1:
        return walk.through(values[0], homogeneous=False, odd=False)
    x, y = values
    sizes = walk.ledger.sizes
    if (x.axis, x.order, sizes[x.signal]) != (y.axis, y.order, sizes[y.signal]):
        return _misaligned(walk, x, y)
    walk.ledger.tie(x.signal, y.signal)
    return Value(x.signal, x.axis, _broadcast(x.rank, y.rank), x.order)


def _misaligned(walk: Walk, x: Value, y: Value) -> Value:
    """Channels added to other axes than channels, or to what must stay."""
    reason = f"{walk.label} adds channels to what must stay or has other channels"
    return walk.opaque((x, y), reason)


def _broadcast(one: Rank, other: Rank) -> Rank:
    if one.symbol is other.symbol:
        return max(one, other, key=lambda rank: rank.more)
    if one.known is not None and other.known is not None:
        return max(one, other, key=lambda rank: rank.known or 0)
    return Rank()


def multiply(walk: Walk, input: Any, other: Any) -> Value:
    """A product with a number."""
    x, factor = (other, input) if isinstance(other, Value) else (input, other)
    if not isinstance(factor, int | float | Extent):
        raise Unknown("multiplies two results")
    return walk.through(as_value(x), homogeneous=True, odd=True)


def divide(walk: Walk, input: Value, other: Any) -> Value:
    """A quotient by a number."""
    if not isinstance(other, int | float | Extent):
        raise Unknown("divides by a result")
    return walk.through(input, homogeneous=True, odd=True)


def size(walk: Walk, input: Value, dim: Any = None) -> Shape | Extent:
    """The shape, or one number of it: no change of the channels changes it."""
    return Shape() if dim is None else Extent(batch=dim == 0)


def attribute(walk: Walk, input: Value, name: str) -> Shape:
    """``x.shape``."""
    if name != "shape":
        raise Unknown
    return Shape()


def item(walk: Walk, input: Any, index: Any) -> Value | Extent:
    """One number of a shape; one result of attention."""
    if isinstance(input, Pair) and index in (0, 1):
        return input.second if index else input.first
    if not isinstance(input, Shape) or not isinstance(index, int):
        raise Unknown("takes a part of the channels' tensor")
    return Extent(batch=index == 0)


_NAMED: dict[str, Call] = {
    "flatten": flatten,
    "reshape": view,
    "mean": mean,
    "sum": mean,
    "dropout": dropout,
    "log_softmax": log_softmax,
    "max_pool1d": pooling(1, odd=False),
    "max_pool2d": pooling(2, odd=False),
    "avg_pool1d": pooling(1, odd=True),
    "avg_pool2d": pooling(2, odd=True),
    "adaptive_max_pool1d": pooling(1, odd=False),
    "adaptive_max_pool2d": pooling(2, odd=False),
    "adaptive_avg_pool1d": pooling(1, odd=True),
    "adaptive_avg_pool2d": pooling(2, odd=True),
    "add": add,
    "sub": add,
    "mul": multiply,
    "div": divide,
    **dict.fromkeys(
        ("relu", "relu_", "leaky_relu", "leaky_relu_", "abs"),
        elementwise(homogeneous=True, odd=False),
    ),
    **dict.fromkeys(
        ("tanh", "tanh_", "sin", "asinh", "atan", "softsign", "tanhshrink"),
        elementwise(homogeneous=False, odd=True),
    ),
    **dict.fromkeys(("neg", "clone", "contiguous"), elementwise(homogeneous=True, odd=True)),
    **dict.fromkeys(
        (
            *("gelu", "silu", "mish", "sigmoid", "logsigmoid", "softplus", "hardtanh", "relu6"),
            *("elu", "celu", "selu", "hardswish", "hardsigmoid", "exp", "cos", "square"),
        ),
        elementwise(homogeneous=False, odd=False),
    ),
}
"""Name in torch, torch.nn.functional or Tensor → what it does."""

FUNCTIONS: dict[Any, Call] = {
    operator.add: add,
    operator.iadd: add,
    operator.sub: add,
    operator.isub: add,
    operator.mul: multiply,
    operator.imul: multiply,
    operator.truediv: divide,
    operator.itruediv: divide,
    operator.neg: _NAMED["neg"],
    operator.getitem: item,
    getattr: attribute,
    **{
        getattr(module, name): call
        for module in (torch, functional)
        for name, call in _NAMED.items()
        if hasattr(module, name)
    },
}
"""Function → what it does."""

METHODS: dict[str, Call] = {
    **{name: call for name, call in _NAMED.items() if hasattr(torch.Tensor, name)},
    "add_": add,
    "sub_": add,
    "mul_": multiply,
    "div_": divide,
    "view": view,
    "size": size,
}
"""Method of a tensor → what it does."""
