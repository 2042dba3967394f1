"""The laws give a verdict for every transformation, whatever the function does."""

import json
import math

import pytest

import igsref
from igsref.conformance import laws
from igsref.testing import TRANSFORMATIONS
from tests.conformance import cases

FEW = ("permutation", "node scaling", "dense linear map")


def test_exact_igs_keeps_every_law():
    found = laws(igsref.exact_igs, examples=1)
    assert [law.transformation for law in found] == list(TRANSFORMATIONS)
    assert {law.verdict for law in found} == {"holds"}
    assert all(law.worst <= law.allowed for law in found)


def test_a_norm_of_weights_keeps_permutations_only():
    permutation, scaling, dense = laws(cases.norm_of_weights, examples=2, transformations=FEW)
    assert permutation.verdict == "holds"
    assert (scaling.verdict, dense.verdict) == ("broken", "broken")
    assert scaling.worst > scaling.allowed


def test_plain_numbers_are_held_to_the_agreement():
    def rounded(model, data):
        return igsref.exact_igs(model, data).value * (1 + 1e-8 * next(signs))

    signs = iter((-1, 1) * 4)
    (loose,) = laws(rounded, examples=2, transformations=["node scaling by powers of two"])
    assert loose.verdict == "holds"
    # 2e-8 of the value, but for the 1e-10 that two float64 values of it may differ by.
    assert loose.worst == pytest.approx(2e-8, rel=1e-2)
    (strict,) = laws(
        rounded, examples=2, agreement=1e-8, transformations=["node scaling by powers of two"]
    )
    assert strict.verdict == "broken"


def test_float32_breaks_the_law_of_bad_scaling():
    (found,) = laws(cases.textbook32, examples=4, transformations=["node scaling"])
    assert found.verdict == "broken"
    assert found.worst > found.allowed


@pytest.mark.parametrize(
    ("function", "verdict", "error"),
    [
        (cases.raises, "refused", "RuntimeError: no CUDA here"),
        (cases.exits, "refused", "SystemExit: 0"),
        (cases.text, "refused", "NotANumber: returned str '1.5', no number"),
        (cases.nan, "broken", ""),
    ],
)
def test_what_gives_no_number_has_a_verdict(function, verdict, error):
    (found,) = laws(function, examples=2, transformations=["permutation"])
    assert (found.verdict, found.error) == (verdict, error)
    assert found.refused == (2 if error else 0)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_first_breach_is_drawn_again_by_its_case():
    (found,) = laws(cases.norm_of_weights, examples=3, transformations=["node scaling"])
    breach = found.breach
    network = breach.case.network()
    assert cases.norm_of_weights(network.model, network.data) == breach.before
    transformed = breach.case.transformed(network).model
    assert cases.norm_of_weights(transformed, network.data) == breach.after
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["examples"] == 3
    assert told["breach"]["before"] == breach.before
    assert told["breach"]["case"] == vars(breach.case)
    (kept,) = laws(cases.norm_of_weights, examples=1, transformations=["permutation"])
    assert kept.breach is None and kept.to_dict()["breach"] is None


def test_the_breach_that_is_told_is_the_first_one():
    calls = iter([1.0, 1.0, 1.0, 1.5, 1.0, 9.0])
    (found,) = laws(lambda model, data: next(calls), examples=3, transformations=["permutation"])
    assert (found.breach.after, found.worst) == (1.5, 8.0)


def test_what_is_shown_is_the_example_that_broke_the_law():
    calls = iter([1.0, 1.0, 1.0, 1.5, 1.0, 1.0])
    (found,) = laws(lambda model, data: next(calls), examples=3, transformations=["permutation"])
    assert (found.verdict, found.worst) == ("broken", 0.5)


def test_a_law_with_some_examples_refused_does_not_hold():
    calls = iter([1.0, 1.0, "no", 1.0, 1.0])
    (found,) = laws(lambda model, data: next(calls), examples=3, transformations=["permutation"])
    assert (found.verdict, found.refused, found.worst) == ("refused", 1, 0.0)


def test_a_number_that_appears_from_nothing_is_infinitely_wrong():
    calls = iter([0.0, 1.0])
    (found,) = laws(lambda model, data: next(calls), examples=1, transformations=["permutation"])
    assert (found.verdict, found.worst) == ("broken", math.inf)
    assert found.to_dict()["worst"] == "inf"


def test_a_function_may_spoil_what_it_is_given():
    def destructive(model, data):
        value = igsref.exact_igs(model, data).value
        data[0].zero_()
        return value

    (found,) = laws(destructive, examples=1, transformations=["permutation"])
    assert found.verdict == "holds"


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="examples must be at least 1; got 0"):
        laws(cases.nan, examples=0)
    with pytest.raises(ValueError, match="transformation must be one of"):
        laws(cases.nan, transformations=["rotation"])
