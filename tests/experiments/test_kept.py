"""What is finished is read again, for the same settings."""

import pytest

from experiments.kept import kept


def test_a_result_is_computed_once_for_its_settings(tmp_path):
    path = tmp_path / "below" / "one.json"
    assert kept(path, {"n": (1, 2)}, lambda: {"value": 3}) == {"value": 3}
    assert kept(path, {"n": [1, 2]}, lambda: pytest.fail("again")) == {"value": 3}
    assert kept(path, {"n": [1, 3]}, lambda: {"value": 4}) == {"value": 4}


def test_nothing_is_kept_of_what_ended_before_its_result(tmp_path):
    path = tmp_path / "one.json"

    def ended():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(path, {}, ended)
    assert list(tmp_path.iterdir()) == []
