"""What stands below the figures: for a reader who has this page and nothing else."""

from collections.abc import Sequence

from torch import Tensor

from igsref.measures.result import Result
from igsref.problem import Problem
from igsref.report.classes import ClassShare, hard_labels
from igsref.report.findings import Findings
from igsref.report.layers import LayerBounds
from igsref.report.selection import (
    LEAST_EIGENVALUE,
    LEAST_SCORE,
    drawable,
    least_score,
    shown_classes,
    shown_eigenvalues,
    shown_layers,
    shown_samples,
)


def captions(findings: Findings) -> dict[str, str]:
    """Section → caption, of the sections that have a figure."""
    result = findings.result
    found = {"bracket": of_bracket(result), "samples": of_samples(findings.problem, result)}
    if findings.spectrum is not None:
        found["spectrum"] = of_spectrum(findings.spectrum, result)
    if findings.classes:
        found["classes"] = of_classes(findings.classes, result)
    if findings.layers:
        found["layers"] = of_layers(findings.layers)
    return found


def of_bracket(result: Result) -> str:
    """What is drawn, and how certain the bracket is."""
    certain = "this is proven"
    if result.grade != "verified":
        certain = "as far as an estimate of rounding is right"
    if result.rank_source == "rank_bound":
        certain += f", given that F has rank {result.rank_upper} at most (rank_bound)"
    said = [
        "Bar: the value. Line with ends: the bracket. Dashed: the ceiling, the most that any "
        "network with these inputs, labels and outputs can have. The exact number of these very "
        f"weights and data lies in the bracket: {certain}."
    ]
    if result.standard_error:
        said.append(
            "The value is an estimate from random signs, with a standard error of "
            f"{result.standard_error:.2g}."
        )
    if result.estimated_gap:
        said.append(f"More steps might add {result.estimated_gap:.2g} to it, also an estimate.")
    return " ".join(said)


def of_spectrum(eigenvalues: Tensor, result: Result) -> str:
    """What an eigenvalue is, which are counted, and which are not drawn."""
    count, large = len(eigenvalues), len(drawable(eigenvalues))
    rest = result.num_parameters - count
    which = f"The {count} largest eigenvalues λ of F; the other {rest} are 0."
    said = [
        f"{which if rest else f'All {count} eigenvalues λ of F.'} A step of length ε along an "
        "eigenvector moves the predictions by about ½λε² nats of Kullback–Leibler divergence, in "
        "the mean over the inputs."
    ]
    if large > result.rank:
        said.append(
            f"Blue: the {result.rank} that the numerical rank counts. Grey: further ones, which "
            "rounding does not tell from 0."
        )
    else:
        said.append("All that are drawn count in the numerical rank.")
    if large < count:
        said.append(
            f"Not drawn: {count - large} of at most {LEAST_EIGENVALUE:.0e} of the largest one."
        )
    points = len(shown_eigenvalues(eigenvalues, result.rank)[0])
    said += _thinned(points, large, "eigenvalues", "first and the last")
    return " ".join([*said, "Eigenvalues change with the parametrisation; the IGS does not."])


def of_samples(problem: Problem, result: Result) -> str:
    """What a score and its ceiling are, and how many points are drawn."""
    dot, mean, by_loss = "a sample's score", "the IGS", ""
    if result.history:
        dot, mean = "the lower end of a sample's score", "the lower end of the IGS"
    if hard_labels(problem) is not None:
        by_loss = (
            f", {result.pool_size} · expm1(loss) over the number of times that its input occurs"
        )
    said = [
        f"Dot: {dot}, its term g F⁺ gᵀ in the sum above, without a unit; their mean is {mean}. "
        f"Cross: the sample's ceiling{by_loss}. Where the two meet, the loss alone explains the "
        "score."
    ]
    if tiny := int((result.per_sample <= least_score(result)).sum()):
        said.append(
            f"Not drawn: scores of at most {LEAST_SCORE:.0e} of the largest ceiling, here {tiny}."
        )
    points = len(shown_samples(result)[0])
    return " ".join(
        said + _thinned(points, result.num_samples, "samples", "least and the greatest")
    )


def _thinned(points: int, count: int, things: str, which: str) -> list[str]:
    if points == count:
        return []
    return [
        f"Of {count} {things} {points} have a point: the {which} in every narrow part of the axis."
    ]


def of_classes(shares: Sequence[ClassShare], result: Result) -> str:
    """What each mark is a share of, why a bar may pass its tick, and how many are shown."""
    whole = "the lower end of the IGS" if result.history else "the IGS"
    said = [
        f"Bar: the share of {whole} that the samples with this label carry. Tick: their share of "
        "the ceiling. Circle: their share of the samples. Each kind adds up to 100% over all "
        "classes, so a bar may pass its tick: that class comes closer to its own ceiling than the "
        "samples do as a whole, and no class exceeds its own."
    ]
    shown = len(shown_classes(shares))
    said += _chosen(shown, len(shares), "classes", f"those with the largest shares of {whole}")
    return " ".join(said)


def of_layers(bounds: Sequence[LayerBounds]) -> str:
    """What each bar is a bound of, and how many layers are shown."""
    said = [
        "Both bars are lower bounds, as certain as the bracket above, in percent of the IGS "
        "(dotted: 100%). Blue: of the IGS with this layer's parameters alone, all others held "
        "fixed. Orange: of the IGS with all parameters but this layer's. Parameters can only add, "
        "so that what the orange bar lacks of 100% is lost without the layer, or not decided; "
        "layers overlap, and their bars do not add up."
    ]
    shown = len(shown_layers(bounds))
    said += _chosen(shown, len(bounds), "layers", "those without which least is left")
    return " ".join(said)


def _chosen(shown: int, count: int, things: str, which: str) -> list[str]:
    return [f"Shown are {shown} of {count} {things}, {which}."] if shown < count else []


def of_criterion(result: Result) -> str:
    """What the IGS over a number of samples estimates, where it estimates anything."""
    if result.pool_size != result.num_samples:
        return (
            "With a pool IGS / N is left out: as an estimate of the generalisation gap the IGS is "
            "divided by the number of samples that the model was fitted to, which this page does "
            "not know."
        )
    if result.num_samples <= result.num_parameters:
        return (
            "IGS / N is no estimate of the generalisation gap here: that takes many more samples "
            f"than the {result.num_parameters} parameters."
        )
    return (
        "IGS / N estimates by how many nats the loss on new samples exceeds the training loss, if "
        f"the model is at a minimum of the loss of these samples, {result.num_samples} is many for "
        f"{result.num_parameters} parameters, and F is the Hessian there."
    )
