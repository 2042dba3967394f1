"""Gaps f_y − f_c between the logit of a sample's label and that of another class c.

The boundary between y and c is where the gap is 0. Its covector a_c = ∂(f_y − f_c)/∂θ, like the
gradient of the loss, lies in the span of the factor: a_c = w_cᵀ A_i with w_c = L_i⁻¹(e_y' − e_c'),
the difference of the whitened residuals of the labels c and y. Entry by entry one of the two is
zero, or they are equal or of opposite signs, so that nothing cancels; ‖w_c‖² = 1/p_y + 1/p_c.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.geometry.geometry import Geometry
from igsref.likelihoods import Bernoulli, Categorical
from igsref.measures.igs import WORTH_A_WARNING, AccuracyWarning
from igsref.problem import Problem

_EXCESS = 1e-9


def hard_labels(problem: Problem) -> Int64[Tensor, " samples"]:
    """The class y_i of every labelled sample.

    Raises ValueError where outputs are no classes, or a label is no single class.
    """
    if not _has_classes(problem):
        raise ValueError(
            "margins need classes: likelihood='categorical', or 'bernoulli' with one output; got "
            f"{problem.likelihood.name} with {problem.num_classes} outputs"
        )
    targets = problem.targets
    hard = ((targets == 0) | (targets == 1)).all(dim=1)
    if not bool(hard.all()):
        sample = int((~hard).nonzero()[0])
        raise ValueError(
            "margins need one class per sample as label; the label of sample "
            f"{sample} is {targets[sample].tolist()}. Give class indices"
        )
    if _is_switch(problem):
        return targets[:, 0].long()
    return targets.argmax(dim=1)


def class_logits(
    problem: Problem, logits: Float[Tensor, "samples outputs"]
) -> Float[Tensor, "samples classes"]:
    """One logit per class: the outputs themselves, or (0, f) for a single output f."""
    if _is_switch(problem):
        return torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits


def gaps(
    problem: Problem, logits: Float[Tensor, "samples outputs"], labels: Int64[Tensor, " samples"]
) -> Float[Tensor, "samples classes"]:
    """f_y − f_c of every sample and class, 0 for its own."""
    scores = class_logits(problem, logits)
    return scores.gather(1, labels[:, None]) - scores


def covectors(
    problem: Problem, labels: Int64[Tensor, " samples"], rivals: Int64[Tensor, " samples"]
) -> Float64[Tensor, "samples outputs"]:
    """∂(f_y − f_c)/∂f, c the rival of each sample: a_c is this times J_i."""
    if _is_switch(problem):
        return (labels - rivals)[:, None].to(problem.logits)
    unit = torch.eye(problem.num_classes).to(problem.logits)
    return unit[labels] - unit[rivals]


def whitened_gaps(problem: Problem) -> Iterator[Float64[Tensor, "samples rows"]]:
    """w_c of every labelled sample, for the classes c in turn; 0 where c = y."""
    residuals = problem.residuals()
    for targets in class_targets(problem):
        yield problem.likelihood.residual(problem.labelled_logits, targets) - residuals


def class_targets(problem: Problem) -> list[Float64[Tensor, "samples outputs"]]:
    """The target that stands for each class, as if it were the label of all samples."""
    return [target for _, target in problem.likelihood.label_distribution(problem.labelled_logits)]


def whitened_squares(
    problem: Problem, labels: Int64[Tensor, " samples"]
) -> Float64[Tensor, "samples classes"]:
    """‖w_c‖² = 1/p_y + 1/p_c, and 0 for c = y."""
    log_p = class_logits(problem, problem.labelled_logits).log_softmax(dim=1)
    own = log_p.gather(1, labels[:, None])
    squares = (-log_p).exp() + (-own).exp()
    return squares.scatter(1, labels[:, None], 0.0)


def check_off_boundary(
    values: Float[Tensor, "samples classes"], labels: Int64[Tensor, " samples"]
) -> None:
    """Refuse gaps that are 0 for another class than the sample's own, and name the first."""
    other = torch.ones_like(values, dtype=torch.bool).scatter(1, labels[:, None], False)
    on = ((values == 0) & other).nonzero()
    if on.numel():
        sample, rival = on[0].tolist()
        raise ValueError(
            f"sample {sample} lies on the boundary between its class {int(labels[sample])} and "
            f"class {rival} (equal logits), where no step is needed and Σ 1/(ε²λ) is infinite; "
            f"leave it out ({len(on)} such pairs of sample and class)"
        )


def below_ceiling(
    problem: Problem,
    energy: Float64[Tensor, "samples columns"],
    most: Float64[Tensor, "samples columns"],
) -> tuple[Float64[Tensor, "samples columns"], Float64[Tensor, "samples columns"]]:
    """N_F × energies and their ceilings, (N, columns), the first clamped at the second.

    An input that is n times in the pool has an nth of its whitened square at most.
    """
    _check_overflow(most * problem.pool_size)
    excess = energy - most * (1 + _EXCESS)
    if bool((excess > 0).any()) or not bool(torch.isfinite(energy).all()):
        sample, column = divmod(int(excess.argmax()), most.shape[1])
        raise ArithmeticError(
            f"internal error: sample {sample} has energy {float(energy[sample, column]):.17g} "
            f"above its ceiling {float(most[sample, column]):.17g}; please report this network"
        )
    ceilings = most / problem.multiplicity()[:, None]
    pool = problem.pool_size
    return torch.minimum(energy, ceilings) * pool, ceilings * pool


def _check_overflow(ceilings: Tensor) -> None:
    bad = (~torch.isfinite(ceilings)).nonzero()
    if bad.numel():
        raise ValueError(
            f"the squared slope of sample {int(bad[0, 0])} overflows float64; a class is all but "
            "impossible to the model"
        )


def left_open(
    geometry: Geometry,
    blocks: Float64[Tensor, "samples rows"],
    numerators: Float64[Tensor, " samples"],
    total: float,
) -> float:
    """What rounding leaves open of total = N_F Σ_i ‖P w_i/n_i‖², absolute: an estimate.

    blocks: w_i/n_i. numerators: n_i, which two logits make: each is known to its error, so that
    1/n_i² is to 4 error/|n_i| of itself.
    """
    inside = geometry.bracket(geometry.in_blocks(blocks))
    upper = min(inside.upper, inside.upper_at_rank) if geometry.clear_rank else inside.upper
    energy = total / geometry.problem.pool_size
    error = geometry.certificate.logit_error[geometry.problem.members].amax(dim=1)
    blurred = 4 * float((error / numerators.abs()).max())
    wider = max(upper - energy, energy - inside.lower, 0.0)
    return geometry.problem.pool_size * wider + blurred * total


def warn_of_rounding(error: float, total: float) -> None:
    """Say a word to the caller's caller where more than 1e-6 of the total is open."""
    if error <= WORTH_A_WARNING * total:
        return
    warnings.warn(
        f"float64 determines Σ 1/(ε²λ) over these samples to about {error / (total or error):.1g} "
        "of it only; igsref.margin_enclosure bounds the margin of each",
        AccuracyWarning,
        stacklevel=3,
    )


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part/whole, 0 where there is no whole, and never above 1."""
    return torch.where(whole > 0, part / whole, 0.0).clamp(max=1.0)


def checked_index(name: str, given: Any, count: int) -> int:
    """An index 0..count−1. Raises TypeError for anything but an integer, ValueError beyond."""
    index = checked_integer(name, given)
    if not 0 <= index < count:
        raise ValueError(f"{name} must lie in 0..{count - 1}; got {index}")
    return index


def _has_classes(problem: Problem) -> bool:
    return isinstance(problem.likelihood, Categorical) or _is_switch(problem)


def _is_switch(problem: Problem) -> bool:
    """One output f that stands for two classes with logits 0 and f."""
    return isinstance(problem.likelihood, Bernoulli) and problem.num_classes == 1
