"""What commands that measure are given: a model and data from files, and what is said of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from igsref.cli.failures import one_sentence
from igsref.cli.output import remark


@contextmanager
def given(
    command: str,
    model: str,
    data: str,
    weights: Path | None,
    debug: bool,
    *,
    fisher_data: str | None = None,
    logits: str | None = None,
    parameters: list[str] | None = None,
    **options: Any,
) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """The model, the data, and the options of a problem; what goes wrong inside is a sentence.

    fisher_data, logits, parameters: as they were said; other options go on as they are.
    """
    with one_sentence(command, debug):
        # These take torch, which --help does without.
        from igsref.cli.datasets import check_keywords, load_data, load_inputs
        from igsref.cli.models import load_model
        from igsref.cli.named import importable

        remarks: list[str] = []
        with importable(Path.cwd()):
            with redirect_stdout(sys.stderr):  # what a user's module prints is no result
                module = load_model(model, weights, remarks.append)
                samples = load_data(data)
                options["fisher_data"] = None if fisher_data is None else load_inputs(fisher_data)
            check_keywords(module, samples, data)
            options["logits"] = _picked(logits)
            options["parameters"] = parameters or None
            for sentence in remarks:
                remark(command, sentence)
            yield module, samples, options


def _picked(logits: str | None) -> str | int | None:
    """An index where it is a number."""
    return int(logits) if logits is not None and logits.lstrip("-").isdecimal() else logits
