"""The channel groups of a chain: layers one after another, each reading what the one before made.

Between two layers: BatchNorm, activations, pooling, dropout and, where a Linear reads what a
convolution made, a Flatten, after which channel c has the H·W features from c·H·W on.
"""

from itertools import pairwise

from torch import fx, nn

from igsref.transforms.graph.groups import ChannelGroup, Place
from igsref.transforms.graph.tracing import calls, trace
from igsref.transforms.surgery.channel_flow import LAYERS, NORMS

_CONVOLUTIONS = LAYERS[1:]


def chain_groups(model: nn.Module) -> tuple[ChannelGroup, ...]:
    """One group for each layer but the last, in order.

    Raises ValueError for a model that is no chain of modules, each called once.

    >>> groups = chain_groups(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
    >>> [place.tensor for place in groups[0].places]
    ['0.weight', '0.bias', '2.weight']
    """
    graph, root = trace(model)
    nodes = [node for node in calls(graph) if node.op not in ("placeholder", "output")]
    _check_chain(nodes)
    modules = [(str(node.target), root.get_submodule(str(node.target))) for node in nodes]
    layers = [i for i, (_, module) in enumerate(modules) if isinstance(module, LAYERS)]
    groups = (_group(modules[start : end + 1]) for start, end in pairwise(layers))
    return tuple(group for group in groups if group is not None)


def _check_chain(nodes: list[fx.Node]) -> None:
    targets = [node.target for node in nodes]
    for node in nodes:
        branches = len(node.users) > 1 or len(node.all_input_nodes) != 1
        if node.op != "call_module" or branches or targets.count(node.target) > 1:
            raise ValueError(
                f"model must be a chain of modules, each called once; {node.name!r} is none, or "
                "one called again or read twice"
            )


def _group(stretch: list[tuple[str, nn.Module]]) -> ChannelGroup | None:
    """The channels from a layer to the next; None where they do not lie as they are expected to."""
    (maker, layer), *between, (reader, following) = stretch
    if not isinstance(layer, LAYERS) or not isinstance(following, LAYERS):
        return None
    size, each = layer.weight.shape[0], following.weight.shape[1] / layer.weight.shape[0]
    flattened = any(isinstance(module, nn.Flatten) for _, module in between)
    blocks = isinstance(layer, _CONVOLUTIONS) and isinstance(following, nn.Linear)
    if each % 1 or flattened != blocks or (each != 1 and not blocks):
        return None
    producers = [Place(f"{maker}.{name}", 0) for name, _ in layer.named_parameters()]
    followers = [
        Place(f"{norm}.{name}", 0)
        for norm, module in between
        if isinstance(module, NORMS)
        for name, _ in (*module.named_parameters(), *module.named_buffers())
        if name != "num_batches_tracked"
    ]
    consumer = Place(f"{reader}.weight", 1, inner=int(each))
    return ChannelGroup(size, tuple(producers), (consumer,), tuple(followers))
