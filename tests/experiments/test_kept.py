"""What is finished is read again, for the same settings, and never written over."""

import pytest

from experiments.files import CorruptFile, OtherSettings
from experiments.kept import kept, write_json


def again():
    pytest.fail("computed again")


def test_a_result_is_computed_once_for_its_settings(tmp_path):
    path = tmp_path / "below" / "one.json"
    assert kept(path, {"n": (1, 2)}, lambda: {"value": 3}) == {"value": 3}
    assert kept(path, {"n": [1, 2]}, again) == {"value": 3}


@pytest.mark.parametrize(
    ("settings", "differs"),
    [
        ({"n": 2, "rate": 0.1}, "n 1, not 2"),
        ({"n": 2, "rate": 0.2}, "n 1, not 2, rate 0.1, not 0.2"),
        ({"n": 1}, "rate 0.1, not None"),
        ({"n": 1, "rate": 0.1, "seed": 0}, "seed None, not 0"),
    ],
)
def test_what_other_settings_gave_is_refused_and_stays(tmp_path, settings, differs):
    path = tmp_path / "one.json"
    kept(path, {"n": 1, "rate": 0.1}, lambda: 3)
    before = path.read_text()
    with pytest.raises(
        OtherSettings, match=f"^{path} was made with {differs}: give another folder$"
    ):
        kept(path, settings, again)
    assert path.read_text() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {}}', '{"settings": 1, "result": 2}'])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "one.json"
    path.write_text(content)
    with pytest.raises(CorruptFile, match=f"^{path} must hold settings and a result as JSON; "):
        kept(path, {}, again)
    assert path.read_text() == content


def test_nothing_is_kept_of_what_ended_before_its_result(tmp_path):
    path = tmp_path / "one.json"

    def ended():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(path, {}, ended)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "one.json"
    write_json(path, {"θ": 1})
    with pytest.raises(TypeError):
        write_json(path, {"θ": object()})
    assert [each.read_text("utf-8") for each in tmp_path.iterdir()] == ['{\n "θ": 1\n}\n']
