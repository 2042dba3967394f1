"""``igsref plan``, ``measure``, ``compare`` and ``certify``: a model and data from files."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import igsref
from igsref.cli.given import (
    AsJson,
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


def plan(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    likelihood: LikelihoodName = "categorical",
    device: Device = None,
    memory: Memory = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what an exact measurement would take, before it runs.

    Example: igsref plan nets:lenet digits.npz --weights lenet.safetensors
    """
    with given("plan", model, data, weights, debug) as (module, samples):
        found = igsref.plan(module, samples, memory=memory, likelihood=likelihood, device=device)
        show([json.dumps(asdict(found) | {"fits": found.fits}) if as_json else str(found)])


def measure(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    likelihood: LikelihoodName = "categorical",
    device: Device = None,
    memory: Memory = None,
    max_seconds: Annotated[float, typer.Option(help="of the exact routes, and of steps")] = 600.0,
    tolerance: Annotated[float, typer.Option(help="of an estimate, relative")] = 1e-2,
    seed: Annotated[int, typer.Option(min=0, help="of random columns and probes")] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="file that a long run is kept in, and goes on from")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure the IGS, by the most exact route that fits memory and time.

    Example: igsref measure nets:lenet digits.npz --weights lenet.safetensors --json
    """
    with given("measure", model, data, weights, debug) as (module, samples):
        found = igsref.igs(
            module,
            samples,
            memory=memory,
            max_seconds=max_seconds,
            tolerance=tolerance,
            seed=seed,
            checkpoint=checkpoint,
            likelihood=likelihood,
            device=device,
        )
        show([found.to_json() if as_json else str(found)])


def compare(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="a measure by its name; several times for several")
    ] = None,
    likelihood: LikelihoodName = "categorical",
    device: Device = None,
    memory: Memory = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure the IGS and the baselines of the literature side by side.

    Example: igsref compare nets:lenet digits.npz --measure IGS --measure "Tr(H)"
    """
    with given("compare", model, data, weights, debug) as (module, samples):
        found = igsref.compare(
            module,
            samples,
            measures=measure or None,
            memory=memory,
            likelihood=likelihood,
            device=device,
        )
        show([found.to_json() if as_json else str(found)])


def certify(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    digits: Annotated[int, typer.Option(min=1, help="that are to be proven")] = 25,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Prove digits of the IGS of a small network, by exact arithmetic.

    Example: igsref certify nets:tiny points.npz --digits 30
    """
    with given("certify", model, data, weights, debug) as (module, samples):
        found = igsref.certify(module, samples, digits=digits)
        numbers = {
            "lower": found.lower,
            "upper": found.upper,
            "ceiling": found.ceiling,
            "rank": found.rank,
            "digits": found.digits,
        }
        show([json.dumps(numbers) if as_json else str(found)])
