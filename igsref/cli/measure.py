"""``igsref plan``, ``measure``, ``compare`` and ``certify``: a model and data from files."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import igsref
from igsref.cli.failures import BadInput
from igsref.cli.given import given
from igsref.cli.options import (
    AsJson,
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
from igsref.files import check_writable


def plan(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    likelihood: LikelihoodName = "categorical",
    parameters: Parameters = None,
    fisher_data: FisherData = None,
    rank_bound: RankBound = None,
    logits: Logits = None,
    device: Device = None,
    memory: Memory = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what an exact measurement would take, before it runs.

    Example: igsref plan nets:lenet digits.npz --weights lenet.safetensors
    """
    with given(
        "plan",
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
        found = igsref.plan(module, samples, memory=memory, **options)
        show([json.dumps(asdict(found) | {"fits": found.fits}) if as_json else str(found)])


def measure(
    model: ModelName,
    data: DataName,
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
        typer.Option(help="Most that an exact route is predicted to take, or that steps may."),
    ] = 600.0,
    tolerance: Annotated[
        float, typer.Option(help="Relative, of an estimate by steps, where no exact route fits.")
    ] = 1e-2,
    heaviest: Annotated[
        int, typer.Option(help="Samples that steps treat one by one, those of the largest share.")
    ] = 10,
    probes: Annotated[int, typer.Option(help="Random vectors for the rest of the samples.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of random columns and probes.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File that steps are kept in, and go on from; its folder is made. None unless "
            "given."
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure the IGS, by the most exact route that fits memory and time.

    Example: igsref measure nets:lenet digits.npz --weights lenet.safetensors --json
    """
    with given(
        "measure",
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
        if checkpoint is not None:
            _check_checkpoint(checkpoint)
        found = igsref.igs(
            module,
            samples,
            memory=memory,
            max_seconds=max_seconds,
            tolerance=tolerance,
            heaviest=heaviest,
            probes=probes,
            seed=seed,
            checkpoint=checkpoint,
            **options,
        )
        show([found.to_json() if as_json else str(found)])


def _check_checkpoint(path: Path) -> None:
    """Said before long work, rather than after its first steps; its folder is made."""
    try:
        check_writable(path)
    except OSError as error:
        raise BadInput(f"--checkpoint{str(error).removeprefix('path')}") from error


def compare(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help='A measure by its name, "Tr(H)" say; several times for several. All of them '
            "unless given.",
        ),
    ] = None,
    likelihood: LikelihoodName = "categorical",
    parameters: Parameters = None,
    fisher_data: FisherData = None,
    rank_bound: RankBound = None,
    logits: Logits = None,
    device: Device = None,
    memory: Memory = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure the IGS and the baselines of the literature side by side.

    Example: igsref compare nets:lenet digits.npz --measure IGS --measure "Tr(H)"
    """
    with given(
        "compare",
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
        found = igsref.compare(module, samples, measures=measure or None, memory=memory, **options)
        show([found.to_json() if as_json else str(found)])


def certify(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    digits: Annotated[int, typer.Option(min=1, help="Decimal digits that are to be proven.")] = 25,
    likelihood: LikelihoodName = "categorical",
    parameters: Parameters = None,
    fisher_data: FisherData = None,
    rank_bound: RankBound = None,
    logits: Logits = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Prove digits of the IGS of a small network, by exact arithmetic.

    Example: igsref certify nets:tiny points.npz --digits 30
    """
    with given(
        "certify",
        model,
        data,
        weights,
        debug,
        likelihood=likelihood,
        parameters=parameters,
        fisher_data=fisher_data,
        rank_bound=rank_bound,
        logits=logits,
    ) as (module, samples, options):
        found = igsref.certify(module, samples, digits=digits, **options)
        numbers = {
            "lower": found.lower,
            "upper": found.upper,
            "ceiling": found.ceiling,
            "rank": found.rank,
            "digits": found.digits,
        }
        show([json.dumps(numbers) if as_json else str(found)])
