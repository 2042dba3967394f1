"""``igsref report``: a measurement of a model and data from files, as one HTML file."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import igsref
from igsref.cli.failures import BadInput
from igsref.cli.given import given
from igsref.cli.options import (
    DataName,
    Debug,
    Device,
    FisherData,
    LikelihoodName,
    Logits,
    Memory,
    ModelName,
    Parameters,
    RankBound,
    Weights,
)
from igsref.cli.output import show


def report(
    model: ModelName,
    data: DataName,
    output: Annotated[
        Path, typer.Argument(metavar="OUT.html", help="The file to write; its folder is made.")
    ],
    weights: Weights = None,
    likelihood: LikelihoodName = "categorical",
    parameters: Parameters = None,
    fisher_data: FisherData = None,
    rank_bound: RankBound = None,
    logits: Logits = None,
    device: Device = None,
    memory: Memory = None,
    max_seconds: Annotated[
        float,
        typer.Option(help="Most that the measurement may take, and the same again for layers."),
    ] = 600.0,
    title: Annotated[
        str | None,
        typer.Option(help="Of the page. The model's type and the number of samples unless given."),
    ] = None,
    image_shape: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="Of inputs that are flattened images: 28x28, or 3x32x32. That of the inputs "
            "unless given.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure the IGS and write an HTML page: bracket, saturation, spectrum, samples, layers.

    Example: igsref report nets:lenet digits.npz out.html --weights lenet.safetensors
    """
    with given(
        "report",
        model,
        data,
        weights,
        debug,
        likelihood=likelihood,
        parameters=parameters,
        fisher_data=fisher_data,
        rank_bound=rank_bound,
        logits=logits,
        device=device,
    ) as (module, samples, options):
        result = igsref.write_report(
            module,
            samples,
            output,
            title=title,
            weights=weights,
            image_shape=None if image_shape is None else _shape(image_shape),
            memory=memory,
            max_seconds=max_seconds,
            command=shlex.join(["igsref", *sys.argv[1:]]),
            **options,
        )
        show([str(result), f"wrote {output}"])


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise BadInput(f"--image-shape must be like 28x28 or 3x32x32; got {text!r}") from None
