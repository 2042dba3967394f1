"""Directions in parameter space along which the loss of a network is known to stand still.

At a minimum the Hessian has them in its null space, so that it has no inverse there:

    softmax shift   one number added to all biases of the last linear layer, or one vector to all
                    rows of its weights, changes no class difference;
    unit scaling    a ReLU unit's weights and bias times s, the weights on it divided by s.

The first is straight, and H n = 0 everywhere. The second is curved: H n = −(∂n/∂θ)ᵀ ∂L/∂θ, which
is 0 where the gradient is. Shifts are known of what torch.fx traces, scalings of sequences of
linear layers; what they do to the rank of F is proven in :mod:`.symmetries`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from igsref.curvature.symmetries import shifts_of_the_logits
from igsref.flat import flatten, ranges
from igsref.graph import Shift
from igsref.layers import Layer
from igsref.linalg.rounding import UNIT
from igsref.problem import Problem

_Named = Mapping[str | None, Tensor]
_IN_THE_NULL_SPACE = 1e-6
_BETWEEN = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout)


@dataclass(frozen=True, eq=False)
class NullDirections:
    """Directions of one kind: what they are, for a message, and vectors, (k, m)."""

    reason: str
    vectors: Float64[Tensor, "k params"]


def regular_spectrum(
    problem: Problem, matrix: Float64[Tensor, "params params"]
) -> tuple[Float64[Tensor, " params"], Float64[Tensor, "params params"], float]:
    """Eigenvalues and eigenvectors of H, and m·eps·‖H‖, below which an eigenvalue counts as 0."""
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    floor = len(matrix) * 2 * UNIT * float(eigenvalues.abs().max())
    null = eigenvalues.abs() <= floor
    if bool(null.any()):
        raise ValueError(
            f"the Hessian is singular: {int(null.sum())} of its {len(null)} eigenvalues are at or "
            f"below {floor:.2g}, m·eps·‖H‖, so that H⁻¹ does not exist. The directions are mostly "
            f"in {_places(problem, vectors[:, null])}; known reasons: "
            f"{_reasons(problem, vectors[:, null])}. igsref.fisher_tic needs no inverse"
        )
    return eigenvalues, vectors, floor


def _places(problem: Problem, null: Float64[Tensor, "params k"]) -> str:
    """The tensors that hold most of some directions."""
    energy = null.square().sum(dim=1)
    shares = {
        name: float(energy[place].sum()) / null.shape[1]
        for name, place in ranges(problem.function.parameters).items()
    }
    heaviest = sorted(shares, key=lambda name: -shares[name])[:3]
    return ", ".join(f"{name} ({100 * shares[name]:.0f}%)" for name in heaviest)


def _reasons(problem: Problem, null: Float64[Tensor, "params k"]) -> str:
    found = []
    for known in known_null_directions(problem):
        size = known.vectors.norm(dim=1, keepdim=True)
        unit = known.vectors[size[:, 0] > 0] / size[size > 0][:, None]
        outside = (unit - unit @ null @ null.mT).norm(dim=1)
        count = int((outside <= _IN_THE_NULL_SPACE).sum())
        if count:
            found.append(f"{known.reason} ({count})")
    silent = int((null.square().sum(dim=1) >= 1 - _IN_THE_NULL_SPACE).sum())
    if silent:
        found.append(f"parameters without any curvature, as of dead units ({silent})")
    return ", ".join(found) if found else "none"


def known_null_directions(problem: Problem) -> list[NullDirections]:
    """Those of each layer whose parameters are all in θ; none where the structure is not known.

    >>> from igsref import as_problem
    >>> data = (torch.zeros(1, 2), torch.zeros(1).long())
    >>> [known.reason for known in known_null_directions(as_problem(nn.Linear(2, 3), data))]
    ['softmax shift of weight', 'softmax shift of bias']
    """
    layers = [layer for layer in problem.function.layers or () if not _is_nothing(layer)]
    theta: _Named = dict(problem.function.parameters.items())
    found = _shifts(theta, shifts_of_the_logits(problem))
    found += _scalings(theta, layers)
    return [NullDirections(reason, torch.stack(vectors)) for reason, vectors in found]


def _is_nothing(layer: Layer) -> bool:
    return type(layer.module) in (nn.Identity, nn.Dropout)


def _shifts(theta: _Named, known: Sequence[Shift]) -> list[tuple[str, list[Tensor]]]:
    found = []
    for name in (shift.tensor for shift in known):
        if name in theta:
            columns = torch.eye(theta[name][0].numel(), dtype=torch.float64)
            shifts = [column.expand_as(theta[name].reshape(-1, len(columns))) for column in columns]
            vectors = [_vector(theta, {name: shift.reshape(theta[name].shape)}) for shift in shifts]
            found.append((f"softmax shift of {name}", vectors))
    return found


def _scalings(theta: _Named, layers: Sequence[Layer]) -> list[tuple[str, list[Tensor]]]:
    found = []
    linear = [i for i, layer in enumerate(layers) if type(layer.module) is nn.Linear]
    for i, j in pairwise(linear):
        layer, following, between = layers[i], layers[j], layers[i + 1 : j]
        homogeneous = all(type(other.module) in _BETWEEN for other in between)
        complete = layer.module.bias is None or layer.bias in theta
        if homogeneous and complete and {layer.weight, following.weight} <= set(theta):
            units = range(len(theta[layer.weight]))
            found.append(
                (
                    f"scaling of the units of {layer.weight}",
                    [_scaling(theta, layer, following, unit) for unit in units],
                )
            )
    return found


def _scaling(theta: _Named, layer: Layer, following: Layer, unit: int) -> Tensor:
    """Its weights and bias, and minus the weights on it."""
    parts = {}
    for name in (layer.weight, layer.bias):
        if name in theta:
            parts[name] = torch.zeros_like(theta[name])
            parts[name][unit] = theta[name][unit]
    parts[following.weight] = torch.zeros_like(theta[following.weight])
    parts[following.weight][:, unit] = -theta[following.weight][:, unit]
    return _vector(theta, parts)


def _vector(theta: _Named, parts: _Named) -> Tensor:
    zero = {str(name): torch.zeros_like(value) for name, value in theta.items()}
    return flatten({name: parts.get(name, value).to(value) for name, value in zero.items()})
