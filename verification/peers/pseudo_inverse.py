"""What a library that gives F leaves to its user: F⁺ by a cut, and the gradients."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy


def pseudo_inverse_form(g: Tensor, eigenvalues: Tensor, eigenvectors: Tensor) -> float:
    """(1/N) Σ g_i F⁺ g_iᵀ, cut where torch.linalg.pinv cuts: eigenvalues up to m·ε·λ_max."""
    cut = eigenvectors.shape[0] * torch.finfo(g.dtype).eps * eigenvalues.max()
    kept = eigenvalues > cut
    along = g @ eigenvectors[:, kept]
    return float((along.square() / eigenvalues[kept]).sum(dim=1).mean())


def sample_gradients(model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
    """g_i of the cross-entropy, (N, m), in the order of the parameters."""
    parameters = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def loss(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, theta, (x[None],)), y[None])

    blocks = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, *data)
    return torch.cat([block.flatten(start_dim=1) for block in blocks.values()], dim=1)
