"""Softmax classification: differences of logits, and the closed Cholesky factor of their metric."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from igsref.likelihoods.protocol import (
    OutputError,
    check_finite,
    check_spread,
    relative_probability_error,
)
from igsref.linalg.rounding import UNIT

_LOOSEST = 1e-2
"""A sum of class probabilities further from 1 is refused in every dtype."""


@dataclass(frozen=True)
class Categorical:
    """Softmax over C ≥ 2 classes; labels are class indices or class probabilities."""

    name: str = field(default="categorical", init=False)

    def check_logits(self, logits: Float[Tensor, "samples classes"]) -> None:
        """C ≥ 2, and no two logits of a sample further apart than exp can tell."""
        if logits.shape[1] < 2:
            raise ValueError(
                "logits must have C ≥ 2 classes for the categorical likelihood; got "
                f"{tuple(logits.shape)}. One logit for two classes is likelihood='bernoulli', "
                "a regression likelihood='gaussian'"
            )
        check_spread(logits.amax(dim=1) - logits.amin(dim=1), "a largest difference of")

    def targets(
        self, labels: Tensor, logits: Float[Tensor, "samples classes"]
    ) -> Float64[Tensor, "samples classes"]:
        """One-hot rows for class indices; class probabilities renormalised in float64."""
        if labels.is_floating_point():
            return _class_probabilities(labels, logits.shape)
        return _one_hot(labels, logits.shape)

    def contrast(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C-1 C"]:
        """Class differences e_c − e_ref, ref the largest logit, rows by falling probability."""
        order = logits.argsort(dim=1, descending=True, stable=True)
        unit = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)[order]
        return unit[:, 1:] - unit[:, :1]

    def root(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C-1 C-1"]:
        """Lᵀ for L Lᵀ = diag(p') − p'p'ᵀ in closed form.

        With tails t_k = p_ref + Σ_{j>k} p_j and t_{-1} = 1:
        L_kk = √(p_k t_k / t_{k-1}) and L_jk = −p_j √(p_k / (t_k t_{k-1})) for j > k.
        """
        root_p, tail, before = self._sorted(logits)
        scale = root_p / (tail * before).sqrt()
        upper = -scale[:, :, None] * root_p.square()[:, None, :]
        return torch.triu(upper, diagonal=1) + torch.diag_embed(scale * tail)

    def residual(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N C-1"]:
        """v = L⁻¹(p' − q'), in closed form.

        v_k = a_k (q_ref + Σ_{j>k} q_j) − q_k √(t_k / t_{k-1}) / √p_k, a_k = √(p_k/(t_k t_{k-1})):
        for a hard label one of the two terms is zero, so that nothing cancels.
        """
        behind, own = self._residual_terms(logits, targets)
        return behind - own

    def output_error(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"], error: Tensor
    ) -> OutputError:
        """For exact logits within ``error``, (N, C).

        Let r bound the relative error of p. Then |Δp_c| ≤ r min(p_c, 1 − p_c), since Δp sums to 0,
        and ‖L⁻¹Δp'‖² = Σ Δp_c²/p_c. xᵀΛx is the variance of x under p, the least mean square
        about any point, so Λ moves by a factor within 1 ± r. The entries of L and v themselves are
        computed to ε relative (below), so L in its own metric, and v through L⁻¹, to κ ε,
        κ = ‖|L⁻¹||L|‖_F: |L⁻¹||L| = 2 L⁻¹ diag(L) − I has entries
        2 √(p_j p_k t_k / (t_{j−1} t_j t_{k−1})) below its unit diagonal.

        ε: log p is good to (spread + C + 7) u in absolute terms (a difference of logits, log1p of
        a sum), so p and its tails are to (spread + 2C + 12) u; an entry has at most 4 of them.
        """
        r = relative_probability_error(error)
        log_p = _log_softmax(logits)
        p, classes = log_p.exp(), logits.shape[1]
        epsilon = 4 * UNIT * (logits.amax(dim=1) - logits.amin(dim=1) + 2 * classes + 12)
        smaller = torch.minimum(p, _others(p))
        moved = r * (smaller * (-0.5 * log_p).exp()).norm(dim=1)
        behind, own = self._residual_terms(logits, targets)
        kappa = self._root_condition(logits) * epsilon
        evaluated = epsilon * (behind + own).norm(dim=1) + kappa * (behind - own).norm(dim=1)
        logit_part, root_part = r, 2 * kappa + kappa.square()
        return OutputError(
            (moved + evaluated) * (1 + 4 * kappa),
            logit_part + root_part + logit_part * root_part,
        )

    def _root_condition(self, logits: Tensor) -> Float[Tensor, "N"]:
        """A bound on κ = ‖|L⁻¹||L|‖_F, whose entries are products of one by row, one by column."""
        root_p, tail, before = self._sorted(logits)
        by_row = root_p / (before * tail).sqrt()
        by_column = root_p * (tail / before).sqrt()
        return tail.shape[1] ** 0.5 + 2 * by_row.norm(dim=1) * by_column.norm(dim=1)

    def _residual_terms(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        root_p, tail, before = self._sorted(logits)
        order = logits.argsort(dim=1, descending=True, stable=True)
        sorted_targets = targets.gather(1, order)
        q = sorted_targets[:, 1:]
        behind = sorted_targets[:, :1] + _after(q)
        return root_p * behind / (tail * before).sqrt(), q * (tail / before).sqrt() / root_p

    def loss(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """Cross-entropy −Σ_c q_c log p_c, in nats."""
        return -(targets * _log_softmax(logits)).sum(dim=1)

    def ceiling(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """Σ_c (q_c − p_c)²/p_c; for a hard label Σ_{c≠y} exp(f_c − f_y) = expm1(l)."""
        difference = self.output_gradient(logits, targets)
        return (difference * (-0.5 * _log_softmax(logits)).exp()).square().sum(dim=1)

    def metric(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """Λ = diag(p) − p pᵀ."""
        p = logits.softmax(dim=1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]

    def textbook_root(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C C"]:
        """M = diag(√p)(I − 1 pᵀ), the paper's equation (4)."""
        p = logits.softmax(dim=1)
        unit = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
        return p.sqrt()[:, :, None] * (unit - p[:, None, :])

    def output_gradient(
        self, logits: Float[Tensor, "N C"], targets: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N C"]:
        """u = p − q as p_c Σ_{c'≠c} q_c' − q_c Σ_{c'≠c} p_c', where 1 − p does not cancel."""
        p = _log_softmax(logits).exp()
        return p * _others(targets) - targets * _others(p)

    def divergence(
        self, reference: Float[Tensor, "N C"], logits: Float[Tensor, "N C"]
    ) -> Float[Tensor, "N"]:
        """KL(p_ref ‖ p) = Σ p_ref (expm1(Δ) − Δ), Δ = log p − log p_ref.

        Σ p_ref expm1(Δ) = Σ p − Σ p_ref = 0, so it may be added; each term is then ≥ 0.
        """
        log_reference = _log_softmax(reference)
        delta = _log_softmax(logits) - log_reference
        return (log_reference.exp() * (torch.expm1(delta) - delta)).sum(dim=1)

    def label_distribution(
        self, logits: Float[Tensor, "N C"]
    ) -> list[tuple[Float[Tensor, "N"], Float[Tensor, "N C"]]]:
        """Each class c with probability p_c."""
        p = _log_softmax(logits).exp()
        unit = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
        return [(p[:, c], unit[c].expand_as(p)) for c in range(p.shape[1])]

    @staticmethod
    def _sorted(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """√p' by falling p, its tails t_k, and the tails before, t_{k-1}."""
        log_p = _log_softmax(logits).sort(dim=1, descending=True, stable=True).values
        p = log_p.exp()
        tail = p[:, :1] + _after(p[:, 1:])
        before = torch.cat([torch.ones_like(tail[:, :1]), tail[:, :-1]], dim=1)
        return (0.5 * log_p[:, 1:]).exp(), tail, before


def _others(values: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
    """Σ_{c'≠c} values_c', summed without subtracting, so that nothing cancels."""
    classes = values.shape[1]
    return values @ (1.0 - torch.eye(classes, dtype=values.dtype, device=values.device))


def _log_softmax(logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
    """Log-probabilities that keep their relative accuracy where p → 1 (torch's own do not)."""
    top, winner = logits.max(dim=1, keepdim=True)
    shifted = logits - top
    rest = shifted.exp().scatter(1, winner, 0.0).sum(dim=1, keepdim=True)
    return shifted - torch.log1p(rest)


def _after(values: Float[Tensor, "N R"]) -> Float[Tensor, "N R"]:
    """Σ_{j>k} values_j, smallest first when the values fall."""
    shifted = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    return shifted.flip(1).cumsum(dim=1).flip(1)


def _one_hot(labels: Tensor, shape: torch.Size) -> Float64[Tensor, "samples classes"]:
    if labels.dtype == torch.bool or labels.is_complex():
        raise TypeError(f"labels must be class indices or probabilities; got dtype {labels.dtype}")
    if labels.shape != shape[:1]:
        raise ValueError(
            f"integer labels must have shape ({shape[0]},), one class per sample; "
            f"got {tuple(labels.shape)} (one-hot rows: labels.argmax(1); a column: "
            "labels.squeeze(1))"
        )
    labels = labels.long()  # unsigned ones do not compare
    bad = ((labels < 0) | (labels >= shape[1])).nonzero()
    if bad.numel():
        first = int(bad[0, 0])
        raise ValueError(
            f"labels must lie in 0..{shape[1] - 1} for {shape[1]} classes; "
            f"labels[{first}] is {int(labels[first])} (samples without a label must be left out)"
        )
    return torch.nn.functional.one_hot(labels, shape[1]).double()


def _class_probabilities(labels: Tensor, shape: torch.Size) -> Float64[Tensor, "samples classes"]:
    if labels.shape != shape:
        raise ValueError(
            f"float labels are class probabilities and must have the logits' shape "
            f"{tuple(shape)}; got {tuple(labels.shape)}. Class indices must be integers"
        )
    check_finite(labels)
    negative = (labels < 0).nonzero()
    if negative.numel():
        where = negative[0].tolist()
        raise ValueError(
            f"class probabilities must not be negative; labels{where} is {float(labels[*where])}"
        )
    total = labels.double().sum(dim=1)
    # A sum of C rounded probabilities is off 1 by at most C half-units of its dtype, and the
    # softmax that made them by a few more. Never so far off that it may be another scale.
    tolerance = min(4 * shape[1] * torch.finfo(labels.dtype).eps, _LOOSEST)
    off = ((total - 1).abs() > tolerance).nonzero()
    if off.numel():
        first = int(off[0, 0])
        raise ValueError(
            f"class probabilities must sum to 1 (to {tolerance:.1e} in {labels.dtype}); "
            f"labels[{first}] sums to {float(total[first]):.17g}. "
            "To renormalise probabilities q: q / q.sum(1, keepdim=True), in float64"
        )
    return labels.double() / total[:, None]
