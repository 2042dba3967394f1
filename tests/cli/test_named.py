"""A name leads to what a module holds, or to a sentence that says what was tried."""

import sys

import pytest

from igsref.cli.named import NothingNamed, importable, named, named_function


def test_a_module_of_a_folder_comes_before_all_others_and_the_path_stays(tmp_path):
    (tmp_path / "torch_of_mine.py").write_text("number = 3\n")
    before = list(sys.path)
    with importable(tmp_path):
        assert sys.path[0] == str(tmp_path)
        assert named("torch_of_mine:number") == 3
    assert sys.path == before
    del sys.modules["torch_of_mine"]


def test_the_path_stays_after_an_error(tmp_path):
    before = list(sys.path)
    with pytest.raises(RuntimeError), importable(tmp_path):
        raise RuntimeError
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nets", r"must be of the form PACKAGE\.MODULE:NAME; got 'nets'"),
        (":small", "must be of the form"),
        ("nets:", "must be of the form"),
        ("not_there:small", "could not import 'not_there'"),
        ("nets:left", "it has no 'left'"),
        ("./nets:small", "In that file's directory it is nets:small"),
        ("nets.py:small", "a module as it is imported and no path"),
        (r"a\nets.py:small", "it is nets:small"),
    ],
)
def test_a_name_that_leads_nowhere_says_why(folder, text, message):
    with pytest.raises(NothingNamed, match=message):
        named(text)


def test_a_function_must_be_one(folder):
    assert named_function("nets:seven")() == 7
    with pytest.raises(NothingNamed, match="nets:number must be a function; got int 3"):
        named_function("nets:number")
