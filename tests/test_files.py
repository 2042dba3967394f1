"""A file is written whole, or left as it was."""

import pytest

from igsref.files import check_writable, replacing


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_what_can_be_written_is_left_as_it_is(tmp_path):
    path = tmp_path / "new" / "file"
    check_writable(path)
    assert list(path.parent.iterdir()) == []
    path.write_text("whole")
    check_writable(path)
    assert path.read_text() == "whole"


def test_a_folder_and_what_is_below_a_file_cannot(tmp_path):
    with pytest.raises(OSError, match="is a folder"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can be written; .*below: ") as caught:
        check_writable(tmp_path / "file" / "below")
    assert caught.value.errno is None
