"""The face that every likelihood shows, and the checks that they share."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_LOGIT_DIFFERENCE = 709.0
"""exp(709) is the last power of e that float64 can hold."""


class OutputError(NamedTuple):
    """What is left open by logits and functions of them that are known to rounding only.

    residual: ‖exact v − computed v‖, both whitened by the computed root, (N,).
    metric: η, (1 − η)·L Lᵀ ≤ exact Λ ≤ (1 + η)·L Lᵀ for the computed root L, (N,).
    """

    residual: Float[Tensor, " samples"]
    metric: Float[Tensor, " samples"]


@runtime_checkable
class Likelihood(Protocol):
    """The face of a likelihood; see the module's docstring for the meaning of each method."""

    @property
    def name(self) -> str:
        """The name that ``likelihood=`` takes."""
        ...

    def check_logits(self, logits: Tensor) -> None:
        """Raise ValueError where these logits are not ones this likelihood can work with."""
        ...

    def targets(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Labels as the user gives them → float64 targets of the logits' shape, checked."""
        ...

    def contrast(self, logits: Tensor) -> Tensor:
        """K, shape (N, R, C)."""
        ...

    def root(self, logits: Tensor) -> Tensor:
        """Lᵀ, upper triangular, shape (N, R, R)."""
        ...

    def residual(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Whitened residual v, shape (N, R)."""
        ...

    def output_error(self, logits: Tensor, targets: Tensor, error: Tensor) -> OutputError:
        """Bounds for exact logits within ``error`` of these, (N, C)."""
        ...

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """l, in nats, shape (N,)."""
        ...

    def ceiling(self, logits: Tensor, targets: Tensor) -> Tensor:
        """uᵀΛ⁺u, shape (N,)."""
        ...

    def metric(self, logits: Tensor) -> Tensor:
        """Λ, as the textbook writes it, shape (N, C, C)."""
        ...

    def textbook_root(self, logits: Tensor) -> Tensor:
        """M with MᵀM = Λ, as the textbook writes it, shape (N, C, C)."""
        ...

    def output_gradient(self, logits: Tensor, targets: Tensor) -> Tensor:
        """u = ∂l/∂f, shape (N, C)."""
        ...

    def divergence(self, reference: Tensor, logits: Tensor) -> Tensor:
        """KL(reference ‖ logits) between the two output distributions, in nats, shape (N,)."""
        ...

    def label_distribution(self, logits: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Pairs (probability (N,), targets (N, C)) of every label; empty if uncountable."""
        ...


def check_spread(size: Tensor, what: str) -> None:
    """Refuse samples whose logit differences overflow exp, and name the first."""
    beyond = (size > LARGEST_LOGIT_DIFFERENCE).nonzero()
    if beyond.numel():
        first = int(beyond[0, 0])
        raise ValueError(
            f"logits of sample {first} have {what} {float(size[first].max()):.6g}; at most "
            f"{LARGEST_LOGIT_DIFFERENCE:g} can be exponentiated in float64 "
            f"({len(beyond)} of {len(size)} samples are beyond)"
        )


def check_finite(labels: Tensor) -> None:
    """Refuse labels that are not finite, and name the first."""
    bad = (~torch.isfinite(labels)).nonzero()
    if bad.numel():
        where = tuple(bad[0].tolist())
        raise ValueError(f"labels must be finite; labels{list(where)} is {float(labels[where])}")


def identity(logits: Tensor) -> Tensor:
    """One identity matrix per sample, (N, C, C)."""
    unit = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    return unit.expand(len(logits), -1, -1)


def like_logits(labels: Tensor, shape: torch.Size) -> Tensor:
    """Labels of the logits' shape; (N,) stands for (N, 1)."""
    if labels.is_complex():
        raise TypeError(f"labels must be real; got dtype {labels.dtype}")
    if labels.ndim == 1 and shape[1] == 1 and labels.shape[0] == shape[0]:
        labels = labels[:, None]
    if labels.shape != shape:
        raise ValueError(
            f"labels must have the logits' shape {tuple(shape)}; got {tuple(labels.shape)}"
        )
    check_finite(labels)
    return labels


def relative_probability_error(error: Tensor) -> Float[Tensor, " samples"]:
    """r with |exact p_c − p_c| ≤ r·p_c, also of 1 − p_c: log p moves by at most 2 max|Δf|."""
    return torch.expm1(2 * error.amax(dim=1))
