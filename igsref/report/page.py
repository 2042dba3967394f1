"""One self-contained HTML file of a measurement; nothing in it is loaded from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Unpack

import jinja2

from igsref.files import check_writable, replacing
from igsref.geometry.checkpoint import problem_fingerprint
from igsref.measures.result import Result
from igsref.problem import ProblemOptions, as_problem
from igsref.report.captions import captions, of_criterion
from igsref.report.classes import hard_labels, predictions
from igsref.report.environment import in_words, machine, versions
from igsref.report.findings import Findings, find
from igsref.report.heading import heading, model_name
from igsref.report.sentences import (
    advice,
    rank_source,
    saturation_in_short,
    saturation_sentences,
)

HEAVIEST = 12
_SECONDS = 600.0
_MISSING = "a report needs matplotlib for its figures: pip install 'igsref[plots]'"


def write_report(
    model: Any,
    data: Any,
    path: str | PathLike[str],
    *,
    title: str | None = None,
    weights: str | PathLike[str] | None = None,
    image_shape: tuple[int, ...] | None = None,
    memory: int | None = None,
    max_seconds: float = _SECONDS,
    command: str | None = None,
    **options: Unpack[ProblemOptions],
) -> Result:
    """Measure the IGS and write what was found as one HTML file, which needs no network.

    Value, bracket and ceiling; what the saturation means here; the spectrum of F; the heaviest
    samples, as pictures where inputs are images; the shares of classes and layers; the textbook
    formula beside it; versions and a command. What does not fit is left out, with a word.

    path: of the file, written under another name and then renamed; its folder is made. Where a
        symbolic link leads to it, the link stays.
    title: the model's type and the number of samples unless given.
    weights: the file that the model's weights came from, to be named in the page; it is not read.
    image_shape: (height, width) or (channels, height, width) of inputs that are flattened images;
        inputs (N, 1 or 3, height, width) are shown without it.
    memory, max_seconds: budget in bytes, and seconds, of the measurement as for ``igsref.igs``, and
        the same seconds again for the layers.
    command: how to make the file again; the call in Python unless given.
    options: as for :func:`igsref.as_problem`.

    Returns the result of :func:`igsref.igs`.
    Raises ImportError without matplotlib, ValueError or TypeError that names the argument, OSError
    where the file cannot be written, and as ``igsref.igs``, before anything is written.

    >>> import tempfile, torch
    >>> data = torch.eye(2), torch.tensor([0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = write_report(torch.nn.Linear(2, 3), data, f"{folder}/out.html")
    >>> result.saturated
    True
    """
    try:
        from igsref.report import thumbnails
    except ImportError as error:
        raise ImportError(_MISSING) from error
    target = Path(path)
    check_writable(target)
    problem = as_problem(model, data, **options)
    thumbnails.thumbnails(problem, [0], image_shape)  # a wrong shape is said before any long work
    given: dict[str, Any] = {"memory": memory, "image_shape": image_shape, "title": title}
    given["weights"] = None if weights is None else fspath(weights)
    if max_seconds != _SECONDS:
        given["max_seconds"] = max_seconds
    findings = find(problem, memory, max_seconds)
    text = page(
        findings,
        title or f"{model_name(problem)}, {problem.num_samples} samples",
        command or _call(target, given, options),
        image_shape,
        weights,
    )
    with replacing(target) as temporary:
        temporary.write_text(text, "utf-8")
    return findings.result


def page(
    findings: Findings,
    title: str,
    command: str,
    image_shape: tuple[int, ...] | None = None,
    weights: str | PathLike[str] | None = None,
) -> str:
    """The HTML of what was found. Raises ValueError for an image_shape that inputs do not have."""
    from igsref.report.pictures import drawn
    from igsref.report.thumbnails import SIDE

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("igsref.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    result, problem = findings.result, findings.problem
    return environment.get_template("page.html.jinja").render(
        title=title,
        command=command,
        heading=heading(problem, result, datetime.now(UTC), weights),
        findings=findings,
        result=result,
        saturation=saturation_in_short(result),
        sentences=saturation_sentences(result),
        advice=advice(problem, result),
        rank_source=rank_source(result),
        criterion=of_criterion(result),
        figures=drawn(findings),
        captions=captions(findings),
        bracket=_ends(result),
        samples=_heaviest(findings, image_shape),
        side=SIDE,
        fingerprint=problem_fingerprint(problem),
        environment=versions() | in_words(machine()),
    )


@dataclass(frozen=True)
class Sample:
    """A row of the table of heaviest samples; image: an address, or nothing."""

    number: int
    image: str
    label: str
    prediction: str
    loss: float
    score: float
    ceiling: float
    share: float


def _heaviest(findings: Findings, image_shape: tuple[int, ...] | None) -> list[Sample]:
    from igsref.report.thumbnails import thumbnails

    problem, result = findings.problem, findings.result
    heaviest = result.heaviest(HEAVIEST)
    images = thumbnails(problem, [number for number, _ in heaviest], image_shape)
    labels, predicted = hard_labels(problem), predictions(problem)
    losses = problem.likelihood.loss(problem.labelled_logits, problem.targets)
    return [
        Sample(
            number,
            images[place] if images else "",
            "–" if labels is None else str(labels[number]),
            "–" if predicted is None else str(predicted[number]),
            float(losses[number]),
            float(result.per_sample[number]),
            float(result.sample_ceiling[number]),
            share,
        )
        for place, (number, share) in enumerate(heaviest)
    ]


def _ends(result: Result) -> tuple[str, str]:
    """Both ends of the bracket, in as many digits as tell them apart, 8 or more."""
    for digits in range(8, 17):
        ends = f"{result.lower:.{digits}g}", f"{result.upper:.{digits}g}"
        if ends[0] != ends[1]:
            return ends
    return repr(result.lower), repr(result.upper)


def _call(path: Path, given: Mapping[str, Any], options: ProblemOptions) -> str:
    """The call in Python, with what was given; of options that are long, the name."""
    named = [
        f"{name}={value!r}" if isinstance(value, str | int | float | tuple) else f"{name}=…"
        for name, value in {**given, **options}.items()
        if value is not None
    ]
    return f"igsref.write_report({', '.join(['model', 'data', repr(str(path)), *named])})"
