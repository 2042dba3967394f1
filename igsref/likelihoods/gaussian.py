"""Regression with the square loss."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from igsref.likelihoods.protocol import OutputError, identity, like_logits
from igsref.linalg.rounding import UNIT


@dataclass(frozen=True)
class Gaussian:
    """Unit-variance Gaussian outputs: the square loss ½‖f − y‖²; targets of the logits' shape."""

    name: str = field(default="gaussian", init=False)

    def check_logits(self, logits: Float[Tensor, "samples outputs"]) -> None:
        """Every finite output will do."""

    def targets(
        self, labels: Tensor, logits: Float[Tensor, "samples outputs"]
    ) -> Float64[Tensor, "samples outputs"]:
        """Regression targets."""
        return like_logits(labels, logits.shape).double()

    def contrast(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """The outputs themselves."""
        return identity(logits)

    def root(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """The identity."""
        return identity(logits)

    def residual(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N C"]:
        """v = f − y."""
        return logits - targets

    def output_error(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"], error: Tensor
    ) -> OutputError:
        """For exact logits within ``error``, (N, C): v moves with them, Λ does not."""
        rounded = 2 * UNIT * (logits - targets).norm(dim=1)
        moved = error.norm(dim=1) * (1 + 2 * UNIT * (error.shape[1] + 2))  # the norm rounds too
        return OutputError(moved + rounded, torch.zeros_like(rounded))

    def loss(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """½‖f − y‖²."""
        return 0.5 * (logits - targets).square().sum(dim=1)

    def ceiling(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """‖f − y‖²."""
        return (logits - targets).square().sum(dim=1)

    def metric(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """Λ = I."""
        return identity(logits)

    def textbook_root(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """The identity."""
        return identity(logits)

    def output_gradient(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N C"]:
        """u = f − y."""
        return logits - targets

    def divergence(
        self, reference: Float[Tensor, "N C"], logits: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """½‖f_ref − f‖²."""
        return 0.5 * (reference - logits).square().sum(dim=1)

    def label_distribution(
        self, logits: Float[Tensor, "N C"]
    ) -> list[tuple[Float[Tensor, "N"], Float[Tensor, "N C"]]]:
        """Uncountable."""
        return []
