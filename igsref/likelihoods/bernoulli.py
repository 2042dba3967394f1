"""Independent yes-or-no outputs."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from igsref.likelihoods.protocol import (
    OutputError,
    check_spread,
    identity,
    like_logits,
    relative_probability_error,
)
from igsref.linalg.rounding import UNIT


@dataclass(frozen=True)
class Bernoulli:
    """Independent sigmoid outputs; with one logit f the same as softmax over (0, f)."""

    name: str = field(default="bernoulli", init=False)

    def check_logits(self, logits: Float[Tensor, "samples outputs"]) -> None:
        """No logit further from 0 than exp can tell."""
        check_spread(logits.abs().amax(dim=1), "a largest magnitude of")

    def targets(
        self, labels: Tensor, logits: Float[Tensor, "samples outputs"]
    ) -> Float64[Tensor, "samples outputs"]:
        """Probabilities of a 1, in [0, 1]."""
        targets = like_logits(labels, logits.shape).double()
        bad = ((targets < 0) | (targets > 1)).nonzero()
        if bad.numel():
            where = bad[0].tolist()
            raise ValueError(
                f"labels must lie in [0, 1] for the Bernoulli likelihood; "
                f"labels{where} is {float(targets[*where]):g}"
            )
        return targets

    def contrast(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """The outputs themselves."""
        return identity(logits)

    def root(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """√(p(1−p)) = e^{−|f|/2}/(1 + e^{−|f|})."""
        size = logits.abs()
        return torch.diag_embed((-size / 2).exp() / (1 + (-size).exp()))

    def residual(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N C"]:
        """v = (p − y)/√(p(1−p)) = (1−y) e^{f/2} − y e^{−f/2}."""
        return (1 - targets) * (logits / 2).exp() - targets * (-logits / 2).exp()

    def output_error(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"], error: Tensor
    ) -> OutputError:
        """For exact logits within ``error``, (N, C): each output as two classes with logits 0, f.

        |Δp| ≤ r min(p, 1 − p), so |Δp|/√(p(1−p)) ≤ r e^{−|f|/2}; p(1−p), a
        variance, moves by a factor within 1 ± r. Powers of e of f/2, and with them v and the root,
        are good to (|f| + 8) u.
        """
        r = relative_probability_error(error)
        epsilon = 4 * UNIT * (logits.abs().amax(dim=1) + 8)
        size = (1 - targets) * (logits / 2).exp() + targets * (-logits / 2).exp()
        moved = r * (-logits.abs() / 2).exp().norm(dim=1)
        logit_part, root_part = r, 2 * epsilon + epsilon.square()
        return OutputError(
            (moved + 2 * epsilon * size.norm(dim=1)) * (1 + 4 * epsilon),
            logit_part + root_part + logit_part * root_part,
        )

    def loss(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """Binary cross-entropy, summed over the outputs, in nats."""
        wrong = (1 - targets) * _softplus(logits) + targets * _softplus(-logits)
        return wrong.sum(dim=1)

    def ceiling(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """Σ (p − y)²/(p(1−p))."""
        return self.residual(logits, targets).square().sum(dim=1)

    def metric(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """Λ = diag(p(1−p))."""
        p = logits.sigmoid()
        return torch.diag_embed(p * (1 - p))

    def textbook_root(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """diag(√(p(1−p)))."""
        return self.metric(logits).sqrt()

    def output_gradient(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N C"]:
        """u = p − y."""
        return logits.sigmoid() - targets

    def divergence(
        self, reference: Float[Tensor, "N C"], logits: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """KL between the two products of Bernoulli distributions, as Categorical's, per output."""
        total = torch.zeros_like(logits)
        for sign in (1.0, -1.0):
            log_reference = -_softplus(sign * reference)
            delta = -_softplus(sign * logits) - log_reference
            total = total + log_reference.exp() * (torch.expm1(delta) - delta)
        return total.sum(dim=1)

    def label_distribution(
        self, logits: Float[Tensor, "N C"]
    ) -> list[tuple[Float[Tensor, "N"], Float[Tensor, "N C"]]]:
        """One output at a time is enough for expectations: offered for a single logit only."""
        if logits.shape[1] != 1:
            return []
        p = logits.sigmoid()
        return [(1 - p[:, 0], torch.zeros_like(p)), (p[:, 0], torch.ones_like(p))]


def _softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) with full relative accuracy for both signs (torch's thresholds at 20)."""
    return torch.logaddexp(x, torch.zeros_like(x))
