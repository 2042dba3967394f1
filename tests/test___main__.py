"""The command line starts, and says which package it lacks."""

import subprocess
import sys

import pytest

import igsref
from igsref.__main__ import main


@pytest.mark.long
def test_it_is_the_command_line():
    shown = subprocess.run(
        [sys.executable, "-m", "igsref", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"igsref {igsref.__version__}\n"


def test_a_package_that_is_absent_is_one_sentence(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[:2] == ["igsref", "cli"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "igsref: the command line needs typer: pip install 'igsref[cli]'\n"
    )


def test_a_module_of_our_own_that_is_absent_is_no_such_thing(monkeypatch):
    monkeypatch.setitem(sys.modules, "igsref.cli", None)
    with pytest.raises(ModuleNotFoundError):
        main()
