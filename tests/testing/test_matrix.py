"""Ratios after/before, beside what is promised; reasons where there are none."""

import json
import math

import pytest
import torch

import igsref
from igsref.measures.measurement import Measure, Measurement
from igsref.testing import TRANSFORMATIONS, Cell, Row, cell, draw_pairs, matrix_text, row
from igsref.testing.matrix import as_records


def measure(compute, promised=()) -> Measure:
    return Measure(name="own", source="here", compute=compute, promised=frozenset(promised))


def loss(model, data) -> float:
    return float(torch.nn.functional.cross_entropy(model(data[0]), data[1]).detach())


def numbers(*values):
    """A measure that says these one after the other."""
    following = iter(values)
    return measure(lambda model, data: next(following))


def pairs(count: int):
    return draw_pairs("permutation", count, 0, families=["tanh perceptron"])


def test_a_cell_holds_the_median_and_the_worst_ratio():
    # Two transformations of each network: before, after, after, before, after, after.
    found = cell(numbers(2.0, 2.0, 4.0, 1.0, 0.125, 1.0), "permutation", pairs(4))
    assert (found.median, found.worst, found.count) == (1.0, 0.125, 4)
    assert (found.measure, found.transformation) == ("own", "permutation")


@pytest.mark.parametrize(
    ("before", "after", "ratio"), [(0.0, 0.0, 1.0), (0.0, 2.0, math.inf), (-2.0, 2.0, -1.0)]
)
def test_zeros_and_changes_of_sign_are_worst_of_all(before, after, ratio):
    found = cell(numbers(before, after, before, 1.0, 1e9), "permutation", pairs(1))
    assert found.worst == ratio
    mixed = cell(numbers(before, after, after, 1.0, 1e9), "permutation", pairs(3))
    assert mixed.worst == (ratio if ratio != 1.0 else 1e9)


@pytest.mark.parametrize("promised", [(), ("permutation",)])
def test_a_promise_is_one_of_the_kind_of_the_transformation(promised):
    found = cell(measure(loss, promised), "permutation", pairs(1))
    assert found.promised == bool(promised)
    scaled = draw_pairs("node scaling by powers of two", 1, 0)
    both = cell(measure(loss, ("node scaling",)), "node scaling by powers of two", scaled)
    assert both.promised


def test_a_refusal_is_kept_with_its_reason_and_no_number():
    def refuse(model, data):
        raise ValueError("not of this network")

    found = cell(measure(refuse), "permutation", pairs(2))
    assert (found.median, found.worst, found.count) == (None, None, 0)
    assert found.refused == "not of this network"


def test_what_is_refused_for_one_network_leaves_the_others():
    calls = iter([1.0, 2.0, None])

    def sometimes(model, data):
        value = next(calls)
        if value is None:
            raise ValueError("not after this one")
        return value

    found = cell(measure(sometimes), "permutation", pairs(2))
    assert (found.worst, found.count, found.refused) == (2.0, 1, "not after this one")


def test_sampled_numbers_within_their_errors_are_marked_as_unresolved():
    noisy = numbers(Measurement(1.0, 0.1, "sampled"), Measurement(1.5, 0.1, "sampled"))
    found = cell(noisy, "permutation", pairs(1))
    assert found.unresolved
    assert "≈1" in matrix_text([found])
    clear = numbers(Measurement(1.0, 0.01, "sampled"), Measurement(1.5, 0.01, "sampled"))
    assert not cell(clear, "permutation", pairs(1)).unresolved


def test_what_is_more_than_sampling_error_counts_as_worse_than_any_ratio_within_it():
    noisy = (Measurement(value, 10.0, "sampled") for value in (1.0, -50.0, -50.0))
    clear = (Measurement(value, 1e-3, "sampled") for value in (1.0, 1.5, 1.5))
    found = cell(numbers(*noisy, *clear), "permutation", pairs(4))
    assert (found.worst, found.unresolved) == (1.5, False)


def test_records_for_json_have_five_names_and_no_more():
    found = cell(measure(loss), "permutation", pairs(1))
    (record,) = json.loads(json.dumps(as_records([found])))
    assert list(record) == ["measure", "transformation", "promised", "median", "worst"]
    assert record["worst"] == found.worst


def test_a_row_of_ones_own_measure_tells_what_holds():
    frobenius = Measure(
        name="own",
        source="here",
        compute=lambda model, data: float(
            sum(value.detach().square().sum() for value in model.parameters())
        ),
    )
    names = ["permutation", "node scaling", "orthogonal map"]
    still, moved, turned = row(frobenius, transformations=names, count=2)
    # Sums of fewer than 100 squares in another order, or behind an orthogonal matrix.
    assert still.worst == pytest.approx(1.0, abs=1e-13)
    assert turned.worst == pytest.approx(1.0, abs=1e-12)
    assert abs(moved.worst - 1) > 0.01
    assert len(row(measure(loss), count=1)) == len(TRANSFORMATIONS)


def test_a_row_prints_as_a_table():
    entries = [
        Cell("own", "permutation", True, 1.0, 1.0, 2),
        Cell("own", "sign flip", False, None, None, 0, refused="not of this network"),
    ]
    heads, first, second, legend = str(Row(entries)).splitlines()
    assert heads.split() == ["worst", "median", "pairs"]
    assert first.split() == ["permutation", "1✓", "1✓", "2"]
    assert second.split() == ["sign", "flip", "–", "–", "0", "not", "of", "this", "network"]
    assert "promised" in legend
    (found,) = one = row(measure(loss), transformations=["permutation"], count=1)
    assert isinstance(one, Row) and list(one) == [found]


def test_a_measure_that_returns_a_string_is_refused_by_name():
    (found,) = row(lambda model, data: "1.5", transformations=["permutation"], count=1)
    assert found.count == 0
    assert "measure must return a number" in found.refused and "str '1.5'" in found.refused


def test_the_row_of_igs_is_one():
    for found in row(igsref.MEASURES["IGS"], transformations=["node scaling"], count=2):
        # Held to what it states by tests/laws; here to seven digits.
        assert found.promised
        assert found.worst == pytest.approx(1.0, abs=1e-7)


def test_pairs_are_functions_of_the_seed_and_keep_to_families_where_they_can():
    one, again = (draw_pairs("node scaling", 4, 7, families=["residual"]) for _ in range(2))
    assert [pair.case for pair in one] == [pair.case for pair in again]
    assert {pair.case.family for pair in one} == {"residual"}
    assert one[0].before is one[1].before is not one[2].before
    (pair,) = draw_pairs("attention basis", 1, 0, families=["residual"])
    assert pair.case.family == "attention"


def test_pairs_of_what_there_is_not_are_refused():
    with pytest.raises(ValueError, match=r"transformation must be one of .*; got 'rotation'"):
        draw_pairs("rotation", 1, 0)
    with pytest.raises(ValueError, match=r"family must be one of .*; got 'VGG'"):
        draw_pairs("permutation", 1, 0, families=["VGG"])
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        draw_pairs("permutation", 0, 0)


def test_text_shows_worst_and_median_ratios_promises_and_what_is_not_defined():
    cells = [
        Cell("first", "a", True, 1.0, 1.0, 2),
        Cell("first", "b", False, 1.5, 12.345, 2),
        Cell("second", "a", True, 1.0, 1 - 3e-12, 2),
        Cell("second", "b", False, None, None, 0, refused="not of this network"),
    ]
    worst, medians, legend = matrix_text(cells).split("\n\n")
    heads, first, second = worst.splitlines()
    assert heads.split() == ["worst", "1", "2"]
    assert first.split() == ["first", "1✓", "12.3"]
    assert second.split() == ["second", "1-3e-12✓", "–"]
    heads, first, second = medians.splitlines()
    assert heads.split() == ["median", "1", "2"]
    assert first.split() == ["first", "1✓", "1.5"]
    assert second.split() == ["second", "1✓", "–"]
    assert legend.splitlines() == ["1: a", "2: b"]
