"""How many independent directions of θ change no output of a network, from its calls alone.

**Scalings.** A channel c of a group of :func:`igsref.graph.channel_graph` is made by some tensors
and read by others, with nothing between but linear and positively homogeneous maps. Scaling what
makes it by s > 0 and what reads it by 1/s changes no output. Its direction:

    n_c = (entries that make c, −entries that read c)

The mean of a BatchNorm makes channels too, and is no parameter; the norm's bias makes that good:
γ(x − μ)/σ + β stays if x is multiplied and γ divided by s, and β − γμ/σ is kept.

**Shifts.** A constant added to a bias, or one row to all rows of a weight, that the layer behind
takes away: BatchNorm and layers that read it have a bias of their own, LayerNorm and GroupNorm
subtract means, and the class probabilities see differences of the logits only.

*Proof that D n = 0 for every θ₀*, at kinks and with dead units too, whatever derivative autograd
takes there. Replace all maps but those that are linear in their input and their own tensors
(layers, γ and β of norms, projections of attention, sums, means) by their tangents at θ₀, for every
sample. Neither outputs nor D change at θ₀, but now they are polynomials of θ. The tangent S of a
homogeneous map, σ(z₀) = S z₀, is linear and acts on each channel alone. The tangent of a norm takes
no notice of what the norm takes none of. So the new network has all those symmetries, at every θ,
and D(θ) n(θ) = 0.

*Independence, for almost all θ.* Let Σ_c a_c n_c + Σ_s t_s n_s = 0. An entry of a tensor that no
shift and no bias of a BatchNorm's mean changes is w (a_c − a_c'), if it makes c and reads c', or
w a_c alone; where no weight is 0, channels that an entry ties have one a, and those that an entry
holds alone have a = 0. Let k₀ sets of tied channels be held by none: the a have at most k₀ degrees
of freedom. With a = 0 the shifts have t = 0: each adds to a tensor of its own, and in the order of
the calls the first with t ≠ 0 is not made good by any other there. So of n channels and k shifts

    n − k₀ + k    directions

are independent, and rank D(θ) ≤ m − (n − k₀ + k) for almost all θ. All minors of a higher order,
polynomials, vanish almost everywhere, so they vanish at θ₀.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.modules import module as modules

from igsref.graph import ChannelGraph, ChannelGroup, Place, Shift, channel_graph, replay
from igsref.likelihoods import Categorical
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

_SAMPLES = 8
_MOVED = 2.0**-5
"""Of a number's size and, of parameters, of 1: what a trace holds of them is another one then."""
_Edges = Int[np.ndarray, "_ 2"]


def network_graph(problem: Problem) -> ChannelGraph | None:
    """The channels of the network, where its calls are all that makes the logits; else None.

    None too for what torch.fx cannot trace, arguments that the trace would take at their defaults,
    and modules with hooks on their gradients.
    """
    model = problem.function.structure
    if model is None or _has_hooks_of_all_modules():
        return None
    axes = _axes(model, problem)
    if axes is None or any(_has_backward_hooks(module) for module in model.modules()):
        return None
    try:
        return channel_graph(model, axes)
    except ValueError:
        return None


def _has_backward_hooks(module: nn.Module) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks)


def _has_hooks_of_all_modules() -> bool:
    hooks = (
        modules._global_forward_hooks,
        modules._global_forward_pre_hooks,
        modules._global_backward_hooks,
        modules._global_backward_pre_hooks,
    )
    return any(hooks)


def is_traced_whole(problem: Problem) -> bool:
    """Whether the trace gives some samples' logits, at parameters that it was not traced with.

    To be asked where much rests on the graph, of a problem that has one: it takes two evaluations.
    """
    function = problem.function
    assert function.structure is not None  # whose graph it is
    generator = torch.Generator().manual_seed(0)

    def moved(value: Tensor, most: Tensor) -> Tensor:
        return value + most * (2 * torch.rand(value.shape, generator=generator) - 1).to(value)

    # Parameters that are 0 as well, as a new layer's may be; variances stay positive.
    values = {
        **{name: moved(v, _MOVED * v.abs()) for name, v in function.constants.items()},
        **{name: moved(v, _MOVED * (v.abs() + 1)) for name, v in function.parameters.items()},
    }
    args, kwargs = problem.samples.inputs(slice(0, _SAMPLES))
    with torch.no_grad(), preserved_random_state():
        logits = function.evaluate(values, args, kwargs)
        found = replay(function.structure, values, args, kwargs)
    if not isinstance(found, Tensor) or found.shape != logits.shape:
        return False
    # The same calls, whose rounding is the same or nearly so; another function is seen.
    allowed = torch.finfo(logits.dtype).eps ** 0.5 * max(1.0, float(logits.abs().max()))
    return float((found - logits).abs().max()) <= allowed


def _axes(model: nn.Module, problem: Problem) -> dict[str, int] | None:
    """The number of axes of each input by the name of its argument; None if others are at work."""
    signature = inspect.signature(model.forward)
    samples = problem.samples
    try:
        bound = signature.bind(*samples.args, **samples.kwargs).arguments
    except TypeError:
        return None
    needed = {name for name, p in signature.parameters.items() if p.default is p.empty}
    if set(bound) != needed or not all(isinstance(value, Tensor) for value in bound.values()):
        return None
    return {name: value.ndim for name, value in bound.items()}


def count_symmetries(
    problem: Problem, graph: ChannelGraph, *, also_moved: Collection[str] = ()
) -> int:
    """n − k₀ + k of those directions whose tensors all lie in θ.

    also_moved: tensors of which the proof may use no entry, since shifts change them.
    """
    theta = _differentiated(problem)
    shifts = counted_shifts(problem, graph)
    good = {s.tensor: s.counterpart for s in graph.shifts}
    means = {name: bias for name, bias in good.items() if bias is not None and bias in theta}
    free = [group for group in graph.scalable if _is_free(group, theta, means)]
    moved = {name for shift in shifts for name in shift.tensors} | set(also_moved)
    moved |= {means[p.tensor] for group in free for p in group.producers if p.tensor not in theta}
    edges = _ties(free, set(theta) - moved)
    return _held(edges, sum(group.size for group in free)) + sum(shift.count for shift in shifts)


def counted_shifts(problem: Problem, graph: ChannelGraph) -> list[Shift]:
    """Those whose tensors lie in θ, with those of the logits."""
    theta = _differentiated(problem)
    found = [*graph.shifts, *_shifts_of_the_logits(problem, graph)]
    return [shift for shift in found if theta.keys() >= set(shift.tensors)]


def shifts_of_the_logits(problem: Problem) -> list[Shift]:
    """Of the last layer, where the network is known and its probabilities see differences only."""
    graph = network_graph(problem)
    return [] if graph is None else _shifts_of_the_logits(problem, graph)


def _shifts_of_the_logits(problem: Problem, graph: ChannelGraph) -> list[Shift]:
    if graph.head is None or type(problem.likelihood) is not Categorical:
        return []
    assert problem.function.structure is not None  # whose graph it is
    layer: Any = problem.function.structure.get_submodule(graph.head)
    first = {id(value): name for name, value in problem.function.structure.named_parameters()}
    counts = ((layer.weight, layer.in_features), (layer.bias, 1))
    return [Shift(first[id(value)], count) for value, count in counts if id(value) in first]


def _differentiated(problem: Problem) -> Mapping[str, Tensor]:
    """θ but for empty tensors and tables of which autograd leaves rows out, or weighs them."""
    function = problem.function
    assert function.structure is not None  # whose graph it is
    tables = {
        id(module.weight)
        for module in function.structure.modules()
        if isinstance(module, nn.Embedding)
        and (module.padding_idx is not None or module.scale_grad_by_freq)
    }
    named = function.structure.named_parameters()
    left_out = {name for name, value in named if id(value) in tables}
    theta = function.parameters.items()
    return {name: value for name, value in theta if value.numel() > 0 and name not in left_out}


def _is_free(group: ChannelGroup, theta: Mapping[str, Tensor], means: Mapping[str, str]) -> bool:
    """Whether its channels can be scaled by θ alone, the means made good by biases."""
    makes = all(place.tensor in theta or place.tensor in means for place in group.producers)
    return group.size > 0 and makes and all(p.tensor in theta for p in group.consumers)


def _ties(groups: Sequence[ChannelGroup], tensors: Collection[str]) -> list[_Edges]:
    """Pairs of channels that an entry of these tensors ties, and of channels and nothing, at n."""
    starts = list(accumulate((group.size for group in groups), initial=0))
    places: dict[str, list[tuple[int, Place, Int[np.ndarray, " length"]]]] = {}
    for group, start in zip(groups, starts, strict=False):
        for sign, some in ((1, group.producers), (-1, group.consumers)):
            for place in some:
                own = np.tile(np.repeat(np.arange(group.size), place.inner), place.outer)
                places.setdefault(place.tensor, []).append((sign, place, start + own))
    edges = []
    for tensor in places.keys() & set(tensors):
        match places[tensor]:
            case [(_, _, own)]:
                edges.append(_pairs(own, np.array(starts[-1])))
            case [(1, one, made), (-1, other, read)] | [(-1, other, read), (1, one, made)]:
                if one.axis == other.axis:
                    edges.append(_pairs(made, read))
                    continue
                blocks = (np.split(own, other.groups) for own in (made, read))
                for rows, columns in zip(*blocks, strict=True):  # an entry for every pair
                    edges += [_pairs(rows, columns[:1]), _pairs(rows[:1], columns)]
            # More ties would only raise the count: of other tensors none is used.
    return edges


def _pairs(one: Int[np.ndarray, "..."], other: Int[np.ndarray, "..."]) -> _Edges:
    return np.stack(np.broadcast_arrays(one, other), axis=-1).reshape(-1, 2)


def _held(edges: Sequence[_Edges], channels: int) -> int:
    """n − k₀: the channels less the sets of tied ones that nothing holds."""
    if not channels:
        return 0
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *edges])
    size = (channels + 1, channels + 1)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=size)
    sets = int(connected_components(graph, directed=False, return_labels=False))
    return channels - (sets - 1)
