"""``igsref report``: a measurement of a model and data from files, as one HTML file."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from igsref.cli.failures import BadInput
from igsref.cli.given import (
    DataName,
    Debug,
    Device,
    LikelihoodName,
    Memory,
    ModelName,
    Weights,
    given,
)
from igsref.cli.output import show
from igsref.report import write_report


def report(
    model: ModelName,
    data: DataName,
    output: Annotated[Path, typer.Argument(metavar="OUT.html", help="the file to write")],
    weights: Weights = None,
    likelihood: LikelihoodName = "categorical",
    device: Device = None,
    memory: Memory = None,
    max_seconds: Annotated[float, typer.Option(help="of the measurement, and of layers")] = 600.0,
    title: Annotated[str | None, typer.Option(help="of the page")] = None,
    image_shape: Annotated[
        str | None, typer.Option(help="of inputs that are flattened images: 28x28, or 3x32x32")
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure the IGS and write an HTML page: bracket, saturation, spectrum, samples, layers.

    Example: igsref report nets:lenet digits.npz out.html --weights lenet.safetensors
    """
    with given("report", model, data, weights, debug) as (module, samples):
        result = write_report(
            module,
            samples,
            output,
            title=title,
            image_shape=None if image_shape is None else _shape(image_shape),
            memory=memory,
            max_seconds=max_seconds,
            command=shlex.join(["igsref", *sys.argv[1:]]),
            likelihood=likelihood,
            device=device,
        )
        show([str(result), f"wrote {output}"])


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise BadInput(f"--image-shape must be like 28x28 or 3x32x32; got {text!r}") from None
