"""What the scripts of a figure are asked for, --output, --seed and --samples, and how they save it.

A mistake in an option ends the script, before any work, with a line that names the option.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import matplotlib
from matplotlib.figure import Figure

Outcome = TypeVar("Outcome")

STYLE = {
    "font.size": 8,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
}


def arguments(
    argv: Sequence[str] | None,
    *,
    description: str,
    output: str,
    samples: int,
    fewest: int,
    why: str,
) -> argparse.Namespace:
    """The options output (a folder, made if need be), seed and samples.

    output, samples: their defaults. fewest: the least of samples that does, and why it is that.
    """

    def sample_count(text: str) -> int:
        value = whole_number(text)
        if value < fewest:
            raise argparse.ArgumentTypeError(f"must be at least {fewest}: {why}; got {value}")
        return value

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=Path(output), help="folder (%(default)s)")
    parser.add_argument("--seed", type=whole_number, default=0, help="of data and θ (%(default)s)")
    parser.add_argument("--samples", type=sample_count, default=samples, help="N (%(default)s)")
    options = parser.parse_args(argv)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output must name a folder that can be made or written to: {error}")
    return options


def whole_number(text: str) -> int:
    """Of a size that a torch.Generator takes for its seed."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^63 − 1; got {value}")
    return value


def save_figure(draw: Callable[[Outcome], Figure], outcome: Outcome, path: Path) -> list[Path]:
    """PNG and PDF of draw(outcome), with no date in them: the same run writes the same bytes.

    path: where, without a suffix. Returns the two files.
    """
    png, pdf = path.with_suffix(".png"), path.with_suffix(".pdf")
    with matplotlib.rc_context(STYLE):
        figure = draw(outcome)
        figure.savefig(png, dpi=200)
        figure.savefig(pdf, metadata={"CreationDate": None})
    return [png, pdf]
