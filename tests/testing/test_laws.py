"""The law allows what is derived, catches what breaks it, and its message shows the case again."""

from itertools import islice

import pytest
import torch

import igsref
import igsref.testing
from igsref.measures.measurement import Measurement
from igsref.testing import Case, assert_invariant, check, deviation, draw_cases
from igsref.testing.laws import STANDARD_ERRORS, compared

PLAIN = Case("tanh perceptron", 1, "permutation", 2, 0.5)
COORDINATES = Case("tanh perceptron", 1, "dense linear map", 2, 0.5)
GENERAL = Case("tanh perceptron", 1, "softmax shift", 2, 0.5)
CONDITION = 100.0


def size(model, data) -> float:
    """‖θ‖, which no scaling leaves as it is."""
    return float(sum(value.detach().square().sum() for value in model.parameters())) ** 0.5


def parameters(case: Case) -> int:
    return sum(value.numel() for value in case.network().model.parameters())


def interval(lower: float, upper: float) -> igsref.Enclosure:
    return igsref.Enclosure(lower, (lower + upper) / 2, upper, "verified")


@pytest.mark.parametrize("case", [COORDINATES, GENERAL])
def test_a_plain_number_is_allowed_the_agreement_and_under_maps_root_m_kappa_of_it(case):
    seen = compared(8.0, 8.5, PLAIN, 1.0, agreement=2.0**-4)
    assert (seen.moved, seen.allowed, seen.apart, seen.holds) == (0.5, 0.5, 0.0, True)
    assert not compared(8.0, 8.5625, PLAIN, 1.0, agreement=2.0**-4).holds
    factor = parameters(case) ** 0.5 * CONDITION
    seen = compared(8.0, 8.5, case, CONDITION, agreement=2.0**-10)
    assert seen.allowed == pytest.approx(factor * 2.0**-7, rel=1e-15)


@pytest.mark.parametrize(
    ("kind", "share"),
    [("enclosed", 1.0), ("bounded", 1.0), ("maximised", 1.0), ("sampled", STANDARD_ERRORS)],
)
def test_a_measurement_is_allowed_what_both_state(kind, share):
    before, after = Measurement(8.0, 0.25, kind), Measurement(9.0, 0.5, kind)
    seen = compared(before, after, PLAIN, 1.0, agreement=0.125)
    assert seen.allowed == 1.0 + share * 0.75
    # Other coordinates leave the network as it is: what they cost is in what it states.
    assert compared(before, after, COORDINATES, CONDITION, agreement=0.125) == seen
    factor = parameters(GENERAL) ** 0.5 * CONDITION
    seen = compared(before, after, GENERAL, CONDITION, agreement=0.125)
    # Its agreement does not grow with κ: what a symmetry moves is in what it states.
    assert seen.allowed == pytest.approx(1.0 + factor * share * 0.75, rel=1e-15)


def test_a_computed_measurement_is_a_plain_number():
    one = compared(Measurement(8.0), Measurement(9.0), GENERAL, CONDITION)
    assert one == compared(8.0, 9.0, GENERAL, CONDITION)


@pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")
def test_a_result_is_allowed_its_rounding_error():
    network = PLAIN.network()
    result = igsref.exact_igs(network.model, network.data)
    seen = compared(result, result, PLAIN, 1.0, agreement=0.0)
    assert (seen.allowed, seen.moved, seen.holds) == (2 * result.rounding_error, 0.0, True)


def test_an_enclosure_is_allowed_both_widths():
    seen = compared(interval(1.0, 1.5), interval(1.25, 2.0), PLAIN, 1.0, agreement=0.0)
    assert (seen.allowed, seen.apart, seen.holds) == (1.25, 0.0, True)


def test_brackets_that_do_not_overlap_break_the_law_whatever_is_allowed():
    for one, other in ((0, 1), (1, 0)):
        ends = interval(1.0, 2.0), interval(3.0, 4.0)
        seen = compared(ends[one], ends[other], PLAIN, 1.0, agreement=100.0)
        assert seen.moved <= seen.allowed
        assert seen.apart == 0.25  # a distance of 1 beside 4
        assert not seen.holds


def test_what_is_no_number_breaks_the_law():
    for before, after in ((1.0, float("nan")), (float("nan"), 1.0)):
        seen = compared(before, after, PLAIN, 1.0)
        assert seen.moved == float("inf")
        assert not seen.holds


def test_a_measure_that_breaks_the_law_is_shown_by_code_that_breaks_it_again():
    with pytest.raises(AssertionError, match="node scaling moved the measure from") as caught:
        assert_invariant(size, transformation="node scaling", examples=3)
    message = str(caught.value)
    code = message.partition("To see it again: ")[2]
    assert code.startswith("igsref.testing.check(measure, igsref.testing.Case(")
    with pytest.raises(AssertionError) as again:
        eval(code, {"igsref": igsref, "measure": size})
    assert str(again.value) == message


@pytest.mark.parametrize(
    ("result", "described"),
    [("1.5", "str '1.5'"), (None, "None"), (torch.ones(2), "a tensor of shape")],
)
def test_a_measure_that_returns_no_number_is_named(result, described):
    message = rf"measure must return a number, or what float\(\) takes; got {described}"
    with pytest.raises(TypeError, match=message):
        check(lambda model, data: result, PLAIN)


def test_a_measure_that_returns_nan_is_told_so():
    values = iter([2.5, float("nan")])
    message = "the measure returned 2.5 before and nan after permutation; it must be finite. To see"
    with pytest.raises(AssertionError, match=message):
        check(lambda model, data: next(values), PLAIN)


def test_a_measure_of_ones_own_that_keeps_the_law_passes():
    def loss(model, data):
        x, y = data
        return float(torch.nn.functional.cross_entropy(model(x), y).detach())

    worst = assert_invariant(loss, transformation="node scaling", examples=4)
    assert worst.holds
    assert worst.moved <= worst.allowed
    assert assert_invariant(size, transformation="permutation", examples=4).holds


def test_the_case_nearest_to_breaking_is_the_one_returned():
    values = iter([8.0, 8.0, 8.0, 9.0, 8.0, 8.5])
    worst = assert_invariant(
        lambda model, data: next(values),
        transformation="permutation",
        examples=3,
        agreement=0.125,
    )
    assert worst.after == 9.0


def test_a_network_at_hand_is_not_drawn_again(monkeypatch):
    network = PLAIN.network()
    monkeypatch.setattr(Case, "network", lambda case: pytest.fail("drawn again"))
    assert deviation(size, PLAIN, network=network).holds
    assert check(size, PLAIN, network=network).holds


def test_cases_are_functions_of_the_generator_and_take_families_in_turn():
    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return list(islice(draw_cases("node scaling", generator, per_network=2), 12))

    one = drawn(0)
    assert one == drawn(0) != drawn(1)
    assert [case.family for case in one[::2]] == [case.family for case in one[1::2]]
    assert len({case.family for case in one}) == 5
    assert all(a.network_seed == b.network_seed for a, b in zip(one[::2], one[1::2], strict=True))
    assert len({case.seed for case in one}) == 12
    assert eval(str(one[0]), {"igsref": igsref}) == one[0]


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"transformation must be one of .*; got 'rotation'"):
        assert_invariant(size, transformation="rotation")
    generator = torch.Generator().manual_seed(0)
    for families in (["attention"], []):
        with pytest.raises(ValueError, match="families must be among those that sign flip can act"):
            draw_cases("sign flip", generator, families=families)
    with pytest.raises(ValueError, match="examples must be at least 1; got 0"):
        assert_invariant(size, transformation="permutation", examples=0)
