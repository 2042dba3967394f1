"""Sharpness-aware minimisation (SAM) and its adaptive form (ASAM).

δ = ρ g/‖g‖: Foret, Kleiner, Mobahi, Neyshabur, "Sharpness-Aware Minimization for Efficiently
Improving Generalization", ICLR 2021. δ = ρ T²g/‖Tg‖: Kwon, Kim, Park, Choi, "ASAM: Adaptive
Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks", ICML 2021.
The norms are over all parameters together.
"""

from functools import partial

import torch
from torch import Tensor, nn

from igsref.arguments import check_number, checked_positive
from igsref.training.two_pass import Gradients, TwoPass


def SAM(model: nn.Module, base_optimizer: torch.optim.Optimizer, *, rho: float = 0.05) -> TwoPass:
    """SAM: gradients at θ + ρ g/‖g‖.

    rho: ρ; the default is the paper's for CIFAR-10 (.1 for CIFAR-100).
    Against the authors' code: where g = 0, δ = 0, and no 1e-12 is added to ‖g‖ elsewhere.

    Raises TypeError or ValueError that names the argument.
    """
    radius = checked_positive("rho", rho)
    return TwoPass(model, base_optimizer, lambda gradients: _scaled(gradients, {}, radius))


def ASAM(
    model: nn.Module,
    base_optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.5,
    eta: float = 0.01,
) -> TwoPass:
    """ASAM: gradients at θ + ρ T²g/‖Tg‖, T = |w| + η for weights and 1 for biases.

    rho, eta: ρ and η; the defaults are the paper's for CIFAR-10 (ρ = 1 for CIFAR-100). A weight is
    a parameter in whose name the word is, as in the authors' code; all others have T = 1.

    Raises TypeError or ValueError that names the argument.
    """
    radius, offset = checked_positive("rho", rho), _checked_eta(eta)
    return TwoPass(model, base_optimizer, partial(_adaptive, model, radius, offset, False))


def filter_wise_ASAM(
    model: nn.Module,
    base_optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.5,
    eta: float = 0.01,
) -> TwoPass:
    """ASAM whose T of a weight is ‖row‖ + η, a row all entries of one output unit or channel.

    The paper's filter-wise variant, for which it states no defaults of its own: those of ASAM.
    """
    radius, offset = checked_positive("rho", rho), _checked_eta(eta)
    return TwoPass(model, base_optimizer, partial(_adaptive, model, radius, offset, True))


def _checked_eta(eta: float) -> float:
    check_number("eta", eta)
    if not 0 <= eta < float("inf"):
        raise ValueError(f"eta must be finite and at least 0; got {eta}")
    return float(eta)


def _adaptive(
    model: nn.Module, rho: float, eta: float, filter_wise: bool, gradients: Gradients
) -> dict[str, Tensor]:
    scales = {}
    for name, parameter in model.named_parameters():
        if name in gradients and "weight" in name.rpartition(".")[2]:
            size = parameter.detach().abs()
            if filter_wise and parameter.ndim > 1:
                size = parameter.detach().flatten(1).norm(dim=1)
                size = size.view(-1, *[1] * (parameter.ndim - 1))
            scales[name] = size + eta
    return _scaled(gradients, scales, rho)


def _scaled(gradients: Gradients, scales: Gradients, rho: float) -> dict[str, Tensor]:
    """ρ T²g/‖Tg‖, T = 1 where there is no scale; 0 where Tg = 0."""
    along = {name: g * scales.get(name, 1.0) for name, g in gradients.items()}
    norm = torch.stack([value.norm() for value in along.values()]).norm()
    size = torch.where(norm > 0, rho / norm, torch.zeros_like(norm))
    return {name: size * value * scales.get(name, 1.0) for name, value in along.items()}
