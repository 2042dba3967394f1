"""Norms of the gradient and of the weights: ‖∂L/∂θ‖, ‖θ‖ and the path norm.

The simplest quantities that sharpness is compared with. Of the three only the path norm is made
to survive a rescaling of the network.
"""

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from igsref.curvature.loss import loss_gradient, parameter_vector
from igsref.layers import Layer
from igsref.measures.measurement import Measure, Measurement
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.randomness import preserved_random_state

# Types are compared exactly: a subclass may compute something else.
_PASSING = (nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout)


def gradient_norm(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Measurement:
    """‖ḡ‖₂, ḡ = ∂L/∂θ the gradient of the mean loss of the labelled samples.

    What Zhao, Zhang and Hu add to the loss. A pool (``fisher_data``) changes nothing.
    options: as for :func:`igsref.as_problem`.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> data = (torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0]]))
    >>> gradient_norm(model, data, likelihood="gaussian").value
    5.0
    """
    problem = as_problem(model, data, **options)
    with preserved_random_state():
        gradient = loss_gradient(problem)
    return Measurement(float(torch.linalg.vector_norm(gradient)))


def frobenius_norm(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Measurement:
    """(Σ_l ‖W_l‖_F²)^½ = ‖θ‖₂ over all tensors of θ, biases among them.

    The overall ℓ₂ norm of Neyshabur, Tomioka and Srebro, whose square is what weight decay adds;
    ``parameters="*weight"`` leaves biases out. Data and pool have no part in it.
    options: as for :func:`igsref.as_problem`.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> data = (torch.zeros(1, 2), torch.zeros(1, 1))
    >>> frobenius_norm(model, data, likelihood="gaussian").value
    5.0
    """
    problem = as_problem(model, data, **options)
    return Measurement(float(torch.linalg.vector_norm(parameter_vector(problem))))


def path_norm(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Measurement:
    """ℓ₂ path norm of a ReLU network: (Σ_paths Π_{edges} w²)^½, from inputs to outputs.

    One forward pass of ones through the network with squared weights and no ReLU (Neyshabur,
    Tomioka, Srebro). A bias is the weight of an edge from a unit that is constantly 1, so that
    paths begin there too; the paper has no biases. All weights count, also those left out of θ
    by ``parameters=``. Data and pool have no part in it.
    options: as for :func:`igsref.as_problem`.

    Raises ValueError for a model that is no ``nn.Sequential`` of linear layers and ReLU.

    >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0], [1.0]]))
    >>> _ = model[2].weight.data.copy_(torch.tensor([[1.0, 4.0]]))
    >>> path_norm(model, (torch.zeros(1, 1), torch.zeros(1, 1)), likelihood="gaussian").value
    5.0
    """
    problem = as_problem(model, data, **options)
    values = {**problem.function.constants, **problem.function.parameters}
    layers = _linear_layers(problem)
    through = torch.ones(values[str(layers[0].weight)].shape[1]).to(problem.logits)
    for layer in layers:
        weight = _squared(values, layer.weight)
        _check_chain(layer, weight, through)
        through = weight @ through
        if layer.bias is not None:
            through = through + _squared(values, layer.bias)
    return Measurement(float(through.sum().sqrt()))


def _squared(values: dict[str, Tensor], name: str | None) -> Tensor:
    return values[str(name)].square()


def _check_chain(layer: Layer, weight: Tensor, through: Tensor) -> None:
    if weight.shape[1] != len(through):
        raise ValueError(
            "path_norm needs linear layers one after the other; "
            f"{layer.weight} takes {weight.shape[1]} features and is given {len(through)}"
        )


def _linear_layers(problem: Problem) -> list[Layer]:
    """The linear layers of a ReLU network, at least one; anything else is refused by its name."""
    if problem.function.layers is None:
        raise ValueError(
            "path_norm needs an nn.Sequential of nn.Linear and nn.ReLU, whose output are the "
            "logits; the model is another"
        )
    for layer in problem.function.layers:
        if type(layer.module) not in (nn.Linear, *_PASSING):
            raise ValueError(
                "path_norm needs a network of nn.Linear and nn.ReLU; "
                f"the model has a {type(layer.module).__name__}"
            )
    linear = [layer for layer in problem.function.layers if type(layer.module) is nn.Linear]
    if not linear:
        raise ValueError("path_norm needs a network with an nn.Linear; the model has none")
    return linear


GRADIENT_NORM = Measure(
    name="gradient norm",
    source="Zhao, Zhang, Hu, Penalizing gradient norm for efficiently improving generalization in "
    "deep learning, ICML 2022",
    compute=gradient_norm,
)
_NEYSHABUR = "Neyshabur, Tomioka, Srebro, Norm-based capacity control in neural networks, COLT 2015"
FROBENIUS_NORM = Measure(name="Frobenius norm", source=_NEYSHABUR, compute=frobenius_norm)
PATH_NORM = Measure(
    name="path norm",
    source=_NEYSHABUR,
    compute=path_norm,
    promised=frozenset({"layer scaling", "node scaling"}),
)
