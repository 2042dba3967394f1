"""An error is a sentence and an exit code; with debug it is itself."""

import pytest
import torch
import typer

from igsref.cli.failures import BAD_INPUT, INTERRUPTED, NOT_COMPUTED, BadInput, one_sentence


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (BadInput("x is\n  wrong"), "x is wrong", BAD_INPUT),
        (TypeError("model must be"), "model must be", BAD_INPUT),
        (FileNotFoundError(2, "No such file", "a"), "FileNotFoundError: [Errno 2]", BAD_INPUT),
        (RuntimeError("shapes"), "RuntimeError: shapes", BAD_INPUT),
        (RuntimeError(), "RuntimeError", BAD_INPUT),
        (MemoryError("needs 5 GiB"), "needs 5 GiB", NOT_COMPUTED),
        (ArithmeticError("25 digits"), "25 digits", NOT_COMPUTED),
        (torch.OutOfMemoryError("CUDA is full"), "OutOfMemoryError: CUDA is full", NOT_COMPUTED),
        (OSError("path must name a file"), "path must name a file", BAD_INPUT),
        (KeyboardInterrupt(), "interrupted", INTERRUPTED),
        (KeyboardInterrupt("after 3 steps"), "after 3 steps", INTERRUPTED),
    ],
)
def test_an_error_ends_in_a_sentence_and_a_code(error, said, code, capsys):
    with pytest.raises(typer.Exit) as ended, one_sentence("plan", debug=False):
        raise error
    assert ended.value.exit_code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"igsref plan: {said}")
    assert captured.err.count("\n") == 1


def test_debug_leaves_the_error():
    with pytest.raises(BadInput), one_sentence("plan", debug=True):
        raise BadInput("x")


def test_a_mistake_of_igsref_is_no_bad_input():
    with pytest.raises(AssertionError), one_sentence("plan", debug=False):
        raise AssertionError("this cannot be")
