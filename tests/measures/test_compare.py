"""Many measures of one network: each as on its own, nothing computed twice, refusals told."""

import io
import json
import sys
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import igsref
from igsref import progress
from igsref.curvature import hessian
from igsref.geometry import access
from igsref.measures import compare as module
from igsref.measures.compare import Comparison, compare, side_by_side
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.registry import MEASURES
from tests.strategies import classes, gaussian, mlp

HELD = ["IGS", "IGS/N", "IGS ceiling", "training loss"]
CHEAP = ["IGS", "IGS/N", "Tr(H)", "λmax(H)", "Fisher–Rao", "gradient norm", "AIC"]


def network(seed: int = 0, activation: type[nn.Module] = nn.ReLU):
    """A 2-3-2 perceptron with more rows than parameters, and its data."""
    return mlp(seed, [2, 3, 2], activation), (gaussian(seed + 1, 24, 2), classes(seed + 2, 24, 2))


def own(compute, name: str = "own") -> Measure:
    return Measure(name=name, source="here", compute=compute)


@pytest.fixture(scope="module")
def everything() -> Comparison:
    return compare(*network(0, nn.Tanh))


def test_every_number_is_what_the_measure_gives_on_its_own():
    model, data = network()
    found = compare(model, data, measures=[*CHEAP, "IGS ceiling", "training loss"])
    for name in CHEAP:
        assert found[name] == MEASURES[name].compute(model, data), name
    result = igsref.exact_igs(model, data)
    assert found["IGS ceiling"].value == result.ceiling
    assert found["training loss"].value == result.loss
    assert found.result is not None
    assert found.result.enclosure == result.enclosure
    assert list(found.measurements) == [*CHEAP, "IGS ceiling", "training loss"]


def test_one_geometry_and_one_hessian_serve_all(monkeypatch):
    counts = {"tall_geometry": 0, "_computed": 0, "exact_igs": 0}

    def count(where, name):
        original = getattr(where, name)

        def counted(*args, **kwargs):
            counts[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(where, name, counted)

    count(access, "tall_geometry")
    count(hessian, "_computed")
    count(module, "exact_igs")
    compare(*network(), measures=["IGS", "IGS/N", "IGS ceiling", "Tr(H)", "λmax(H)", "AIC"])
    assert counts == {"tall_geometry": 1, "_computed": 1, "exact_igs": 1}


def test_no_geometry_is_computed_for_measures_that_need_none(monkeypatch):
    monkeypatch.setattr(module, "as_geometry", lambda *_, **__: pytest.fail("a geometry"))
    found = compare(*network(), measures=["Tr(H)", "AIC"])
    assert found.result is None
    assert set(found.measurements) == {"Tr(H)", "AIC"}


def test_all_measures_are_measured_or_refused_with_a_reason(everything):
    assert set(everything.measurements) | set(everything.refused) == set(MEASURES) | set(HELD)
    assert not set(everything.measurements) & set(everything.refused)
    assert list(everything.measurements)[:4] == HELD
    assert "path_norm needs a network of nn.Linear and nn.ReLU" in everything.refused["path norm"]


def test_a_measure_that_was_asked_for_raises_its_refusal():
    with pytest.raises(ValueError, match="path_norm needs a network"):
        compare(*network(0, nn.Tanh), measures=["AIC", "path norm"])


def test_a_problem_or_a_geometry_stands_for_model_and_data(monkeypatch):
    model, data = network()
    expected = compare(model, data, measures=CHEAP).to_dict()
    problem = igsref.as_problem(model, data)
    assert compare(problem, measures=CHEAP).to_dict() == expected
    geometry = igsref.as_geometry(problem)
    monkeypatch.setattr(access, "tall_geometry", lambda *_: pytest.fail("computed again"))
    assert compare(geometry, measures=CHEAP).to_dict() == expected
    assert compare(geometry, measures=["Tr(H)"]).to_dict() == {"Tr(H)": expected["Tr(H)"]}


def test_options_and_budget_are_passed_on():
    model, data = network()
    found = compare(model, data, measures=["IGS", "AIC"], parameters="0.*")
    assert found["AIC"].value == 9 / 24
    with pytest.raises(MemoryError):
        compare(model, data, measures=["IGS"], memory=1)


def test_a_measure_of_ones_own_takes_its_place_among_the_others():
    found = compare(*network(), measures=["AIC", own(lambda model, data: Measurement(2.5, 0.5))])
    assert list(found.measurements) == ["AIC", "own"]
    assert found["own"] == Measurement(2.5, 0.5)


def test_a_measure_of_ones_own_takes_model_data_and_options_and_may_give_a_plain_number():
    model, data = network()

    def size(module, samples, *, parameters):
        assert module is model
        assert samples is data
        return sum(v.numel() for n, v in module.named_parameters() if n.startswith(parameters[0]))

    found = compare(model, data, measures=[own(size)], parameters="0.*")
    assert found["own"] == Measurement(9.0)


def test_the_measure_itself_is_as_good_as_its_name(monkeypatch):
    calls = []
    exact = module.exact_igs
    monkeypatch.setattr(module, "exact_igs", lambda *given: calls.append(0) or exact(*given))
    monkeypatch.setattr(access, "wide_geometry", lambda *_: pytest.fail("a second one"))
    found = compare(*network(), measures=[MEASURES["IGS"], MEASURES["AIC"], "IGS", "AIC"])
    assert list(found.measurements) == ["IGS", "AIC"]
    assert len(calls) == 1


def test_measures_of_one_name_are_refused():
    twice = [own(lambda model, data: Measurement(1.0)), own(lambda model, data: Measurement(2.0))]
    with pytest.raises(ValueError, match="measures must have different names; got 'own' twice"):
        compare(*network(), measures=twice)


@pytest.mark.parametrize("given", [[], "IGS"])
def test_what_is_no_list_of_measures_is_refused(given):
    with pytest.raises(TypeError, match="measures must be a non-empty list of names or Measures"):
        compare(*network(), measures=given)


def test_a_name_that_there_is_not_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(module, "as_geometry", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(ValueError, match=r"measures must be among \[.*\]; got 'sharpness'"):
        compare(*network(), measures=["IGS", "sharpness"])


def test_dict_and_json_hold_value_uncertainty_and_kind(everything):
    held = everything.to_dict()
    assert set(held) == set(everything.measurements)
    for name, measured in everything.measurements.items():
        assert held[name]["value"] == measured.value
        assert held[name]["uncertainty"] == measured.uncertainty
        assert held[name]["kind"] == measured.kind
    lower, upper = held["IGS"]["bracket"]
    assert lower <= everything["IGS"].value <= upper
    assert json.loads(everything.to_json()) == json.loads(json.dumps(held))


def test_without_pandas_there_is_no_frame(monkeypatch):
    found = compare(*network(), measures=["AIC"])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas"):
        found.to_pandas()


def test_a_frame_has_a_row_a_measure(everything):
    frame = everything.to_pandas()
    assert list(frame.index) == list(everything.measurements)
    assert list(frame.columns)[:3] == ["value", "uncertainty", "kind"]
    assert frame.loc["IGS", "value"] == everything["IGS"].value


def test_two_networks_stand_side_by_side():
    table = side_by_side(
        {
            "relu": Comparison(None, {"A": Measurement(2.0), "B": Measurement(0.5)}, {}),
            "tanh": Comparison(None, {"A": Measurement(3.0, 0.25)}, {"B": "not of this one"}),
        }
    )
    assert table.splitlines() == [
        "measure  relu  tanh",
        "A        2     3 ± 0.2",
        "B        0.5   –",
        "not defined for tanh: B: not of this one",
    ]


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (Measurement(1 / 3), "0.333333"),
        (Measurement(2.0, 0.5, "sampled"), "2 ± 0.5"),
        (Measurement(2.0, 0.5, "maximised"), "2 + 0.5"),
        (Measurement(2.0, 1e-7, "enclosed"), "2"),
        (Measurement(2.0, 1e-5, "enclosed"), "2 ± 1e-05"),
    ],
)
def test_an_uncertainty_is_shown_where_it_reaches_the_digits_shown(measured, shown):
    assert side_by_side({"value": Comparison(None, {"A": measured}, {})}).splitlines()[1] == (
        f"A        {shown}"
    )


def test_a_comparison_prints_as_its_table(everything):
    lines = str(everything).splitlines()
    assert lines[0].split() == ["measure", "value"]
    assert lines[1].startswith("IGS ")
    assert any(line.startswith("not defined") and "path norm" in line for line in lines)


def test_a_notebook_shows_its_table_and_what_is_not_defined(everything):
    page = ElementTree.fromstring(f"<div>{everything._repr_html_()}</div>")
    lines = str(everything).splitlines()
    for name, value in page.iter("tr"):
        (line,) = (each for each in lines if each.startswith(f"{name.text}  "))
        assert line[len(name.text) :].strip() == value.text
    assert len(list(page.iter("tr"))) == len(everything.measurements)
    not_defined = [line for line in lines if line.startswith("not defined")]
    assert [line.text for line in page.iter("p")] == not_defined


def test_columns_are_needed():
    with pytest.raises(ValueError, match="comparisons must hold at least one"):
        side_by_side({})


def test_the_model_is_left_as_it_was():
    model, data = network()
    before = [value.clone() for value in model.parameters()], torch.get_rng_state()
    compare(model, data, measures=CHEAP)
    for value, expected in zip(model.parameters(), before[0], strict=True):
        assert torch.equal(value, expected)
        assert value.grad is None
    assert torch.equal(torch.get_rng_state(), before[1])


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("screen", [Terminal(), io.StringIO()])
def test_progress_is_shown_on_a_terminal_alone(screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "SECONDS_BEFORE_PROGRESS", 0.0)
    compare(*network(), measures=["Frobenius norm", "path norm"])
    assert ("measures" in screen.getvalue()) == screen.isatty()


def test_an_interruption_says_how_many_measures_were_done():
    def stopped(*_):
        raise KeyboardInterrupt

    measures = ["Frobenius norm", own(stopped), "path norm"]
    with pytest.raises(KeyboardInterrupt, match="after 1 of 3 measures; none of them is kept"):
        compare(*network(), measures=measures)
