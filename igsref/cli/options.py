"""The words that commands share, and what they mean. Nothing here takes torch to import."""

from pathlib import Path
from typing import Annotated

import typer

FORM = "PACKAGE.MODULE:NAME"
"""Of what a user's module holds."""

FORMS = (
    "a .npz or .safetensors file with x and y, an IDX file of images, a folder of images by class, "
    f"or {FORM}"
)
"""Of data."""

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{FORM} of a torch.nn.Module, or of a function that returns one; found from the "
        "current directory too.",
    ),
]
DataName = Annotated[
    str, typer.Argument(metavar="DATA", help=f"{FORMS[0].upper()}{FORMS[1:]} of them.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="File of the model's weights: .safetensors, or a state_dict that torch.save wrote. "
        "Those that MODEL makes unless given."
    ),
]
LikelihoodName = Annotated[
    str,
    typer.Option(
        help="What the outputs mean: categorical (softmax), bernoulli (sigmoid) or gaussian "
        "(square loss, unit variance)."
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Name of the parameters that are measured, or a pattern as '2.*', a lower bound of "
        "the whole network's IGS; several times for several. All trainable ones unless given.",
    ),
]
FisherData = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Further inputs that the Fisher matrix is a mean over, in the forms of DATA; they "
        "need no labels. Those of DATA alone unless given.",
    ),
]
RankBound = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="A number that you know the rank of the Fisher matrix not to exceed. What the "
        "network's structure shows unless given.",
    ),
]
Logits = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Key, attribute or index of the logits in what the model returns. Its output, or "
        "the attribute logits of that, unless given.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where to compute, cuda say. Where the model and the data are unless given."),
]
Memory = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="BYTES",
        help="Most that a computation may hold, in bytes. 2 GiB unless given, or what is free if "
        "that is less.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show where an error was raised, instead of a sentence.")
]
