"""A folder with a user's module, which commands are run in."""

import sys

import pytest

from tests.cli.nets import SOURCE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, where nets.py lies and can be imported from."""
    (tmp_path / "nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("nets", None)
