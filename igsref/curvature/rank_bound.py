"""Proven upper bounds on the exact rank of F, which is that of D = KJ, from structure alone.

F = AᵀA/N and A = blockdiag(L_iᵀ) D with invertible L_i, so all three have one rank. It is at most

    rows               N·R, the rows of D;
    distinct inputs    R for each of them: J_i is a function of x_i, and whichever class K_i
                       takes for its reference, the rows of K_i J_i span the same space;
    parameters         m, the columns of D;
    symmetries         m − k, with k independent directions in which no output changes;
    inputs             the same, counting the first layer's weights on what the inputs span only.

**Symmetries** are counted, and proven, in :mod:`.symmetries`: of a perceptron one for each unit
between two layers with nothing but positively homogeneous activations between, and for the
categorical likelihood d_{L−1} + 1 of the logits; more where layers are normalised.

**Inputs.** Let a sequential network's first layer be linear, and X its inputs, with a column of
ones if θ holds a bias. With r distinct columns (multiples of the ones counting as one, zeros as
none), or r distinct rows, X = UV with r columns in U, and the network sees the layer's W, bias
included, in WVᵀ only. That is a network with inputs U, d₁·r parameters in the place of W, and a D
of no smaller rank; the bound m − k holds for it. Where rows may be added to all rows of W, k counts
r of them. Where the bias may be shifted, so may WVᵀ, so that no entry of it may tie channels.
"""

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from igsref.curvature.symmetries import (
    count_symmetries,
    counted_shifts,
    is_traced_whole,
    network_graph,
)
from igsref.data import bitwise_rows
from igsref.graph import ChannelGraph
from igsref.layers import Layer
from igsref.likelihoods import Bernoulli, Categorical, Gaussian
from igsref.problem import Problem

# Types are compared exactly: a subclass may compute something else. Dropout is the identity in
# evaluation mode, or with p = 0: a problem has no other.
_IDENTITIES = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


@dataclass(frozen=True)
class RankBound:
    """A proven upper bound on the exact rank of F.

    source: where it comes from, in words for a report.
    """

    value: int
    source: str


def rank_bound(problem: Problem) -> RankBound:
    """The smallest bound on rank F that applies, and of equal ones the plainest.

    Of a model that torch.fx cannot trace only the first three are known, and the last of
    ``nn.Sequential`` alone.

    >>> import torch
    >>> from igsref import as_problem
    >>> model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> data = (torch.arange(60.0).view(30, 2) / 60, torch.zeros(30).long())
    >>> rank_bound(as_problem(model, data))  # 33 parameters, 5 units, 5 + 1 shifts
    RankBound(value=22, source='symmetries of the network')
    """
    inputs = problem.samples.named_inputs().values()
    bounds = [
        RankBound(problem.num_rows, "rows"),
        RankBound(_distinct(*inputs) * _height(problem), "distinct inputs"),
        RankBound(problem.num_parameters, "parameters"),
    ]
    graph = network_graph(problem)
    if graph is not None:
        structural = _structural_bounds(problem, graph)
        needed = min(bound.value for bound in structural) < min(bound.value for bound in bounds)
        bounds += structural if needed and is_traced_whole(problem) else []
    if problem.known_rank is not None:
        bounds.append(RankBound(problem.known_rank, "rank_bound"))
    return min(bounds, key=lambda bound: bound.value)


def _distinct(*values: Shaped[Tensor, "rows *_"]) -> int:
    """How many rows of all of these together differ in a bit."""
    return len(set(bitwise_rows(values)))


def _height(problem: Problem) -> int:
    """The most that all samples of one input add to the rank.

    R where K_i spans the same space at any logits. Of other likelihoods that is not known, and
    the logits of one input may differ by rounding: there C, the rows of J_i.
    """
    known = type(problem.likelihood) in (Bernoulli, Categorical, Gaussian)
    return problem.rows_per_sample if known else problem.num_classes


def _structural_bounds(problem: Problem, graph: ChannelGraph) -> list[RankBound]:
    """m − k, and less where the inputs of the first layer are known to span less than all."""
    symmetries = problem.num_parameters - count_symmetries(problem, graph)
    bounds = [RankBound(symmetries, "symmetries of the network")]
    first, inputs = _first_layer(problem)
    theta = problem.function.parameters
    if first is None or first.weight not in theta or theta[first.weight].numel() == 0:
        return bounds
    if _uses(problem, first.weight) > 1:
        return bounds
    shifted = {shift.tensor for shift in counted_shifts(problem, graph)}
    moved = {first.weight} if first.bias in shifted else set()
    bound = problem.num_parameters - count_symmetries(problem, graph, also_moved=moved)
    width, fan_in = theta[first.weight].shape
    bias = _has_own_bias(problem, first, width)
    unseen = fan_in + bias - _spanned(inputs, bias)
    # A row added to all rows has been counted among the symmetries.
    rows = width - (first.weight in shifted)
    return [*bounds, RankBound(bound - rows * unseen, "symmetries and inputs of the network")]


def _uses(problem: Problem, name: str | None) -> int:
    """In how many places of a sequential network a tensor is used."""
    layers = problem.function.layers or ()
    held = [(each.weight, each.bias, each.mean, each.variance) for each in layers]
    return sum(names.count(name) for names in held)


def _has_own_bias(problem: Problem, layer: Layer, width: int) -> bool:
    """Whether θ holds a bias with an entry for each unit, which is added here and nowhere else."""
    bias = problem.function.parameters.get(layer.bias or "")
    return bias is not None and bias.shape == (width,) and _uses(problem, layer.bias) == 1


def _input(problem: Problem) -> Tensor:
    """The input of a sequential network, which has one."""
    return next(iter(problem.samples.named_inputs().values()))


def _first_layer(problem: Problem) -> tuple[Layer | None, Tensor]:
    """The linear layer that a sequential network's inputs, or a new shape of them, meet first."""
    inputs = _input(problem)
    for layer in problem.function.layers or ():
        if type(layer.module) is nn.Flatten:
            inputs = inputs.flatten(layer.module.start_dim, layer.module.end_dim)
        elif type(layer.module) not in _IDENTITIES:
            return layer if type(layer.module) is nn.Linear else None, inputs
    return None, inputs


def _spanned(inputs: Float[Tensor, "*_ features"], bias: bool) -> int:
    """A bound r ≥ 1 on the rank of the inputs, with a column of ones for a bias."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    constant = (rows == rows[:1]).all(dim=0)
    ones = bias or bool(rows[0, constant].any())
    columns = _distinct(rows[:, ~constant].mT) + ones
    return max(1, min(columns, _distinct(rows)))
