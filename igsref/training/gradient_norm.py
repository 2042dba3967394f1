"""Gradient-norm regularisation (GR): L + ρ‖∇L‖², by a second derivative or a difference.

Barrett & Dherin, "Implicit Gradient Regularization", ICLR 2021, whose explicit form this is; Zhao,
Zhang, Hu, "Penalizing Gradient Norm for Efficiently Improving Generalization in Deep Learning",
ICML 2022, for the finite difference (of ‖∇L‖ there).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from igsref.arguments import checked_positive
from igsref.training.two_pass import Gradients, TwoPass


def gradient_norm_penalty(loss: Tensor, parameters: Iterable[nn.Parameter], rho: float) -> Tensor:
    """ρ‖∇L‖² as a scalar that can be added to the loss before its backward pass.

    loss: a scalar with its graph. parameters: those that ∇ is over; one that needs no gradient
    counts as constant. Costs a second backward pass through the first one, and its memory.

    Raises ValueError for a loss that is no scalar or a ρ that is not positive.
    """
    weight = checked_positive("rho", rho)
    if loss.ndim:
        raise ValueError(f"loss must be a scalar; got shape {tuple(loss.shape)}")
    leaves = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    return weight * torch.stack([g.square().sum() for g in gradients]).sum()


def GR(
    model: nn.Module,
    base_optimizer: torch.optim.Optimizer,
    *,
    rho: float,
    radius: float = 1e-2,
) -> TwoPass:
    """GR by a difference of gradients, at the cost of SAM.

    The gradient of L + ρ‖∇L‖² is g + 2ρ H g, and

        H g ≈ ‖g‖ (∇L(θ + r g/‖g‖) − g)/r,    r the radius,

    with an error of the order of r.

    rho: ρ. radius: r; in float32 neither much smaller nor larger than 1e-2.
    Raises TypeError or ValueError that names the argument.
    """
    weight, reach = checked_positive("rho", rho), checked_positive("radius", radius)
    slope = torch.zeros(())

    def toward(gradients: Gradients) -> dict[str, Tensor]:
        nonlocal slope
        norm = torch.stack([g.norm() for g in gradients.values()]).norm()
        slope = 2 * weight * norm / reach
        size = torch.where(norm > 0, reach / norm, torch.zeros_like(norm))
        return {name: size * g for name, g in gradients.items()}

    def combined(g: Tensor, there: Tensor) -> Tensor:
        return g + slope * (there - g)

    settings = {"method": "GR", "rho": weight, "radius": reach}
    return TwoPass(model, base_optimizer, toward, combined, settings)
