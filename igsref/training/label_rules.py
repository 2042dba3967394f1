"""The labels that a batch's Fisher matrix is an expectation over: all, drawn ones, or the data's.

Each rule gives every sample R rows c_ir, derivatives of a loss at its logits, so that the matrix is
(1/N) Σ_ir (c_ir J_i)ᵀ(c_ir J_i), at the cost of R backward passes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.likelihoods import Likelihood

LabelRule = Callable[[Likelihood, Tensor, Tensor | None, torch.Generator], Tensor]
"""(likelihood, logits (N, C), targets (N, C) or None, generator on the CPU) ↦ rows (N, R, C)."""


def exact_labels(
    likelihood: Likelihood,
    logits: Float[Tensor, "samples classes"],
    targets: Float[Tensor, "samples classes"] | None,
    generator: torch.Generator,
) -> Float[Tensor, "samples rows classes"]:
    """The expectation over all labels: rows Lᵀ K, Σ_r c_rᵀ c_r = Λ; C − 1 of C classes.

    Neither targets nor chance take part.
    """
    return likelihood.root(logits) @ likelihood.contrast(logits)


def sampled_labels(
    likelihood: Likelihood,
    logits: Float[Tensor, "samples classes"],
    targets: Float[Tensor, "samples classes"] | None,
    generator: torch.Generator,
) -> Float[Tensor, "samples one classes"]:
    """One label for each sample, drawn from the model's own distribution: one row.

    Unbiased, E[cᵀc] = Λ, and far from Λ in a single draw where a label is improbable: of a trained
    classifier nearly all draws give nearly nothing.

    Raises ValueError for a likelihood whose labels cannot be listed.
    """
    distribution = likelihood.label_distribution(logits)
    if not distribution:
        raise ValueError(
            f"the labels of {logits.shape[1]} logits of the {likelihood.name} likelihood cannot be "
            "listed to draw from; labels=exact_labels integrates over them"
        )
    probabilities = torch.stack([p for p, _ in distribution], dim=1)
    drawn = torch.multinomial(probabilities.cpu(), 1, generator=generator).squeeze(1)
    listed = torch.stack([label for _, label in distribution], dim=1)
    chosen = listed[torch.arange(len(listed)), drawn.to(listed.device)]
    return likelihood.output_gradient(logits, chosen)[:, None]


def empirical_labels(
    likelihood: Likelihood,
    logits: Float[Tensor, "samples classes"],
    targets: Float[Tensor, "samples classes"] | None,
    generator: torch.Generator,
) -> Float[Tensor, "samples one classes"]:
    """The labels of the data: the empirical Fisher matrix, the second moment of the g_i. One row.

    It is another matrix than F, whose size follows the loss. Raises ValueError without labels.
    """
    if targets is None:
        raise ValueError("empirical_labels needs the labels of the batch; got none")
    return likelihood.output_gradient(logits, targets)[:, None]
