"""How far the computed Jacobian rows are known: an estimate by perturbing θ.

Rounding in a forward and a backward pass acts like relative changes of the parameters by a few
units u = 2⁻⁵³. So the rows at θ(1 ± 2u·s), s random signs, show by their scatter how many digits
the rows at θ have. Of the two signs the smaller change counts: a ReLU whose pre-activation is 0
to rounding flips for one sign only, and a kink is no noise.

A *noise column* belongs to a parameter whose derivative is 0 for a reason that floating point
does not see (the key bias of an attention layer, a bias before a normalisation): it holds nothing
but rounding, and scaling it up would make a direction out of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from igsref.jacobian.rows import jacobian_rows
from igsref.problem import Problem

_UNIT = 2.0**-53
_SAFETY = 8.0
_PROBES = 8
_NO_DIGIT_LEFT = 0.1
_SMALL_IN_ITS_ROW = 1e-8


@dataclass(frozen=True)
class Rounding:
    """Estimated rounding of Jacobian rows.

    relative: a bound, estimated, on ‖error of a row‖/‖row‖, columns scaled to unit norm.
    noise: which columns hold no correct digit, shape (m,).
    """

    relative: float
    noise: Bool[Tensor, " params"]


def estimate_rounding(
    problem: Problem,
    cotangents: Float64[Tensor, "samples rows classes"],
    rows: Float64[Tensor, "samples*rows params"],
    *,
    seed: int = 0,
) -> Rounding:
    """Compare rows with rows at two perturbed θ, on as few samples as decide every column.

    Starts with a few samples spread over the data and goes on with those that hold the largest
    entry of a column not yet known to carry digits. Deterministic for a seed.
    """
    thetas = _perturbed(problem.function.parameters, seed)
    height = cotangents.shape[1]
    peak, peak_row = rows.abs().max(dim=0) if len(rows) else (rows.sum(0), rows.sum(0))
    suspect = peak > 0
    noise = torch.zeros_like(suspect)
    chosen = torch.linspace(0, problem.num_samples - 1, _PROBES).long().unique()
    relative, probed = None, torch.zeros(problem.num_samples, dtype=torch.bool)
    while chosen.numel():
        probed[chosen] = True
        here, change = _changes(problem, cotangents, rows, thetas, chosen)
        suspect &= ~_carries_digits(here, change, peak)
        if relative is None:
            relative = _relative(here, change, ~suspect)
        noise |= suspect & _is_small(here, change)
        chosen = _next_samples(peak_row // height, suspect, probed)
    assert relative is not None
    return Rounding(relative, noise & suspect)


def logit_rounding(problem: Problem, *, seed: int = 0) -> Float64[Tensor, " samples"]:
    """How far rounding may move a difference of two logits of each sample: an estimate, (N,).

    A ceiling term exp(f_c − f_y) is off by that much, relatively.
    """
    changes = [
        (problem.at(theta) - problem.logits).abs().amax(dim=1)
        for theta in _perturbed(problem.function.parameters, seed)
    ]
    size = problem.logits.amax(dim=1) - problem.logits.amin(dim=1)
    return 2 * _SAFETY * torch.maximum(*changes) + 2 * _UNIT * size


def _perturbed(theta: Mapping[str, Tensor], seed: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    signs = {
        name: (2.0 * torch.randint(0, 2, value.shape, generator=generator) - 1).to(value)
        for name, value in theta.items()
    }
    return [
        {name: value * (1 + sign * 2 * _UNIT * signs[name]) for name, value in theta.items()}
        for sign in (1.0, -1.0)
    ]


def _changes(
    problem: Problem,
    cotangents: Tensor,
    rows: Tensor,
    thetas: list[dict[str, Tensor]],
    chosen: Tensor,
) -> tuple[Tensor, Tensor]:
    """The chosen samples' rows, and the smaller of their two changes, entry by entry."""
    height = cotangents.shape[1]
    here = rows.view(-1, height, rows.shape[1])[chosen.to(rows.device)].flatten(0, 1)
    changes = [
        (jacobian_rows(problem, cotangents, theta=theta, samples=chosen) - here).abs()
        for theta in thetas
    ]
    return here, torch.minimum(*changes)


def _carries_digits(here: Tensor, change: Tensor, peak: Tensor) -> Tensor:
    """Columns that are large enough on these rows and hardly change."""
    size = here.norm(dim=0)
    return (change.norm(dim=0) <= _NO_DIGIT_LEFT * size) & (size >= _NO_DIGIT_LEFT * peak)


def _is_small(here: Tensor, change: Tensor) -> Tensor:
    """Columns whose change is what rounding can do: tiny beside the row it stands in."""
    largest = here.abs().amax(dim=1, keepdim=True)
    return ((change > 0) & (change <= _SMALL_IN_ITS_ROW * largest)).any(dim=0) & (
        change <= _SMALL_IN_ITS_ROW * largest
    ).all(dim=0)


def _relative(here: Tensor, change: Tensor, known: Tensor) -> float:
    """Largest relative change of a row once its known columns have unit norm, with safety."""
    scale = torch.where(known, here.norm(dim=0), 0.0)
    scale = torch.where(scale > 0, 1 / scale, 0.0)
    size = (here * scale).norm(dim=1)
    ratio = (change * scale).norm(dim=1) / torch.where(size > 0, size, 1.0)
    return _SAFETY * max(_UNIT, float(ratio.max()))


def _next_samples(holder: Tensor, suspect: Tensor, probed: Tensor) -> Tensor:
    """Unprobed samples that hold the peak of a suspect column, the most wanted first."""
    samples, wanted = holder[suspect].cpu().unique(return_counts=True)
    fresh = ~probed[samples]
    order = wanted[fresh].argsort(descending=True, stable=True)
    return samples[fresh][order][:_PROBES]
