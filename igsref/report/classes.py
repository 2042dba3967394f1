"""Where the sharpness sits by class: of the samples with each label, their share of the IGS."""

from dataclasses import dataclass

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
    parts = result.per_sample, result.sample_ceiling
    shares, ceilings = (part / part.sum().clamp(min=1e-300) for part in parts)
    return tuple(
        ClassShare(
            label,
            labels.count(label),
            *(
                float(part[[i for i, own in enumerate(labels) if own == label]].sum())
                for part in (shares, ceilings)
            ),
        )
        for label in sorted(set(labels))
    )


def hard_labels(problem: Problem) -> list[int] | None:
    """The class of each labelled sample; None where labels are probabilities or real numbers."""
    targets = problem.targets
    if problem.likelihood.name == "categorical" and bool(((targets == 0) | (targets == 1)).all()):
        found: list[int] = targets.argmax(dim=1).tolist()
        return found
    return None
