"""How far the computed Jacobian rows are known: an estimate by perturbing what goes in.

Rounding in a forward and a backward pass acts like relative changes of the parameters, buffers
and inputs by a few units u = 2⁻⁵³. So the rows at θ(1 ± 2u·s), s random signs, and at inputs and
buffers so changed, show by their scatter how many digits the rows have. Of the two signs the
smaller change counts: a ReLU whose pre-activation is 0 to rounding flips for one sign only, and a
kink is no noise.

A *noise column* belongs to a parameter whose derivative is 0 for a reason that floating point
does not see (the key bias of an attention layer, a bias before a normalisation): it holds nothing
but rounding, and scaling it up would make a direction out of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from igsref.jacobian.rows import jacobian_rows
from igsref.linalg.equilibrate import power_of_two_scale
from igsref.linalg.rounding import UNIT
from igsref.problem import Problem

PERTURBATIONS = (1.0, -1.0)
"""Signs of what :func:`perturbed_problems` makes, a problem each."""
_SAFETY = 8.0
_PROBES = 8
_NO_DIGIT_LEFT = 0.1
_SMALL_IN_ITS_ROW = 1e-8
_BEYOND_DOUBT = 1e-3
"""Noise comes in multiples of a last place and may stay as it is on a sample; where an attention
layer puts all its weight on one token it stays on that sample whatever is perturbed. So a column
that could be noise must change by less than a thousandth over all samples seen."""


@dataclass(frozen=True, eq=False)
class Rounding:
    """Estimated rounding of Jacobian rows, columns scaled to unit norm.

    noise: which columns hold no correct digit, shape (params,).
    change, size: squared norms of the changes of some rows, and of these rows.
    """

    noise: Bool[Tensor, " params"]
    change: Float64[Tensor, " probes"]
    size: Float64[Tensor, " probes"]

    @property
    def relative(self) -> float:
        """A bound, estimated, on ‖error of a row‖/‖row‖: the largest ratio seen, with safety."""
        ratio = (self.change / torch.where(self.size > 0, self.size, 1.0)).sqrt()
        return _SAFETY * max(UNIT, float(ratio.max()))

    def beside(self, other: "Rounding") -> "Rounding":
        """The rounding of rows made up of the columns of both."""
        return Rounding(
            torch.cat([self.noise, other.noise]),
            self.change + other.change,
            self.size + other.size,
        )


def estimate_rounding(
    problem: Problem,
    cotangents: Float64[Tensor, "samples rows classes"],
    rows: Float64[Tensor, "samples*rows params"],
    *,
    columns: slice | None = None,
    largest: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
) -> Rounding:
    """Compare rows with rows at two perturbed θ, on as few samples as decide every column.

    Starts with a few samples spread over the data and goes on with those that hold the largest
    entry of a column not yet known to carry digits. Deterministic for a seed.

    columns: the columns that ``rows`` holds (all unless given).
    largest: tells the largest entry of each row of some samples over all columns of the factor,
        beside which noise is small; ``rows`` holds all of them unless given.
    """
    perturbed = perturbed_problems(problem, seed)
    height = cotangents.shape[1]
    peak, peak_row = rows.abs().max(dim=0) if len(rows) else (rows.sum(0), rows.sum(0))
    scale = power_of_two_scale(peak)
    suspect = peak > 0
    noise = torch.zeros_like(suspect)
    chosen = torch.linspace(0, problem.pool_size - 1, _PROBES).long().unique()
    first, probed = None, torch.zeros(problem.pool_size, dtype=torch.bool)
    sizes, changes = torch.zeros_like(scale), torch.zeros_like(scale)
    while chosen.numel():
        probed[chosen] = True
        here, change = _changes(perturbed, cotangents, rows, chosen, columns)
        beside = here.abs().amax(dim=1) if largest is None else largest(chosen)
        known = suspect & _carries_digits(here * scale, change * scale)
        sizes = sizes + (here * scale).square().sum(dim=0)
        changes = changes + (change * scale).square().sum(dim=0)
        doubtful = known & _is_small(here, beside)
        known &= ~doubtful | (changes <= _BEYOND_DOUBT**2 * sizes)
        suspect &= ~known
        if first is None:
            first = _squares(here * scale, change * scale, ~suspect)
        noise |= suspect & _is_small(change, beside)
        chosen = _next_samples(peak_row // height, suspect, probed)
    assert first is not None
    return Rounding(noise & suspect, *first)


def estimate_logit_error(problem: Problem, *, seed: int = 0) -> Float64[Tensor, "samples classes"]:
    """How far rounding may have moved the logits: an estimate, (N, C).

    Their change at perturbed parameters, constants and inputs, the largest of a sample for all its
    classes, with the safety factor; and their last place.
    """
    up, down = (moved.at(moved.function.parameters) for moved in perturbed_problems(problem, seed))
    change = torch.maximum((up - problem.logits).abs(), (down - problem.logits).abs())
    return _SAFETY * change.amax(dim=1, keepdim=True) + 2 * UNIT * problem.logits.abs()


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return (2.0 * torch.randint(0, 2, like.shape, generator=generator) - 1).to(like)


def perturbed_problems(problem: Problem, seed: int) -> list[Problem]:
    """The problem with parameters, constants and inputs moved by 2u, up and down."""
    return [_moved(problem, sign * 2 * UNIT, seed) for sign in PERTURBATIONS]


def _moved(problem: Problem, size: float, seed: int) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def move(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        return value * (1 + size * _signs(value, generator))

    function, samples = problem.function, problem.samples
    return replace(
        problem,
        function=replace(
            function,
            parameters={name: move(value) for name, value in function.parameters.items()},
            constants={name: move(value) for name, value in function.constants.items()},
        ),
        samples=replace(
            samples,
            args=tuple(move(value) for value in samples.args),
            kwargs={name: move(value) for name, value in samples.kwargs.items()},
        ),
    )


def _changes(
    perturbed: list[Problem],
    cotangents: Tensor,
    rows: Tensor,
    chosen: Tensor,
    columns: slice | None,
) -> tuple[Tensor, Tensor]:
    """The chosen samples' rows, and the smaller of their two changes, entry by entry."""
    height = cotangents.shape[1]
    here = rows.view(-1, height, rows.shape[1])[chosen.to(rows.device)].flatten(0, 1)
    up, down = (
        (jacobian_rows(moved, cotangents, samples=chosen, columns=columns) - here).abs()
        for moved in perturbed
    )
    return here, torch.minimum(up, down)


def _carries_digits(here: Tensor, change: Tensor) -> Tensor:
    """Columns, scaled to a peak near 1, that are large on these rows and hardly change."""
    size = here.norm(dim=0)
    return (change.norm(dim=0) <= _NO_DIGIT_LEFT * size) & (size >= _NO_DIGIT_LEFT)


def _is_small(entries: Tensor, largest: Tensor) -> Tensor:
    """Columns with no more than rounding can do: not 0, and tiny beside the rows they stand in."""
    small = entries.abs() <= _SMALL_IN_ITS_ROW * largest[:, None]
    return ((entries != 0) & small).any(dim=0) & small.all(dim=0)


def _squares(here: Tensor, change: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """‖change‖² and ‖row‖² of every row once its known columns have unit norm."""
    scale = torch.where(known, here.norm(dim=0), 0.0)
    scale = torch.where(scale > 0, 1 / scale, 0.0)
    return (change * scale).square().sum(dim=1), (here * scale).square().sum(dim=1)


def _next_samples(holder: Tensor, suspect: Tensor, probed: Tensor) -> Tensor:
    """Unprobed samples that hold the peak of a suspect column, the most wanted first."""
    samples, wanted = holder[suspect].cpu().unique(return_counts=True)
    fresh = ~probed[samples]
    order = wanted[fresh].argsort(descending=True, stable=True)
    return samples[fresh][order][:_PROBES]
