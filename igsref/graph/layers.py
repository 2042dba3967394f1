"""What torch's layers do to the channels: one function a layer, found by its exact type."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from igsref.graph.functions import flatten, log_softmax, pooled
from igsref.graph.ledger import Hold, Role, Stop
from igsref.graph.values import TRAINING, Order, Pair, Rank, Unknown, Value
from igsref.graph.walk import Walk

Layer = Callable[..., Any]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def linear(walk: Walk, layer: nn.Linear, input: Value) -> Value:
    """Reads the last axis; of flattened maps, several features a channel."""
    out = walk.ledger.signal(layer.out_features)
    size, features = walk.ledger.sizes[input.signal], layer.in_features
    if input.order is Order.PLAIN or not size or features % size:
        reads = Hold(Role.CONSUMER, walk.read(input, -1, features), 1)
    elif input.order is Order.BLOCKS:
        reads = Hold(Role.CONSUMER, input.signal, 1, inner=features // size)
    else:
        reads = Hold(Role.CONSUMER, input.signal, 1, outer=features // size)
    walk.use(layer.weight, Hold(Role.PRODUCER, out, 0), reads)
    walk.use(layer.bias, Hold(Role.PRODUCER, out, 0))
    _make_good(walk, input, reads.signal, layer.bias)
    return Value(out, -1, input.rank, maker=layer)


def _make_good(walk: Walk, input: Value, read: int, bias: Tensor | None) -> None:
    """A constant that the layer before adds to a channel arrives here as one, and so may leave."""
    if input.maker is not None and read == input.signal and bias is not None:
        walk.shift(read, input.maker.bias, walk.ledger.sizes[read] or 0, bias)


def convolution(walk: Walk, layer: Convolution, input: Value) -> Value:
    """Reads and makes channels before the spatial axes."""
    spatial = len(layer.kernel_size)
    input.rank.require(spatial + 2)
    source = walk.read(input, -spatial - 1, layer.in_channels)
    out = walk.ledger.signal(layer.out_channels)
    makes = Hold(Role.PRODUCER, out, 0)
    if layer.groups == 1:
        walk.use(layer.weight, makes, Hold(Role.CONSUMER, source, 1))
    elif layer.groups == layer.in_channels:
        _depthwise(walk, layer, source, makes)
    else:
        reason = f"{walk.label} has groups of several channels"
        walk.ledger.stop(Stop.PERMUTING, source, reason)
        walk.ledger.stop(Stop.PERMUTING, out, reason)
        walk.use(layer.weight, makes, Hold(Role.CONSUMER, source, 1, groups=layer.groups))
    walk.use(layer.bias, makes)
    # Zeros around the maps are no constant; all other paddings repeat what they find.
    padded = layer.padding_mode == "zeros" and layer.padding not in ("valid", (0,) * spatial)
    if not padded:
        _make_good(walk, input, source, layer.bias)
    return Value(out, -spatial - 1, Rank.of(spatial + 2), maker=layer)


def _depthwise(walk: Walk, layer: Convolution, source: int, makes: Hold) -> None:
    """Row c of the weight both reads channel c and makes channel c, or several for each read."""
    each = layer.out_channels // layer.in_channels
    walk.use(layer.weight, makes, Hold(Role.CONSUMER, source, 0, inner=each))
    if each == 1:
        walk.ledger.couple(source, makes.signal)
        return
    for signal in (source, makes.signal):
        reason = f"{walk.label} makes {each} channels of each that it reads"
        walk.ledger.stop(Stop.PERMUTING, signal, reason)


def batch_norm(walk: Walk, layer: BatchNorm, input: Value) -> Value:
    """γ(x − μ)/√(σ² + ε) + β with constants μ, σ²: an affine map of every channel.

    x·s is made good by μ·s and γ/s, and σ² stays, so that ε does not matter. Without γ the factor
    goes on to what is behind.
    """
    if layer.training or layer.running_mean is None:
        when = "" if layer.running_mean is None else f" {TRAINING}"
        raise Unknown(f"normalises by the statistics of the batch{when}")
    axis, source = _normalised(walk, layer, input)
    walk.demand(input.rank, range(1 - axis, 2 - axis), source)
    walk.use(layer.running_mean, Hold(Role.PRODUCER, source, 0))
    walk.use(layer.running_var, Hold(Role.FOLLOWER, source, 0))
    # Modules without an affine map hold None there, which torch's annotations leave out.
    gain: Tensor | None = layer.weight
    if gain is None:
        return Value(source, axis, input.rank)
    out = walk.ledger.signal(layer.num_features)
    makes = Hold(Role.PRODUCER, out, 0)
    walk.use(gain, makes, Hold(Role.CONSUMER, source, 0))
    walk.use(layer.bias, makes)
    walk.shift(source, layer.running_mean, layer.num_features, layer.bias)
    _make_good(walk, input, source, layer.bias)
    walk.demand(input.rank, range(1 - axis, 2 - axis), out)
    walk.ledger.couple(source, out)
    return Value(out, axis, input.rank, maker=layer)


def _normalised(walk: Walk, layer: BatchNorm, input: Value) -> tuple[int, int]:
    """The axis behind the batch's, counted from the end, and the signal there."""
    rank = {nn.BatchNorm1d: 3, nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}[type(layer)]
    if rank == 3:
        rank = 2 if input.axis == -1 or input.rank.known == 2 else 3
    else:
        input.rank.require(rank)
    return 1 - rank, walk.read(input, 1 - rank, layer.num_features)


def layer_norm(walk: Walk, layer: nn.LayerNorm, input: Value) -> Value:
    """Mixes the channels that it reads, and forgets their order; γ and β make new factors."""
    if len(layer.normalized_shape) != 1:
        raise Unknown("normalises over several axes")
    (size,) = layer.normalized_shape
    source = walk.read(input, -1, size)
    if isinstance(input.maker, nn.Linear) and source == input.signal:
        # Their mean is subtracted: the same number for all channels, whatever it depends on.
        walk.shift(source, input.maker.weight, input.maker.in_features)
        walk.shift(source, input.maker.bias, 1)
    out = _mixed(walk, source, layer, size)
    walk.ledger.couple(source, out)
    return Value(out, -1, input.rank, maker=layer)


def group_norm(walk: Walk, layer: nn.GroupNorm, input: Value) -> Value:
    """Mixes the channels of each group over all positions; γ and β make new factors."""
    if input.axis is None:
        raise Unknown("normalises groups of an axis that is not known")
    size = layer.num_channels
    source = walk.read(input, input.axis, size)
    walk.demand(input.rank, range(1 - input.axis, 2 - input.axis), source)
    if input.maker is not None and source == input.signal:
        # Constants only: what differs from position to position is no mean.
        walk.shift(source, input.maker.bias, layer.num_groups)
    out = _mixed(walk, source, layer, size)
    walk.demand(input.rank, range(1 - input.axis, 2 - input.axis), out)
    walk.ledger.couple(source, out)
    if 1 < layer.num_groups < size:
        walk.ledger.stop(Stop.PERMUTING, source, f"{walk.label} has groups of several channels")
    return Value(out, input.axis, input.rank, maker=layer)


def _mixed(walk: Walk, source: int, layer: nn.LayerNorm | nn.GroupNorm, size: int) -> int:
    """The channels behind a normalisation over those of each sample alone."""
    out = walk.ledger.signal(size)
    # Without γ, nothing makes the channels behind, so nothing can scale what they are added to.
    for signal in (source,) if layer.weight is not None else (source, out):
        walk.ledger.stop(Stop.SCALING, signal, walk.label)
        walk.ledger.stop(Stop.FLIPPING, signal, walk.label)
    for tensor in (layer.weight, layer.bias):
        walk.use(tensor, Hold(Role.PRODUCER, out, 0))
    return out


def embedding(walk: Walk, layer: nn.Embedding, input: Value) -> Value:
    """Makes channels on a new last axis; a norm that is enforced would undo what is changed."""
    if layer.max_norm is not None:
        raise Unknown("keeps the norms of its rows")
    walk.ledger.stop(Stop.ALL, input.signal, f"{walk.label} reads it as indices")
    out = walk.ledger.signal(layer.embedding_dim)
    walk.use(layer.weight, Hold(Role.PRODUCER, out, 1))
    return Value(out, -1, input.rank.plus(1))


def attention(
    walk: Walk,
    layer: nn.MultiheadAttention,
    query: Value,
    key: Value,
    value: Value,
    **settings: Any,
) -> Pair:
    """Reads channels by three matrices, packed or not, and makes new ones by ``out_proj``."""
    if any(getattr(setting, "axis", None) is not None for setting in settings.values()):
        raise Unknown("is given a mask made of channels")
    if layer.training and layer.dropout > 0:
        raise Unknown(f"drops entries at random {TRAINING}")
    weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    widths = (layer.embed_dim, layer.kdim, layer.vdim)
    for x, weight, width in zip((query, key, value), weights, widths, strict=True):
        # The packed matrix is used three times over, which ties what the three read.
        tensor = layer.in_proj_weight if weight is None else weight
        walk.use(tensor, Hold(Role.CONSUMER, walk.read(x, -1, width), 1))
    out = walk.ledger.signal(layer.embed_dim)
    walk.use(layer.out_proj.weight, Hold(Role.PRODUCER, out, 0))
    walk.use(layer.out_proj.bias, Hold(Role.PRODUCER, out, 0))
    result = Value(out, -1, query.rank)
    return Pair(result, Value(walk.stopped(f"weights of {walk.label}"), None, query.rank))


def log_softmax_layer(walk: Walk, layer: nn.LogSoftmax, input: Value) -> Value:
    """As ``torch.log_softmax`` does."""
    return log_softmax(walk, input, layer.dim)


def flattening(walk: Walk, layer: nn.Flatten, input: Value) -> Value:
    """As ``torch.flatten`` does."""
    return flatten(walk, input, layer.start_dim, layer.end_dim)


def identity(walk: Walk, layer: nn.Identity, input: Value) -> Value:
    """Nothing."""
    return input


def dropout(walk: Walk, layer: nn.modules.dropout._DropoutNd, input: Value) -> Value:
    """The identity in evaluation mode."""
    if layer.training and layer.p > 0:
        raise Unknown(f"drops entries at random {TRAINING}")
    return input


def pooling(spatial: int, *, odd: bool) -> Layer:
    """Pooling over so many last axes: positively homogeneous; means are odd, maxima are not."""

    def pool(walk: Walk, layer: nn.Module, input: Value) -> Value:
        if getattr(layer, "return_indices", False):
            raise Unknown("returns indices")
        return pooled(walk, input, spatial, odd=odd)

    return pool


def elementwise(*, homogeneous: bool, odd: bool) -> Layer:
    """A layer that acts on every entry alike."""

    def act(walk: Walk, layer: nn.Module, input: Value) -> Value:
        return walk.through(input, homogeneous=homogeneous, odd=odd)

    return act


def random_slopes(walk: Walk, layer: nn.RReLU, input: Value) -> Value:
    """A leaky ReLU in evaluation mode."""
    if layer.training:
        raise Unknown(f"draws its slopes at random {TRAINING}")
    return walk.through(input, homogeneous=True, odd=False)


LAYERS: dict[type[nn.Module], Layer] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
    nn.Embedding: embedding,
    nn.MultiheadAttention: attention,
    nn.Flatten: flattening,
    nn.LogSoftmax: log_softmax_layer,
    nn.Dropout: dropout,
    nn.Dropout1d: dropout,
    nn.Dropout2d: dropout,
    nn.Dropout3d: dropout,
    nn.AlphaDropout: dropout,
    nn.FeatureAlphaDropout: dropout,
    nn.Identity: identity,
    nn.MaxPool1d: pooling(1, odd=False),
    nn.MaxPool2d: pooling(2, odd=False),
    nn.MaxPool3d: pooling(3, odd=False),
    nn.AvgPool1d: pooling(1, odd=True),
    nn.AvgPool2d: pooling(2, odd=True),
    nn.AvgPool3d: pooling(3, odd=True),
    nn.AdaptiveMaxPool1d: pooling(1, odd=False),
    nn.AdaptiveMaxPool2d: pooling(2, odd=False),
    nn.AdaptiveMaxPool3d: pooling(3, odd=False),
    nn.AdaptiveAvgPool1d: pooling(1, odd=True),
    nn.AdaptiveAvgPool2d: pooling(2, odd=True),
    nn.AdaptiveAvgPool3d: pooling(3, odd=True),
    nn.RReLU: random_slopes,
    **dict.fromkeys((nn.ReLU, nn.LeakyReLU), elementwise(homogeneous=True, odd=False)),
    **dict.fromkeys(
        (nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink),
        elementwise(homogeneous=False, odd=True),
    ),
    **dict.fromkeys(
        (
            *(nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Hardtanh),
            *(nn.ELU, nn.CELU, nn.SELU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Threshold),
        ),
        elementwise(homogeneous=False, odd=False),
    ),
}
"""Layer type → what it does; of exactly this type, since a subclass may do anything."""
