"""Proven upper bounds on the exact rank of F, which is that of D = KJ, from structure alone.

F = AᵀA/N and A = blockdiag(L_iᵀ) D with invertible L_i, so all three have one rank. It is at most

    rows               N·R, the rows of D;
    distinct inputs    R for each of them: J_i is a function of x_i, and whichever class K_i
                       takes for its reference, the rows of K_i J_i span the same space;
    parameters         m, the columns of D;
    symmetries         m − k, with k independent directions in which the outputs stand still;
    inputs             the same, counting the first layer's weights on what the inputs span only.

**Symmetries** (of sequential networks). A unit of a linear layer, or a channel of a convolution,
is *free* if a second such layer follows and nothing lies between but positively homogeneous maps
of each unit on its own: scaling its weights and bias by s > 0 and the weights on it by 1/s
changes no output. For the categorical likelihood, adding one vector to all rows of the last
linear layer, or one number to all its biases, changes no class difference. So

    k = #free units + d_{L−1} + 1    (ReLU, categorical)        k = #free units    (ReLU, others)
    k = d_{L−1} + 1                  (tanh, categorical)        k = 0              (tanh, others)

of those directions whose parameters all lie in θ, each used once by the network.

*Proof, for every θ₀*, at kinks and with dead units too, whatever derivative autograd takes there.
Replace each layer but those linear ones and convolutions, for every sample, by its tangent at θ₀
(in its own parameters too). Neither outputs nor D change at θ₀, but now they are polynomials of θ.
The tangent S of a homogeneous map, σ(z₀) = S z₀, is linear and acts on each unit alone. So the new
network has all those symmetries, at every θ, and D(θ) times any of

    n_u = (weights and bias into unit u, −weights out of it),    1 ⊗ e_j in W_L,    1 in b_L

is 0. Where no weight is 0 these are independent. Let Σ_u c_u n_u + Σ_j t_j (1 ⊗ e_j) + t 1 = 0.
Its entry at a weight w into a free unit v, from unit u or from an input, is w (c_v − c_u), with
c_u = 0 for what is not free. No layer concerned is empty, so each free unit has such a weight, and
c = 0 by induction over the layers; then t_j = 0 and t = 0. Hence rank D(θ) ≤ m − k for almost all
θ: all minors of order m − k + 1, polynomials, vanish almost everywhere, so they vanish at θ₀.

**Inputs.** Let the first layer be linear, and X its inputs, with a column of ones if θ holds a
bias. With r distinct columns (multiples of the ones counting as one, zeros as none), or r distinct
rows, X = UV with r columns in U, and the network sees the layer's W, bias included, in WVᵀ only.
That is a network with inputs U, d₁·r parameters in the place of W, and a D of no smaller rank; the
bound m − k holds for it. Where its first layer is its last, k counts r shifts, one per column.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from igsref.data import bitwise_rows
from igsref.layers import Layer
from igsref.likelihoods import Bernoulli, Categorical, Gaussian
from igsref.problem import Problem

# Types are compared exactly: a subclass may compute something else.
_IDENTITIES = (
    nn.Identity,
    # In evaluation mode, or with p = 0: a problem has no other.
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_HOMOGENEOUS = (*_IDENTITIES, nn.ReLU, nn.LeakyReLU)
_SPATIAL: dict[type[nn.Module], int] = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
"""Layers that have units → how many axes stand behind that of the units."""
_POOLS: dict[type[nn.Module], int] = {
    **dict.fromkeys((nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d), 1),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d), 2),
    **dict.fromkeys((nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d), 3),
}
"""Pooling layers → over how many of the last axes."""
_KEEP_AXES = {
    f"torch.nn.modules.{name}"
    for name in ("activation", "batchnorm", "conv", "dropout", "linear", "normalization", "pooling")
}
"""Where the layers live that return as many axes as they are given."""


@dataclass(frozen=True)
class RankBound:
    """A proven upper bound on the exact rank of F.

    source: where it comes from, in words for a report.
    """

    value: int
    source: str


def rank_bound(problem: Problem) -> RankBound:
    """The smallest bound on rank F that applies, and of equal ones the plainest.

    Of a model that is no ``nn.Sequential`` only the first three are known.

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
    if problem.function.layers is not None:
        bounds += _structural_bounds(problem, problem.function.layers)
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


def _structural_bounds(problem: Problem, layers: Sequence[Layer]) -> list[RankBound]:
    """m − k, and less where the inputs of the first layer are known to span less than all."""
    own = _own_parameters(problem, layers)
    shifted = _shifted(problem, layers)
    bound = problem.num_parameters - _free_units(problem, layers, own)
    if shifted is not None:
        bound -= sum(own[name][0].numel() for name in (shifted.weight, shifted.bias) if name in own)
    bounds = [RankBound(bound, "symmetries of the network")]
    first, inputs = _first_layer(problem, layers)
    if first is not None and type(first.module) is nn.Linear and first.weight in own:
        bias = first.bias in own
        unseen = first.module.in_features + bias - _spanned(inputs, bias)
        # A shift of all rows along an unseen input has been counted among the symmetries.
        rows = first.module.out_features - (first is shifted)
        bounds.append(RankBound(bound - rows * unseen, "symmetries and inputs of the network"))
    return bounds


def _own_parameters(problem: Problem, layers: Sequence[Layer]) -> Mapping[str | None, Tensor]:
    """θ but for empty tensors and those that the network uses in more than one place."""
    uses = Counter(name for layer in layers for name in (layer.weight, layer.bias))
    theta = problem.function.parameters.items()
    return {name: value for name, value in theta if uses[name] == 1 and value.numel() > 0}


def _shifted(problem: Problem, layers: Sequence[Layer]) -> Layer | None:
    """The linear layer whose outputs are the logits, if only their differences count."""
    if type(problem.likelihood) is not Categorical:
        return None
    changing = [layer for layer in layers if type(layer.module) not in _IDENTITIES]
    return changing[-1] if changing and type(changing[-1].module) is nn.Linear else None


def _free_units(problem: Problem, layers: Sequence[Layer], own: Mapping[str | None, Tensor]) -> int:
    """Units that can be scaled by parameters of their own alone."""
    with_units = [i for i, layer in enumerate(layers) if type(layer.module) in _SPATIAL]
    return sum(
        own[layers[i].weight].shape[0]
        for i, j in pairwise(with_units)
        if _can_scale(own, layers[i], layers[j]) and _reaches(problem, layers, i, j)
    )


def _can_scale(own: Mapping[str | None, Tensor], layer: Layer, following: Layer) -> bool:
    # A module may hold a bias that is no parameter, and so has no name.
    bias = layer.module.bias is None or layer.bias in own
    return layer.weight in own and bias and following.weight in own


def _reaches(problem: Problem, layers: Sequence[Layer], i: int, j: int) -> bool:
    """Whether a unit of layer i, scaled, arrives at layer j as inputs of its own, so scaled.

    As a channel, or spread over the last axis: every entry there then belongs to one unit.
    """
    behind = _SPATIAL[type(layers[i].module)]
    for layer in layers[i + 1 : j]:
        if type(layer.module) is nn.Flatten:
            if not _flattens_units(problem, layers[:i], layer.module, behind):
                return False
            behind = 0
        elif type(layer.module) not in _HOMOGENEOUS and _POOLS.get(type(layer.module)) != behind:
            return False
    return behind == _SPATIAL[type(layers[j].module)]


def _flattens_units(
    problem: Problem, before: Sequence[Layer], flatten: nn.Flatten, behind: int
) -> bool:
    """Whether the units' axis is among those flattened into the last one.

    Behind the samples' axis, channels come first. But a convolution takes an input without that
    axis, too, and then flattening from axis 1 on would leave its channels alone.
    """
    if flatten.end_dim != -1:
        return False
    if behind == 0:
        return True
    kept = all(type(layer.module).__module__ in _KEEP_AXES for layer in before)
    return flatten.start_dim == 1 and kept and _input(problem).ndim == behind + 2


def _input(problem: Problem) -> Tensor:
    """The input of a sequential network, which has one."""
    return next(iter(problem.samples.named_inputs().values()))


def _first_layer(problem: Problem, layers: Sequence[Layer]) -> tuple[Layer | None, Tensor]:
    """The first layer that changes more than the shape of its inputs, and those."""
    inputs = _input(problem)
    for layer in layers:
        if type(layer.module) is nn.Flatten:
            inputs = inputs.flatten(layer.module.start_dim, layer.module.end_dim)
        elif type(layer.module) not in _IDENTITIES:
            return layer, inputs
    return None, inputs


def _spanned(inputs: Float[Tensor, "*_ features"], bias: bool) -> int:
    """A bound r ≥ 1 on the rank of the inputs, with a column of ones for a bias."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    constant = (rows == rows[:1]).all(dim=0)
    ones = bias or bool(rows[0, constant].any())
    columns = _distinct(rows[:, ~constant].mT) + ones
    return max(1, min(columns, _distinct(rows)))
