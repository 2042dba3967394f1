"""The textbook route, as the paper writes it: dense F, its eigenvectors, the authors' cut."""

import torch
from torch import Tensor, nn

import igsref


def textbook64(
    model: nn.Module, data: tuple[Tensor, Tensor], *, likelihood: str = "categorical"
) -> float:
    """igsref.textbook_igs in float64."""
    return igsref.textbook_igs(model, data, likelihood=likelihood)


def textbook32(
    model: nn.Module, data: tuple[Tensor, Tensor], *, likelihood: str = "categorical"
) -> float:
    """The same in float32, as networks are trained: Jacobians, F and its eigenvectors."""
    return igsref.textbook_igs(model, data, dtype=torch.float32, likelihood=likelihood)
