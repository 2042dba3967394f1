"""What the strategies draw is what is asked for."""

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from igsref.testing import TRANSFORMATIONS, Case, Network
from igsref.testing.strategies import cases, networks

FEW = settings(max_examples=10, deadline=None)


@FEW
@given(network=networks(["convolution", "residual"]))
def test_networks_are_of_the_families_that_were_chosen(network):
    assert isinstance(network, Network)
    assert network.inputs.shape[1:] in ((1, 4, 4), (3,))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@FEW
@given(data=st.data())
def test_cases_are_of_the_transformation_within_its_strength(name, data):
    case = data.draw(cases(name))
    assert case.transformation == name
    assert case.family in TRANSFORMATIONS[name].families
    assert 0 <= case.strength <= TRANSFORMATIONS[name].strongest


def test_cases_can_be_kept_to_a_family():
    with_residual = cases("permutation", families=["residual"])
    assert find(with_residual, lambda case: True).family == "residual"


def test_cases_shrink_towards_small_strengths():
    found = find(cases("node scaling"), lambda case: case.strength > 1)
    assert found == Case("ReLU perceptron", 0, "node scaling", 0, found.strength)
    assert found.strength <= 2


def test_what_there_is_not_is_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match=r"transformation must be one of .*; got 'rotation'"):
        cases("rotation")
    with pytest.raises(ValueError, match="families must be among those that sign flip can act on"):
        cases("sign flip", families=["convolution"])
    with pytest.raises(ValueError, match=r"family must be one of .*; got 'VGG'"):
        networks(["VGG"])
