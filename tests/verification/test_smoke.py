"""The smoke test passes for a library that is whole, and says what is wrong with another."""

import dataclasses
from pathlib import Path

import pytest

import igsref
import igsref.vectors
from igsref.exact.decimals import Decimals
from verification import smoke

ELSEWHERE = Path("/nowhere")


@pytest.fixture
def few(monkeypatch):
    """The two smallest of the reference networks, and none of the extras looked for."""
    decided = [v for v in igsref.vectors.load() if v.expected.rank is not None]
    vectors = sorted(decided, key=lambda v: v.inputs.numel())[:2]
    monkeypatch.setattr(igsref.vectors, "load", lambda: vectors)
    monkeypatch.setattr(smoke, "EXTRAS", ())
    monkeypatch.setattr(smoke, "LARGEST", 10_000)
    return vectors


def test_a_whole_library_has_no_fault(few):
    assert smoke.faults(ELSEWHERE) == []


def test_the_checkout_itself_is_one(few):
    (fault,) = smoke.faults()
    assert "imported from the checkout" in fault


def test_a_value_outside_its_interval_is_one(few, monkeypatch):
    first, *rest = few
    value = str(float(first.expected.igs) * (1 + 1e-6))
    wrong = dataclasses.replace(first.expected, igs=Decimals(value, value))
    vectors = [dataclasses.replace(first, expected=wrong), *rest]
    monkeypatch.setattr(igsref.vectors, "load", lambda: vectors)
    (fault,) = smoke.faults(ELSEWHERE)
    assert fault.startswith(first.name)


def test_missing_files_other_versions_and_loaded_extras_are_some(few, monkeypatch):
    monkeypatch.setattr(igsref.vectors, "load", lambda: [])
    monkeypatch.setattr(smoke, "version", lambda name: "0")
    monkeypatch.setattr(smoke, "EXTRAS", ("pytest",))
    assert len(smoke.faults(ELSEWHERE)) == 3


def test_it_ends_with_1_where_something_is_wrong(few, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        smoke.main()
    assert ended.value.code == 1
    assert "1 faults" in capsys.readouterr().out
