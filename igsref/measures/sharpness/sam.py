"""The rise of the loss after the one step that sharpness-aware minimisation takes.

L(w + e) − L(w), e = ρ g/‖g‖: Foret, Kleiner, Mobahi, Neyshabur, "Sharpness-Aware Minimization for
Efficiently Improving Generalization", ICLR 2021. e = ρ T²g/‖Tg‖: Kwon, Kim, Park, Choi, "ASAM:
Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks", ICML
2021. To first order these are the largest rises in the ball ‖T⁻¹e‖ ≤ ρ.
"""

from typing import Any, SupportsFloat, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.loss import loss_gradient, parameter_vector
from igsref.flat import flatten
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.sharpness.neighbourhood import (
    check_finite,
    checked_allowance,
    checked_size,
    loss_rise,
)
from igsref.problem import Problem, ProblemOptions, as_problem


def sam_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.05,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """L(w + ρ g/‖g‖) − L(w), g the gradient of the mean loss of all samples.

    rho: the length ρ of the step; the paper's choice for CIFAR-10 is the default.
    options: as for ``igsref.as_problem``; a Problem or Geometry may stand for (model, data).

    Against the authors' code: the whole data is one batch, and no 1e-12 is added to ‖g‖.

    Raises ValueError for a rho that is not positive and finite or at which the loss overflows,
    and where the gradient is 0, which leaves no direction; TypeError for what is no number.
    """
    problem = as_problem(model, data, **options)
    return _rise_of_step(problem, torch.ones_like(parameter_vector(problem)), rho)


def asam_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.5,
    eta: SupportsFloat = 0.01,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """L(w + ρ T²g/‖Tg‖) − L(w), T = |w| + η for weights and 1 for biases.

    rho, eta: ρ and η; the paper's choices for CIFAR-10 are the defaults.
    A bias is a parameter in whose name the word is; the authors' code normalises the parameters
    whose names hold "weight", which is the same in torch's own layers.

    The paper proves invariance under scalings A for operators with T_{Aw} = A T_w, as |w| is;
    with η > 0, and with 1 for biases, T is not such an operator, and the value moves. For the
    rest see :func:`sam_sharpness`.

    Raises as :func:`sam_sharpness` does, and ValueError for an eta that is negative or not finite,
    TypeError for one that is no number.
    """
    offset = checked_allowance("eta", eta)
    problem = as_problem(model, data, **options)
    return _rise_of_step(problem, normalization(problem, offset), rho)


def is_bias(name: str) -> bool:
    """Whether ASAM's T is 1 for a parameter: the word is in its name."""
    return "bias" in name


def normalization(problem: Problem, eta: float) -> Float64[Tensor, " params"]:
    """The diagonal of T_w: |w| + η for weights, 1 for biases; (m,)."""
    return flatten(
        {
            name: torch.ones_like(value) if is_bias(name) else value.abs() + eta
            for name, value in problem.function.parameters.items()
        }
    )


def _rise_of_step(problem: Problem, scale: Tensor, rho: SupportsFloat) -> Measurement:
    radius = checked_size("rho", rho)
    scaled = scale * loss_gradient(problem)
    largest = scaled.abs().max()
    if not largest > 0:
        raise ValueError(
            "the loss must have a gradient, whose direction is the step's; it is 0 at this θ. "
            "The worst-case sharpness searches in all directions"
        )
    direction = scaled / largest
    step = radius * scale * direction / direction.norm()
    with torch.no_grad():
        rise = float(loss_rise(problem)(step))
    check_finite([rise], "rho", radius)
    return Measurement(rise)


SAM_SHARPNESS = Measure(
    name="SAM sharpness", source="Foret et al., ICLR 2021", compute=sam_sharpness
)
ASAM_SHARPNESS = Measure(
    name="ASAM sharpness",
    source="Kwon et al., ICML 2021",
    compute=asam_sharpness,
    promised=frozenset({"layer scaling", "node scaling"}),
)
"""Promised for T = |w|; the η and the biases of the method as published break it."""
