"""Files that somebody reads, as Windows refuses to replace or delete them; by fault injection, for it is not here."""

import os
from pathlib import Path

import pytest

from lstmcore.train.files import atomic
from lstmcore.train.files.atomic import remove_left_overs, write_atomically


def in_use(*_: object, **__: object) -> None:
    raise PermissionError(13, "The process cannot access the file because it is being used by another process")


def test_a_file_that_is_read_for_a_moment_is_replaced_afterwards(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"before")
    replace, refused = os.replace, [1, 2]
    monkeypatch.setattr(atomic, "TRIES", 3)
    monkeypatch.setattr(os, "replace", lambda *names: in_use() if refused and refused.pop() else replace(*names))
    write_atomically(tmp_path / "a", b"after")
    assert (tmp_path / "a").read_bytes() == b"after"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_read_all_the_while_stays(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"before")
    monkeypatch.setattr(atomic, "TRIES", 2)
    monkeypatch.setattr(os, "replace", in_use)
    with pytest.raises(PermissionError, match=r"could not be saved \(The process cannot access .*\); what was there"):
        write_atomically(tmp_path / "a", b"after")
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_what_is_no_plain_file_is_not_replaced_by_one(tmp_path):
    """A link to a larger disk stays a link; a pipe, and so a device, is written into and not taken away."""
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    for data in (b"before", b"after"):
        write_atomically(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far" / "a").read_bytes() == data
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / "pipe", b"data")
        assert (tmp_path / "pipe").is_fifo()
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "far", "link", "pipe"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_a_pipe_without_a_name_of_its_own_is_written_into():
    """As /dev/stdout and the shell's >(...) are: links that lead to no file."""
    reader, writer = os.pipe()
    try:
        write_atomically(Path(f"/dev/fd/{writer}"), b"data")
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_a_link_into_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    with pytest.raises(FileNotFoundError, match=r"could not be saved \(there is no such folder\)"):
        write_atomically(tmp_path / "link", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_left_over_that_is_read_stays(tmp_path, monkeypatch):
    left = tmp_path / ".a.0.part"
    left.write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(type(left), "unlink", in_use)
        remove_left_overs(tmp_path)
    assert left.exists()
    remove_left_overs(tmp_path)
    assert not left.exists()
