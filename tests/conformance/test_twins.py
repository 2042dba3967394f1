"""Twins compute the very same numbers from other floats."""

from dataclasses import replace

import torch

import igsref
from igsref.conformance import badly_scaled, score
from igsref.vectors import load
from tests.conformance import cases


def test_only_units_that_can_be_scaled_give_a_twin():
    names = [twin.name for twin in badly_scaled(cases.small_vectors())]
    assert names == ["below its ceiling", "saturated"]


def test_a_twin_has_the_same_logits_bit_for_bit_and_other_weights():
    twins = {twin.name: twin for twin in badly_scaled(load())}
    assert twins
    for vector in load():
        twin = twins.get(vector.name, vector)
        assert torch.equal(twin.model(vector.inputs), vector.model(vector.inputs))
        assert twin.expected is vector.expected or twin.expected == vector.expected


def test_the_certified_value_of_a_twin_is_the_same_to_25_digits():
    (twin, _) = badly_scaled(cases.small_vectors())
    found = igsref.certify(twin.model, (twin.inputs, twin.labels), digits=25)
    both = (found.igs, twin.expected.igs)
    assert min(value.digits for value in both) >= 25
    lower, upper = zip(*(value.fractions for value in both), strict=True)
    assert max(lower) <= min(upper)
    assert found.rank == twin.expected.rank
    moved = [
        bool((after != before).any())
        for after, before in zip(
            twin.model.parameters(), cases.small_vectors()[0].model.parameters(), strict=True
        )
    ]
    assert moved == [True, True, True, False]


def test_twins_are_functions_of_the_vector_alone():
    (first, *_) = badly_scaled(cases.small_vectors())
    (again,) = badly_scaled([replace(cases.small_vectors()[0])])
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_exact_igs_is_right_on_twins_and_the_textbook_is_not():
    """On every third; the table of routes has them all."""
    twins = [twin for twin in badly_scaled(load()) if twin.expected.rank is not None][::3]
    assert len(twins) >= 10
    assert not [found for found in score(igsref.exact_igs, twins) if found.verdict != "right"]
    wrong = [found for found in score(igsref.textbook_igs, twins) if found.verdict == "wrong"]
    assert len(wrong) > len(twins) // 2
