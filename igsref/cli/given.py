"""What commands that measure are given: a model and data from files, and where to compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from igsref.cli.datasets import FORMS, load_data
from igsref.cli.failures import one_sentence
from igsref.cli.models import load_model
from igsref.cli.named import FORM, importable

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{FORM} of a torch.nn.Module, or of a function that returns one; found from the "
        "current directory too",
    ),
]
DataName = Annotated[str, typer.Argument(metavar="DATA", help=FORMS)]
Weights = Annotated[
    Path | None, typer.Option(help="the model's weights: .safetensors, or a saved state_dict")
]
LikelihoodName = Annotated[str, typer.Option(help="categorical, bernoulli or gaussian")]
Device = Annotated[str | None, typer.Option(help="where to compute, cuda say")]
Memory = Annotated[int | None, typer.Option(min=1, help="budget in bytes; 2 GiB unless given")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Debug = Annotated[bool, typer.Option(help="show where an error was raised")]


@contextmanager
def given(
    command: str, model: str, data: str, weights: Path | None, debug: bool
) -> Iterator[tuple[nn.Module, Any]]:
    """The model and the data; whatever goes wrong from here on is a sentence."""
    with one_sentence(command, debug), importable(Path.cwd()):
        yield load_model(model, weights), load_data(data)
