"""An error is a sentence and an exit code; with debug it is itself."""

import os
import signal
import threading
import warnings

import pytest
import torch
import typer
from safetensors import SafetensorError
from typer.testing import CliRunner

from igsref.cli.failures import (
    BAD_INPUT,
    INTERRUPTED,
    NOT_COMPUTED,
    TERMINATED,
    BadInput,
    one_sentence,
)
from igsref.files import replacing


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (BadInput("x is\n  wrong"), "x is wrong", BAD_INPUT),
        (TypeError("model must be"), "model must be", BAD_INPUT),
        (FileNotFoundError(2, "No such file", "a"), "a: No such file", BAD_INPUT),
        (OSError(28, "No space left"), "No space left", BAD_INPUT),
        (SafetensorError("No space left"), "SafetensorError: No space left", BAD_INPUT),
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
    assert captured.err == f"igsref plan: {said}\n"


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(tmp_path, capsys):
    path = tmp_path / "out.html"
    with (
        pytest.raises(typer.Exit),
        one_sentence("report", debug=False),
        replacing(path) as temporary,
    ):
        temporary.mkdir()
        try:
            temporary.write_text("")
        finally:
            temporary.rmdir()
    assert capsys.readouterr().err == f"igsref report: {path}: {os.strerror(21)}\n"


def test_debug_leaves_the_error():
    with pytest.raises(BadInput), one_sentence("plan", debug=True):
        raise BadInput("x")


def test_a_mistake_of_igsref_is_no_bad_input():
    with pytest.raises(AssertionError), one_sentence("plan", debug=False):
        raise AssertionError("this cannot be")


def test_a_warning_is_a_sentence(capsys):
    shown = warnings.showwarning
    with one_sentence("plan", debug=False):
        warnings.simplefilter("always")
        warnings.warn("so\n  many digits", stacklevel=1)
    assert capsys.readouterr().err == "igsref plan: warning: so many digits\n"
    assert warnings.showwarning is shown


@pytest.mark.parametrize("debug", [False, True])
def test_sigterm_cleans_up_as_ctrl_c_does_and_has_its_own_code(tmp_path, debug, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(typer.Exit) as ended,
        one_sentence("report", debug=debug),
        replacing(tmp_path / "out.html") as temporary,
    ):
        temporary.touch()
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.exit_code == TERMINATED
    assert capsys.readouterr().err == "igsref report: terminated\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_is_terminated_exits_with_143():
    app = typer.Typer()

    @app.command()
    def wait():
        with one_sentence("wait", debug=False):
            signal.raise_signal(signal.SIGTERM)

    ended = CliRunner().invoke(app)
    assert (ended.exit_code, ended.stderr) == (143, "igsref wait: terminated\n")


def test_another_thread_takes_no_signals():
    said = []

    def work():
        with one_sentence("plan", debug=False):
            said.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == ["done"]
