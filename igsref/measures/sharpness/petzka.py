"""Relative flatness of Petzka, Kamp, Adilova, Sminchisescu, Boley (NeurIPS 2021), of one layer.

With w_s the rows of the layer's weight W, and H_ss' the block of the Hessian that belongs to w_s
and w_s', of the loss of the labelled samples:

    κ_Tr = Σ_{s,s'} ⟨w_s, w_s'⟩ Tr H_ss',        κ_max = Σ_s ‖w_s‖² λ_max(H_ss).

Scaling the layer by a factor, which another layer undoes, changes neither. Scaling a unit of the
layer before changes a column of W, and both. Hence the standardised versions: the features φ that
the layer is given are divided by their standard deviations over the data, and the columns of W
multiplied by them, W' = W diag(σ), which keeps the function; then κ is that of W'. The Hessian by
W' is H_{sj,s'k}/(σ_j σ_k): no other layer has to be touched, and the activation before need not
let a factor through.

For a last layer and the cross-entropy, κ_Tr = (1/N) Σ_i ‖φ_i‖² Tr(W Wᵀ Λ_i).
"""

from typing import Any, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from igsref.curvature.hessian import hessian_block
from igsref.flat import ranges
from igsref.jacobian.rows import jacobian_rows
from igsref.layers import Layer
from igsref.measures.measurement import Measure, Measurement
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.randomness import preserved_random_state

_NOISE = 2.0**-46
"""A σ up to this share of the largest feature, 64 eps, may be nothing but rounding."""


def relative_flatness(
    model: Any,
    data: Any = None,
    *,
    layer: str | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """κ_Tr = Σ_{s,s'} ⟨w_s, w_s'⟩ Tr H_ss' of one layer, the paper's Definition 3, as it is.

    layer: the name of a weight matrix in θ. Unless given, the last tensor with two dimensions in
        the order of ``named_parameters()``: a model that registers its head before its body needs
        layer='…' for the head.
    memory: budget in bytes.
    options: as for :func:`igsref.as_problem`. The layer's bias has no part in it, and neither has
    a pool (``fisher_data``). The authors' code adds 2α‖w_s‖² for weight decay α; not here.

    Raises ValueError for a layer that θ does not have or that is no matrix, with the names there
    are; MemoryError, with the sizes, where its Hessian does not fit, and as
    :func:`igsref.curvature.hessian.hessian`.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> data = (torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0]]))
    >>> relative_flatness(model, data, likelihood="gaussian").value  # |w|² · |x|²
    50.0
    """
    problem = as_problem(model, data, **options)
    name = _layer(problem, layer)
    return Measurement(_trace_form(*_weight_and_hessian(problem, name, memory)))


def maximal_relative_flatness(
    model: Any,
    data: Any = None,
    *,
    layer: str | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """κ_max = Σ_s ‖w_s‖² λ_max(H_ss) of one layer, with the largest eigenvalue of signed ones.

    Arguments, the last 2-D weight in ``named_parameters()`` order as the default layer among them,
    and errors as for :func:`relative_flatness`.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> data = (torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))
    >>> maximal_relative_flatness(model, data, likelihood="gaussian").value  # 25 · 4.5
    112.5
    """
    problem = as_problem(model, data, **options)
    name = _layer(problem, layer)
    return Measurement(_maximal_form(*_weight_and_hessian(problem, name, memory)))


def standardized_relative_flatness(
    model: Any,
    data: Any = None,
    *,
    layer: str | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """κ_Tr after the layer's features were standardised: of W' = W diag(σ) and its Hessian.

    σ_j: standard deviation of the feature φ_j over the labelled samples, with 1/N, as in the
    authors' code (another script of theirs takes the variance). Features are known for the linear
    layers of an ``nn.Sequential``, and for a last linear layer of any model from ∂f_c/∂W_c = φ. A
    feature that is 0 on all samples drops out, σ_j = 0: no loss depends on its weights. One that
    has another constant value cannot be standardised; the authors' code leaves the layer before
    as it is and multiplies the weights by 0, which changes the function.

    Arguments, the last 2-D weight in ``named_parameters()`` order as the default layer among them,
    and errors as for :func:`relative_flatness`; ValueError too for a layer whose
    features are not known and for a constant feature that is not 0.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(2.0)
    >>> data = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
    >>> standardized_relative_flatness(model, data, likelihood="gaussian").value  # 2² · (1 + 9)/2
    20.0
    """
    problem = as_problem(model, data, **options)
    name = _layer(problem, layer)
    return Measurement(_trace_form(*_standardized(problem, name, memory)))


def standardized_maximal_relative_flatness(
    model: Any,
    data: Any = None,
    *,
    layer: str | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """κ_max after the layer's features were standardised: of W' = W diag(σ) and its Hessian.

    Arguments, the last 2-D weight in ``named_parameters()`` order as the default layer among them,
    and errors as for :func:`standardized_relative_flatness`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(2.0)
    >>> data = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
    >>> standardized_maximal_relative_flatness(model, data, likelihood="gaussian").value
    20.0
    """
    problem = as_problem(model, data, **options)
    name = _layer(problem, layer)
    return Measurement(_maximal_form(*_standardized(problem, name, memory)))


def _layer(problem: Problem, layer: str | None) -> str:
    """The name of a weight matrix in θ, the last one in θ's order unless given."""
    theta = problem.function.parameters
    matrices = [name for name, value in theta.items() if value.ndim == 2]
    if layer is None and matrices:
        return matrices[-1]
    if layer in matrices:
        return layer
    if layer is None:
        came = "there is none"
    elif layer in theta:
        came = f"{layer!r} has shape {tuple(theta[layer].shape)}"
    else:
        came = f"there is no {layer!r}"
    known = ", ".join(matrices) or f"none among {', '.join(theta)}"
    raise ValueError(f"layer must name a weight matrix in θ; {came}. The matrices are: {known}")


def _weight_and_hessian(
    problem: Problem, name: str, memory: int | None
) -> tuple[Float64[Tensor, "out into"], Float64[Tensor, "out into out into"]]:
    weight = problem.function.parameters[name]
    return weight, hessian_block(problem, name, memory).view(*weight.shape, *weight.shape)


def _trace_form(
    weight: Float64[Tensor, "out into"], blocks: Float64[Tensor, "out into out into"]
) -> float:
    traces = torch.einsum("stut->su", blocks)
    return float(((weight @ weight.mT) * traces).sum())


def _maximal_form(
    weight: Float64[Tensor, "out into"], blocks: Float64[Tensor, "out into out into"]
) -> float:
    own = torch.einsum("stsu->stu", blocks)
    return float(weight.square().sum(dim=1) @ torch.linalg.eigvalsh(own)[:, -1])


def _standardized(
    problem: Problem, name: str, memory: int | None
) -> tuple[Float64[Tensor, "out into"], Float64[Tensor, "out into out into"]]:
    """W' = W diag(σ) and the Hessian by it, H_{sj,s'k}/(σ_j σ_k)."""
    sigma = _deviations(_features(problem, name), name)
    weight, blocks = _weight_and_hessian(problem, name, memory)
    # The Hessian of a feature that is 0 on all samples is 0 already.
    inverse = torch.where(sigma > 0, 1 / sigma, 0.0)
    return weight * sigma, blocks * inverse[:, None, None] * inverse


def _deviations(features: Float64[Tensor, "samples into"], name: str) -> Float64[Tensor, " into"]:
    """σ of every feature; 0 for those that are 0 throughout."""
    sigma = features.std(dim=0, correction=0)
    largest = features.abs().amax(dim=0)
    constant = (sigma <= _NOISE * largest) & (largest > 0)
    if bool(constant.any()):
        j = int(constant.nonzero()[0, 0])
        raise ValueError(
            f"features must vary over the data, or be 0, to be standardised; feature {j} of {name} "
            f"is {float(features[0, j]):.6g} on all {len(features)} samples"
        )
    return sigma


def _features(problem: Problem, name: str) -> Float64[Tensor, "samples into"]:
    """φ_i, what the layer is given for every labelled sample."""
    layers = problem.function.layers
    if layers is not None:
        return _sequential_features(problem, layers, name)
    features = _last_layer_features(problem, name)
    if features is None:
        raise ValueError(
            f"the features that {name} is given must be known, to be standardised: those of a "
            "linear layer in an nn.Sequential are, and those of a last linear layer; it is neither"
        )
    return features


def _sequential_features(
    problem: Problem, layers: tuple[Layer, ...], name: str
) -> Float64[Tensor, "samples into"]:
    """The inputs of the one linear layer with that weight, by running those before it."""
    places = [place for place, layer in enumerate(layers) if layer.weight == name]
    if len(places) != 1 or type(layers[places[0]].module) is not nn.Linear:
        raise ValueError(
            f"the features that {name} is given must be known, to be standardised; it is not the "
            "weight of one nn.Linear, used once"
        )
    args, kwargs = problem.samples.inputs(problem.members.cpu())
    (features,) = (*args, *kwargs.values())
    values = {**problem.function.constants, **problem.function.parameters}
    with torch.no_grad(), preserved_random_state():
        for layer in layers[: places[0]]:
            features = _run(layer, values, features)
        outputs = features
        for layer in layers[places[0] :]:
            outputs = _run(layer, values, outputs)
    _check_same(outputs, problem.labelled_logits)
    if features.ndim != 2:
        raise ValueError(
            f"the features that {name} is given must have shape (N, features), to be standardised; "
            f"got {tuple(features.shape)}"
        )
    return features


def _run(layer: Layer, values: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """One layer of a sequential network, in the inputs' dtype."""
    own = {
        name: value.to(inputs) if value.is_floating_point() else value
        for name, value in layer.module.named_buffers()
    }
    for name, held in (("weight", layer.weight), ("bias", layer.bias)):
        if held is not None:
            own[name] = values[held]
    return torch.func.functional_call(layer.module, own, (inputs,))


def _check_same(outputs: Tensor, logits: Tensor) -> None:
    """Modules keep settings and statistics of their own, which may have changed since."""
    if not _agree(outputs, logits):
        raise ValueError(
            "the model's layers must give the logits that the problem holds; they differ by "
            f"{float((outputs - logits).abs().max()):.3g}. Was the model changed since?"
        )


def _agree(left: Tensor, right: Tensor) -> bool:
    """Equal to half of the digits: rounding stays far below, another function far above."""
    largest = torch.maximum(left.abs().max(), right.abs().max())
    return bool(((left - right).abs() <= 2.0**-26 * largest).all())


def _last_layer_features(problem: Problem, name: str) -> Float64[Tensor, "samples into"] | None:
    """φ_i where f_ic = w_c φ_i + …, as for a last linear layer; None where it is not so.

    Then ∂f_ic/∂w_s = [s = c] φ_i, and f(−W) = f(W) − 2Wφ, which no kink or bend would let pass.
    """
    theta, classes = problem.function.parameters, problem.num_classes
    weight = theta[name]
    if len(weight) != classes:
        return None
    rows = jacobian_rows(
        problem,
        torch.eye(classes).to(weight).expand(problem.pool_size, -1, -1),
        samples=problem.members,
        columns=ranges(theta)[name],
    ).view(problem.num_samples, classes, *weight.shape)
    features = rows[:, 0, 0]
    expected = torch.einsum("sc,nt->nsct", torch.eye(classes).to(rows), features)
    reflected = problem.at({**theta, name: -weight})[problem.members]
    linear = _agree(reflected, problem.labelled_logits - 2 * features @ weight.mT)
    return features if linear and _agree(rows, expected) else None


_SOURCE = (
    "Petzka, Kamp, Adilova, Sminchisescu, Boley, Relative flatness and generalization, NeurIPS 2021"
)

RELATIVE_FLATNESS = Measure(
    name="Petzka et al.",
    source=_SOURCE,
    compute=relative_flatness,
    promised=frozenset({"layer scaling"}),
)
MAXIMAL_RELATIVE_FLATNESS = Measure(
    name="Petzka et al., maximum",
    source=_SOURCE,
    compute=maximal_relative_flatness,
    promised=frozenset({"layer scaling"}),
)
STANDARDIZED_RELATIVE_FLATNESS = Measure(
    name="Petzka et al., standardised",
    source=_SOURCE,
    compute=standardized_relative_flatness,
    promised=frozenset({"layer scaling", "node scaling"}),
)
STANDARDIZED_MAXIMAL_RELATIVE_FLATNESS = Measure(
    name="Petzka et al., maximum, standardised",
    source=_SOURCE,
    compute=standardized_maximal_relative_flatness,
    promised=frozenset({"layer scaling", "node scaling"}),
)
