"""A number with its uncertainty."""

import pytest

from igsref.measures.measurement import Measurement


def test_a_measurement_is_its_value_as_a_float():
    assert float(Measurement(2.5, 0.1, "sampled")) == 2.5


@pytest.mark.parametrize("uncertainty", [-0.5, float("nan")])
def test_what_is_no_uncertainty_is_refused(uncertainty):
    with pytest.raises(ValueError, match="uncertainty must be at least 0"):
        Measurement(1.0, uncertainty, "sampled")
