"""Every measure is found under its name, and returns what a measure returns."""

import pytest

import igsref
from igsref.measures.measurement import INVARIANCES, Measure, Measurement
from igsref.measures.registry import CRITERIA, IGS, MEASURES, SHARPNESS, find_measure, igs, igs_of
from tests.strategies import architecture


def test_names_are_those_of_the_measures_and_of_one_table_only():
    assert MEASURES == SHARPNESS | CRITERIA
    assert not set(SHARPNESS) & set(CRITERIA)
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.source
        assert measure.promised <= set(INVARIANCES)


def test_every_public_measure_of_the_library_is_in_the_table():
    functions = {measure.compute.__name__ for measure in MEASURES.values()} - {"igs"}
    assert functions <= set(igsref.__all__)
    named = [
        n for n in igsref.__all__ if n.endswith(("_sharpness", "_flatness", "_norm", "_trace"))
    ]
    # An estimate of F's trace or H's, with a standard error: no measure of the table.
    assert set(named) - {"curvature_trace"} <= functions


def test_igs_alone_of_the_measures_of_sharpness_promises_everything():
    assert [m.name for m in SHARPNESS.values() if m.promised == set(INVARIANCES)] == ["IGS"]
    assert find_measure("TIC").promised == frozenset()


def test_igs_is_the_value_of_the_result_with_the_wider_side_of_its_bracket():
    model, x, y = architecture("MLP with relu", 0, 6)
    result = igsref.exact_igs(model, (x, y))
    found = igs(model, (x, y))
    assert found == igs_of(result) == IGS.compute(igsref.as_geometry(model, (x, y)))
    assert (found.value, found.kind) == (result.value, "enclosed")
    assert found.value - found.uncertainty <= result.lower
    assert result.upper <= found.value + found.uncertainty
    assert found.uncertainty <= result.upper - result.lower


def test_names_and_measures_are_found():
    own = Measure(name="own", source="here", compute=lambda model, data: Measurement(1.0))
    assert find_measure("Tr(H)") is MEASURES["Tr(H)"]
    assert find_measure(own) is own


def test_a_name_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(
        ValueError, match=r"measures must be among \['AIC', .*'λmax\(H\)'\]; got 'x'"
    ):
        find_measure("x")


def test_a_name_with_a_slip_is_told_what_may_be_meant():
    with pytest.raises(ValueError, match=r"got 'Fisher-Rao' \(did you mean 'Fisher–Rao'\?\)"):
        find_measure("Fisher-Rao")


def test_what_is_neither_name_nor_measure_is_refused():
    with pytest.raises(TypeError):
        find_measure(3)
