"""A file is written whole, or left as it was."""

import os
from pathlib import Path

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


@pytest.mark.parametrize("there", [True, False])
def test_through_a_link_the_file_that_it_leads_to_is_written(tmp_path, there):
    file, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    if there:
        file.parent.mkdir()
        file.write_text("old")
    (tmp_path / "middle").symlink_to(file)
    link.symlink_to("middle")
    check_writable(link)
    with replacing(link) as temporary:
        # On the file's own disk, or it could not be renamed.
        assert temporary.parent == file.parent
        temporary.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert not file.is_symlink()
    assert list(file.parent.iterdir()) == [file]


def loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(Path.mkdir, "folder"), (os.mkfifo, "FIFO"), (loop, "loop of symbolic links")],
)
def test_what_is_no_file_stays(tmp_path, make, kind):
    other, link = tmp_path / "other", tmp_path / "link"
    make(other)
    link.symlink_to(other)
    for path in (other, link):
        sentence = rf"^path must name a file; .*/{path.name} is a {kind}$"
        with pytest.raises(OSError, match=sentence):
            check_writable(path)
        with pytest.raises(OSError, match=sentence), replacing(path):
            pytest.fail("nothing may be written")
    assert not other.is_file()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "other"]


def test_a_device_is_refused():
    with pytest.raises(OSError, match=r"/null is a device$"):
        check_writable(Path("/dev/null"))
