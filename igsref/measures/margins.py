"""Margins: how far, in the metric F, the parameters are from the boundary f_y = f_c.

Let ε_ik be the step along the eigenvector u_k of F, with eigenvalue λ_k, that takes sample i to
that boundary, to first order, and a_c = ∂(f_y − f_c)/∂θ. Then (11) reads (Appendix E)

    Σ_k 1/(ε_ik² λ_k) = a_c F⁺ a_cᵀ / (f_y − f_c)²,   a_c F⁺ a_cᵀ = N t_cᵀ P_ii t_c,

t_c = e_y/√p_y − e_c/√p_c, P the projector onto range(A). No ε_ik and no λ_k is invariant under a
change of parameters; the sum is, for 1/Σ = min{δᵀFδ : f_y − f_c + a_c δ = 0} is a squared length.
"""

from dataclasses import dataclass
from typing import Any, SupportsIndex, Unpack

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from igsref.enclosure import Enclosure, combined
from igsref.geometry.access import as_geometry
from igsref.geometry.geometry import Geometry
from igsref.likelihoods.protocol import OutputError
from igsref.linalg.range import Dense
from igsref.linalg.rounding import UNIT
from igsref.measures.gaps import (
    below_ceiling,
    check_off_boundary,
    checked_index,
    class_targets,
    gaps,
    hard_labels,
    left_open,
    share,
    warn_of_rounding,
    whitened_gaps,
    whitened_squares,
)
from igsref.measures.igs import check_rank_bound
from igsref.measures.outputs import enclose, output_error
from igsref.problem import ProblemOptions


@dataclass(frozen=True, eq=False)
class Margins:
    """Each sample against the boundary f_y = f_c with every other class c.

    labels: y, (N,). gaps: f_y − f_c, (N, C). squared_slopes: a_c F⁺ a_cᵀ, (N, C), the largest
    (a_c δ)² over δᵀFδ ≤ 1. ceilings: what they would be if range(A) were everything,
    N_F (1/p_y + 1/p_c)/n(x), n(x) how often the input is in the pool. Where c = y all three are 0.
    rounding_error: what rounding leaves open of ``nearest_sum``, absolute, if a clear rank is the
    rank. An estimate, not a bound.
    """

    labels: Int64[Tensor, " samples"]
    gaps: Float64[Tensor, "samples classes"]
    squared_slopes: Float64[Tensor, "samples classes"]
    ceilings: Float64[Tensor, "samples classes"]
    rounding_error: float

    @property
    def nearest_sum(self) -> float:
        """Σ_i Σ_k 1/(ε_ik² λ_k) over the samples, each with its rival: small margins weigh most."""
        return float(self.sums.gather(1, self.rivals[:, None]).sum())

    @property
    def sums(self) -> Float64[Tensor, "samples classes"]:
        """Σ_k 1/(ε_ik² λ_k) to first order, the left side of (11); 0 where c = y."""
        return self.distances.square().reciprocal()

    @property
    def distances(self) -> Float64[Tensor, "samples classes"]:
        """(f_y − f_c)/√(a_c F⁺ a_cᵀ): δᵀFδ of the shortest step to the boundary, its root.

        Negative where c has the larger logit; ∞ where c = y, and of the gap's sign where no step
        changes the gap.
        """
        own = torch.zeros_like(self.gaps, dtype=torch.bool).scatter(1, self.labels[:, None], True)
        return torch.where(own, torch.inf, self.gaps / self.squared_slopes.sqrt())

    @property
    def smallest(self) -> Float64[Tensor, " samples"]:
        """The least signed distance of each sample.

        Where it is positive, the sample is classified correctly, and no decision changes it within
        that length. Where negative, so far at least has the step to go that corrects it.
        """
        return self.distances.amin(dim=1)

    @property
    def rivals(self) -> Int64[Tensor, " samples"]:
        """The class c of the least signed distance."""
        # Its own class must not win where no step changes a gap and all are ∞.
        reached = self.distances.clamp(max=torch.finfo(torch.float64).max)
        return reached.scatter(1, self.labels[:, None], torch.inf).argmin(dim=1)

    @property
    def correct(self) -> Bool[Tensor, " samples"]:
        """Whether the label has the largest logit."""
        return self.smallest > 0

    @property
    def saturation(self) -> Float64[Tensor, "samples classes"]:
        """squared_slopes/ceilings: at 1 the distance is a function of the outputs alone.

        Not a number where c = y.
        """
        own = torch.arange(self.gaps.shape[1]) == self.labels[:, None].cpu()
        return torch.where(own, torch.nan, share(self.squared_slopes, self.ceilings))


def margins(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Margins:
    """Σ_k 1/(ε_ik² λ_k) = a_c F⁺ a_cᵀ/(f_y − f_c)² of every sample and class, and its length.

    Equation (11) with the boundary f_y = f_c (Appendix E of Jang, Lee, Park, Noh, NeurIPS 2022),
    for the categorical likelihood, or the Bernoulli one with a single output, of logits (0, f).
    model, data, memory, options: as for ``igsref.exact_igs``.

    Warns with AccuracyWarning where rounding leaves Σ_i Σ_k 1/(ε_ik² λ_k), over the samples and
    their rivals, known to less than 1e-6; ``igsref.margin_enclosure`` bounds one sample's.
    Raises ValueError, with sample and class, for a sample on a boundary, a label that is no single
    class and for other likelihoods; otherwise as ``igsref.exact_igs``.

    >>> model = torch.nn.Linear(1, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0], [0.0]]))
    >>> found = margins(model, (torch.tensor([[2.0]]), torch.tensor([0])))
    >>> p = torch.tensor([2.0, 0.0], dtype=torch.float64).softmax(0)  # saturated: 1/p_y + 1/p_c
    >>> bool(abs(float(found.smallest) - 2 / float((1 / p).sum()) ** 0.5) < 1e-14)
    True
    """
    geometry = as_geometry(model, data, memory=memory, **options)
    problem = geometry.problem
    check_rank_bound(geometry)
    labels = hard_labels(problem)
    values = gaps(problem, problem.labelled_logits, labels)
    check_off_boundary(values, labels)
    most = whitened_squares(problem, labels)
    energy = most
    if not geometry.saturated:
        energy = torch.stack([geometry.sample_energy(w) for w in whitened_gaps(problem)], dim=1)
    squared, ceilings = below_ceiling(problem, energy, most)
    found = Margins(labels, values, squared, ceilings, rounding_error=0.0)
    error = _left_open(geometry, found)
    warn_of_rounding(error, found.nearest_sum)
    return Margins(labels.cpu(), values.cpu(), squared.cpu(), ceilings.cpu(), error)


def margin_enclosure(
    model: Any,
    data: Any = None,
    *,
    sample: SupportsIndex,
    rival: SupportsIndex,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Enclosure:
    """Bounds on |f_y − f_c|/√(a_c F⁺ a_cᵀ) of one sample and class, of ``exact_igs``'s grade.

    sample: its index, 0..N−1. rival: the class c. For many of them, give a Geometry as model.
    Raises as :func:`margins`; TypeError or ValueError for a sample or class that there is not.
    """
    geometry = as_geometry(model, data, memory=memory, **options)
    problem = geometry.problem
    check_rank_bound(geometry)
    labels = hard_labels(problem)
    index = checked_index("sample", sample, problem.num_samples)
    values = gaps(problem, problem.labelled_logits, labels)
    other = checked_index("rival", rival, values.shape[1])
    if other == int(labels[index]):
        raise ValueError(f"rival must be another class than sample {index}'s own; got {other}")
    gap = abs(float(values[index, other]))
    if gap == 0.0:
        check_off_boundary(values[index : index + 1], labels[index : index + 1])
    squared = _enclosed_slope(geometry, index, other)
    error = geometry.certificate.logit_error[problem.members][index]
    # Two logits, each within the error; their difference rounds once, the quotient a few times.
    open_by = 2 * float(error.max()) + 4 * UNIT * gap
    return Enclosure(
        max(0.0, gap - open_by) / squared.upper**0.5 * (1 - 8 * UNIT),
        _quotient(gap, squared.value),
        _quotient((gap + open_by) * (1 + 8 * UNIT), squared.lower),
        squared.grade,
    )


def _enclosed_slope(geometry: Geometry, sample: int, rival: int) -> Enclosure:
    """a_c F⁺ a_cᵀ of one sample."""
    problem = geometry.problem
    target = class_targets(problem)[rival]
    block = torch.zeros_like(problem.residuals())
    residual = problem.likelihood.residual(problem.labelled_logits, target)
    block[sample] = (residual - problem.residuals())[sample]
    column = geometry.embedded(block[None])
    outputs, error = output_error(geometry), geometry.certificate.logit_error[problem.members]
    judged = problem.likelihood.output_error(problem.labelled_logits, target, error)
    shift = outputs.residual[sample] + judged.residual[sample] + 2 * UNIT * block[sample].norm()
    inside = geometry.bracket([Dense(column)])
    known = OutputError(shift[None], outputs.metric)
    value = float(geometry.energy(column)[0])
    return combined((float(problem.num_samples), enclose(geometry, value, inside, known)))


def _quotient(gap: float, squared_slope: float) -> float:
    return gap / squared_slope**0.5 if squared_slope > 0 else float("inf")


def _left_open(geometry: Geometry, found: Margins) -> float:
    """What rounding leaves open of the nearest sum, absolute."""
    rivals = found.rivals[:, None]
    gap = found.gaps.gather(1, rivals)
    blocks = torch.zeros_like(geometry.problem.residuals())
    for c, whitened in enumerate(whitened_gaps(geometry.problem)):
        blocks = torch.where(rivals == c, whitened / gap, blocks)
    return left_open(geometry, blocks, gap[:, 0], found.nearest_sum)
