"""The hierarchy of gradients in section 2.2: C outliers, C(C−2) secondary eigenvalues, the bulk.

Seen: the spectrum of F. Predicted (the paper's Appendix A): if all wrong classes of a sample share
1 − p_y evenly, p_c = ε, then with d_ic = J_ic − J_iy and s_i = Σ_c d_ic

    F = (1/N) Σ_i [ ε p_y/(C−1) s_iᵀs_i + ε Σ_{c≠y} (d_ic − s_i/(C−1))ᵀ(·) ],

and the class means of the two terms give the outliers and the secondary eigenvalues.
"""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.fisher import eigenvalues
from igsref.geometry.plan import require_dense
from igsref.jacobian.rows import jacobian_rows
from igsref.problem import Problem, ProblemOptions, as_problem


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Eigenvalues of F in their three groups, and what Appendix A predicts of the first two.

    eigenvalues: min(N(C−1), m) of them, falling. outliers, secondary, bulk: shares of Tr F in the
    first C, the next C(C−2) and the rest. predicted_outliers (C,) and predicted_secondary
    (C(C−2),): eigenvalues, falling.
    """

    num_classes: int
    eigenvalues: Float64[Tensor, " k"]
    predicted_outliers: Float64[Tensor, " classes"]
    predicted_secondary: Float64[Tensor, " pairs"]

    @property
    def outliers(self) -> float:
        """Share of Tr F in the C largest eigenvalues."""
        return self._share(0, self.num_classes)

    @property
    def secondary(self) -> float:
        """Share of Tr F in the next C(C−2)."""
        return self._share(self.num_classes, self.num_classes * (self.num_classes - 1))

    @property
    def bulk(self) -> float:
        """Share of Tr F in all others."""
        return self._share(self.num_classes * (self.num_classes - 1), None)

    @property
    def predicted_shares(self) -> tuple[float, float]:
        """Predicted outliers and predicted secondary eigenvalues as shares of Tr F."""
        trace = self.eigenvalues.sum()
        return (
            float(self.predicted_outliers.sum() / trace),
            float(self.predicted_secondary.sum() / trace),
        )

    def _share(self, start: int, stop: int | None) -> float:
        return float(self.eigenvalues[start:stop].sum() / self.eigenvalues.sum())


def gradient_hierarchy(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Hierarchy:
    """The spectrum of F in three groups, seen and predicted; section 2.2 and Appendix A.

    Needs class indices (hard labels) and the categorical likelihood with C ≥ 3.
    Raises ValueError otherwise, and for a pool (fisher_data); MemoryError, with the sizes, where
    the factor does not fit.
    """
    problem = as_problem(model, data, **options)
    hard = bool((problem.targets.amax(dim=1) == 1).all())
    if problem.likelihood.name != "categorical" or problem.num_classes < 3 or not hard:
        raise ValueError(
            "gradient_hierarchy needs hard labels and the categorical likelihood with C ≥ 3; got "
            f"{problem.likelihood.name}, C = {problem.num_classes}, hard labels: {hard}"
        )
    if problem.has_pool:
        raise ValueError(
            "gradient_hierarchy needs a label for every input of F; leave fisher_data out"
        )
    require_dense(problem, memory)
    outliers, secondary = _predicted(problem)
    return Hierarchy(problem.num_classes, eigenvalues(problem), outliers, secondary)


def _predicted(problem: Problem) -> tuple[Tensor, Tensor]:
    n, classes = problem.targets.shape
    labels = problem.targets.argmax(dim=1)
    d = _differences_from_label(problem, labels)
    log_p = problem.logits.log_softmax(dim=1)
    p = log_p.exp().gather(1, labels[:, None])[:, 0]
    epsilon = (log_p.exp() * (1 - problem.targets)).sum(dim=1) / (classes - 1)
    s = d.sum(dim=1)
    weight = (epsilon * p / (classes - 1)).sqrt()
    means = _class_means(weight[:, None] * s, labels, classes)
    rest = epsilon.sqrt()[:, None, None] * (d - s[:, None] / (classes - 1))
    rest_means = _class_means(rest.flatten(1), labels, classes).view(classes * (classes - 1), -1)
    return _gram_eigenvalues(means, n, classes), _gram_eigenvalues(
        rest_means, n, classes * (classes - 2)
    )


def _differences_from_label(
    problem: Problem, labels: Tensor
) -> Float64[Tensor, "samples others params"]:
    """d_ic = J_ic − J_iy for the classes c ≠ y in order."""
    classes = problem.num_classes
    unit = torch.eye(classes).to(problem.logits)
    others = torch.stack([torch.cat([unit[:y], unit[y + 1 :]]) for y in range(classes)])
    cotangents = others[labels] - unit[labels][:, None, :]
    rows = jacobian_rows(problem, cotangents)
    return rows.view(len(labels), classes - 1, -1)


def _class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """√N_k × the mean of each class, so that Gram matrices weigh classes by their size."""
    sums = torch.zeros(classes, values.shape[1]).to(values).index_add_(0, labels, values)
    count = torch.bincount(labels, minlength=classes).clamp(min=1).to(values)
    return sums / count.sqrt()[:, None]


def _gram_eigenvalues(vectors: Tensor, samples: int, count: int) -> Tensor:
    return torch.linalg.svdvals(vectors)[:count].square() / samples
