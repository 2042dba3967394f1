"""Where the sharpness sits by class: of the samples with each label, their share of the IGS."""

from dataclasses import dataclass

import torch

from igsref.measures.result import Result
from igsref.problem import Problem


@dataclass(frozen=True)
class ClassShare:
    """Samples with one label: how many, and their shares of the IGS and of the ceiling, in [0, 1].

    Of an iteration, of its lower end.
    """

    label: int
    count: int
    share: float
    ceiling_share: float


def class_shares(problem: Problem, result: Result) -> tuple[ClassShare, ...]:
    """Of every class that has a sample, in order; none where labels are no classes."""
    labels = hard_labels(problem)
    if labels is None:
        return ()
    members = torch.tensor(labels)
    counts = torch.bincount(members)
    present = counts.nonzero()[:, 0]
    shares, ceilings = (
        torch.bincount(members, weights=part)[present] / part.sum().clamp(min=1e-300)
        for part in (result.per_sample, result.sample_ceiling)
    )
    columns = (present, counts[present], shares, ceilings)
    return tuple(
        ClassShare(*each) for each in zip(*(column.tolist() for column in columns), strict=True)
    )


def hard_labels(problem: Problem) -> list[int] | None:
    """The class of each labelled sample; None where labels are probabilities or real numbers.

    Of one logit there are two classes, 0 and 1.
    """
    targets = problem.targets
    if not _has_classes(problem) or not bool(((targets == 0) | (targets == 1)).all()):
        return None
    found: list[int] = (targets[:, 0] if _is_binary(problem) else targets.argmax(dim=1)).tolist()
    return [int(label) for label in found]


def predictions(problem: Problem) -> list[int] | None:
    """The likeliest class of each labelled sample; None where outputs are no classes."""
    if not _has_classes(problem):
        return None
    logits = problem.labelled_logits
    found: list[int] = (logits[:, 0] > 0 if _is_binary(problem) else logits.argmax(dim=1)).tolist()
    return [int(label) for label in found]


def _has_classes(problem: Problem) -> bool:
    return problem.likelihood.name == "categorical" or _is_binary(problem)


def _is_binary(problem: Problem) -> bool:
    return problem.likelihood.name == "bernoulli" and problem.num_classes == 1
