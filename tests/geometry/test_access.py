"""One door to the geometry."""

import pytest

import igsref
from tests.strategies import architecture


def test_a_geometry_serves_without_being_computed_again(monkeypatch):
    model, x, y = architecture("MLP with relu", 0, 6)
    geometry = igsref.as_geometry(model, (x, y))
    monkeypatch.setattr("igsref.geometry.access.wide_geometry", lambda *_, **__: pytest.fail())
    assert igsref.as_geometry(geometry) is geometry
    assert igsref.exact_igs(geometry).value > 0


def test_problem_and_pair_give_the_same_result():
    model, x, y = architecture("MLP with relu", 0, 6)
    assert igsref.exact_igs(igsref.as_problem(model, (x, y))) == igsref.exact_igs(model, (x, y))


def test_options_beside_a_geometry_are_refused():
    model, x, y = architecture("MLP with relu", 0, 6)
    geometry = igsref.as_geometry(model, (x, y))
    with pytest.raises(TypeError, match="already holds its data"):
        igsref.exact_igs(geometry, (x, y))
    with pytest.raises(TypeError, match="already holds its data"):
        igsref.exact_igs(igsref.as_problem(model, (x, y)), likelihood="gaussian")


def test_missing_data_is_named():
    model, _, _ = architecture("MLP with relu", 0, 6)
    with pytest.raises(TypeError, match="data is missing"):
        igsref.exact_igs(model)
