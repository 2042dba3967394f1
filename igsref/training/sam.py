"""Sharpness-aware minimisation (SAM) and its adaptive form (ASAM).

δ = ρ g/‖g‖: Foret, Kleiner, Mobahi, Neyshabur, "Sharpness-Aware Minimization for Efficiently
Improving Generalization", ICLR 2021. δ = ρ T²g/‖Tg‖: Kwon, Kim, Park, Choi, "ASAM: Adaptive
Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks", ICML 2021.
The norms are over all parameters together.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from igsref.arguments import checked_positive
from igsref.measures.sharpness.neighbourhood import checked_allowance
from igsref.measures.sharpness.sam import is_bias
from igsref.training.two_pass import Gradients, TwoPass


def SAM(model: nn.Module, base_optimizer: torch.optim.Optimizer, *, rho: float = 0.05) -> TwoPass:
    """SAM: gradients at θ + ρ g/‖g‖.

    rho: ρ; the default is the paper's for CIFAR-10 (.1 for CIFAR-100).
    Against the authors' code: where g = 0, δ = 0, and no 1e-12 is added to ‖g‖ elsewhere.

    Raises TypeError or ValueError that names the argument.
    """
    radius = checked_positive("rho", rho)
    settings = {"method": "SAM", "rho": radius}
    return TwoPass(
        model, base_optimizer, lambda gradients: _scaled(gradients, {}, radius), settings=settings
    )


def ASAM(
    model: nn.Module,
    base_optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.5,
    eta: float = 0.01,
) -> TwoPass:
    """ASAM: gradients at θ + ρ T²g/‖Tg‖, T = |w| + η for weights and 1 for biases.

    rho, eta: ρ and η; the defaults are the paper's for CIFAR-10 (ρ = 1 for CIFAR-100). A bias is a
    parameter in whose name the word is, as for :func:`igsref.asam_sharpness`.

    Raises TypeError or ValueError that names the argument.
    """
    return _adaptive(model, base_optimizer, rho, eta, torch.abs, "ASAM")


def filter_wise_ASAM(
    model: nn.Module,
    base_optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.5,
    eta: float = 0.01,
) -> TwoPass:
    """ASAM whose T of a weight is ‖row‖ + η, a row all entries of one output unit or channel.

    The paper's filter-wise variant, for which it states no defaults of its own: those of ASAM. A
    vector of weights, as BatchNorm's, has T = |w| + η.
    """
    return _adaptive(model, base_optimizer, rho, eta, _row_norms, "filter-wise ASAM")


def _row_norms(weight: Tensor) -> Tensor:
    """‖row‖, in a shape that goes beside the weight."""
    if weight.ndim < 2:
        return weight.abs()
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))


def _adaptive(
    model: nn.Module,
    base_optimizer: torch.optim.Optimizer,
    rho: float,
    eta: float,
    size: Callable[[Tensor], Tensor],
    method: str,
) -> TwoPass:
    radius, offset = checked_positive("rho", rho), checked_allowance("eta", eta)

    def perturbation(gradients: Gradients) -> dict[str, Tensor]:
        weights = {n: p.detach() for n, p in model.named_parameters() if n in gradients}
        scales = {n: size(w) + offset for n, w in weights.items() if not is_bias(n)}
        return _scaled(gradients, scales, radius)

    settings = {"method": method, "rho": radius, "eta": offset}
    return TwoPass(model, base_optimizer, perturbation, settings=settings)


def _scaled(gradients: Gradients, scales: Gradients, rho: float) -> dict[str, Tensor]:
    """ρ T²g/‖Tg‖, T = 1 where there is no scale; 0 where Tg = 0."""
    along = {name: g * scales.get(name, 1.0) for name, g in gradients.items()}
    norm = torch.stack([value.norm() for value in along.values()]).norm()
    size = torch.where(norm > 0, rho / norm, torch.zeros_like(norm))
    return {name: size * value * scales.get(name, 1.0) for name, value in along.items()}
