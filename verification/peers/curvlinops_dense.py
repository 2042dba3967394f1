"""curvlinops: the dense GGN, its eigenvectors, and the pseudo-inverse that they give."""

import torch
from curvlinops import GGNLinearOperator
from torch import Tensor, nn

from verification.peers.pseudo_inverse import pseudo_inverse_form, sample_gradients


def curvlinops_dense(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """F·I from GGNLinearOperator, then eigh, cut where torch.linalg.pinv cuts: m·ε·λ_max."""
    parameters = list(model.parameters())
    operator = GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, [data])
    dense = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
    eigenvalues, eigenvectors = torch.linalg.eigh(dense)
    return pseudo_inverse_form(sample_gradients(model, data), eigenvalues, eigenvectors)
