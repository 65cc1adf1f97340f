"""Sealed files: loaded only whole, in their place and from the user; written whole or not at all; old ones go."""

import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from lstmcore.ops.cpu import disk

POSIX = hasattr(os, "getuid")
pytestmark = pytest.mark.skipif(not POSIX, reason="owners and modes of files are those of POSIX systems")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "BUILT", tmp_path / "built")
    monkeypatch.setattr(disk, "folders", lambda: (tmp_path / "kernels",))
    return tmp_path / "kernels"


def test_there_and_back(folder):
    assert disk.load("a") == (None, "")
    disk.save("a", b"content")
    assert disk.load("a") == (b"content", "")
    assert disk.usage()[1:] == (1, (folder / "a.kernel").stat().st_size)


def test_every_kind_of_damage_is_found(folder):
    """Bits flipped, pages zeroed, cut, grown, swapped with another file: never content that was not written."""
    rng = np.random.default_rng(0)
    content = rng.bytes(20_000)
    disk.save("a", content)
    disk.save("b", rng.bytes(20_000))
    path = folder / "a.kernel"
    whole, other = path.read_bytes(), (folder / "b.kernel").read_bytes()
    for trial in range(600):
        damaged = bytearray(whole)
        match trial % 5:
            case 0:
                damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            case 1:
                first = rng.integers(len(damaged))
                damaged[first : first + 4096] = bytes(len(damaged[first : first + 4096]))
            case 2:
                damaged = damaged[: rng.integers(len(damaged))]
            case 3:
                damaged += rng.bytes(rng.integers(1, 100))
            case 4:
                first = rng.integers(1, len(damaged))
                damaged[first:] = other[first:]
        path.write_bytes(damaged)
        loaded, problem = disk.load("a")
        assert loaded is None or loaded == content, trial  # a page of zeros may have been one before
        assert (loaded is None) == ("is damaged" in problem)
        if bytes(damaged) != whole:
            assert loaded is None
    path.write_bytes(other)  # whole, in the wrong place
    assert disk.load("a")[0] is None


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_may_write_is_not_loaded(folder, mode):
    disk.save("a", b"content")
    (folder / "a.kernel").chmod(mode)
    assert disk.load("a") == (None, f"{folder / 'a.kernel'} may have been written by others")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_may_write_is_not_used(folder, mode):
    disk.save("a", b"content")
    folder.chmod(mode)
    assert disk.load("a")[0] is None
    with pytest.raises(PermissionError, match="is not this user's alone to write to"):
        disk.save("b", b"content")


@pytest.mark.skipif(not POSIX or os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_not_loaded(folder):
    disk.save("a", b"content")
    os.chown(folder / "a.kernel", 12345, 12345)
    assert disk.load("a")[0] is None


def test_a_link_is_not_followed(folder, tmp_path):
    disk.save("a", b"content")
    (folder / "a.kernel").rename(tmp_path / "elsewhere")
    (folder / "a.kernel").symlink_to(tmp_path / "elsewhere")
    assert disk.load("a")[0] is None


@pytest.mark.parametrize(("of_folder", "of_file"), [(0o755, 0o644), (0o700, 0o600), (0o750, 0o640)])
def test_a_file_can_be_read_by_whoever_may_read_the_folder(folder, of_folder, of_file):
    folder.mkdir(mode=of_folder)
    folder.chmod(of_folder)
    disk.save("a", b"content")
    assert stat.S_IMODE((folder / "a.kernel").stat().st_mode) == of_file & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_save_that_fails_leaves_nothing(folder, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        disk.save("a", b"content")
    assert list(folder.iterdir()) == []


def test_a_folder_is_tried_before_it_is_chosen(folder, tmp_path, monkeypatch):
    """By fault injection: on Windows lists of users say who may write to a folder, which no mode shows."""
    monkeypatch.setattr(disk, "folders", lambda: (tmp_path / "of all", folder))
    opened = os.open

    def refused(path, *given):
        if "of all" in str(path):
            raise PermissionError(13, "Access is denied")
        return opened(path, *given)

    monkeypatch.setattr(os, "open", refused)
    disk.save("a", b"content")
    assert [path.name for path in folder.iterdir()] == ["a.kernel"]


def test_a_file_that_others_read_is_as_good_as_a_new_one(folder, monkeypatch):
    """By fault injection: Windows replaces no file that somebody reads. One of this name has this content."""
    disk.save("a", b"content")

    def refused(*_):
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(os, "replace", refused)
    disk.save("a", b"content")
    assert [path.name for path in folder.iterdir()] == ["a.kernel"]
    with pytest.raises(PermissionError, match="Access is denied"):
        disk.save("b", b"content")
    assert [path.name for path in folder.iterdir()] == ["a.kernel"]


def test_what_is_old_goes_and_files_of_others_stay(folder):
    disk.save("old", b"content")
    disk.save("used", b"content")
    (folder / "of-somebody.txt").write_text("")
    long_ago, today = time.time() - disk.UNUSED - 60, time.time()
    os.utime(folder / "old.kernel", (long_ago, long_ago))
    os.utime(folder / "used.kernel", (today - 2 * disk.DAY,) * 2)
    assert disk.load("used")[0] == b"content"
    assert (folder / "used.kernel").stat().st_mtime > today - 60  # it was used today
    disk.save("new", b"content")
    assert sorted(path.name for path in folder.iterdir()) == ["new.kernel", "of-somebody.txt", "used.kernel"]


def test_the_oldest_go_when_all_are_too_large(folder, monkeypatch):
    monkeypatch.setattr(disk, "LARGEST", 2500)
    for k, name in enumerate("abc"):
        disk.save(name, bytes(900))
        os.utime(folder / f"{name}.kernel", (time.time() - 1000 + k,) * 2)
    disk.save("d", bytes(900))
    assert sorted(path.stem for path in folder.iterdir()) == ["c", "d"]


def test_clear_removes_our_files_alone(folder):
    disk.save("a", b"content")
    (folder / "note.txt").write_text("")
    assert disk.clear().files == 1
    assert [path.name for path in folder.iterdir()] == ["note.txt"]


def test_what_comes_with_the_package_is_read_and_nothing_else(folder):
    disk.save("a", b"of this user")
    with disk.filling(disk.BUILT):
        assert disk.load("a") == (None, "")  # nothing but the folder that is filled
        disk.save("a", b"of the package")
        disk.save("b", b"of the package")
    assert disk.load("a")[0] == disk.load("b")[0] == b"of the package"
    disk.save("b", b"of this user")
    assert disk.load("b")[0] == b"of the package"
    assert disk.usage()[:2] == ((disk.BUILT, folder), 4)
    assert disk.clear()[:2] == ((folder,), 2)
    assert disk.load("a")[0] == b"of the package"
    (disk.BUILT / "a.kernel").chmod(0o666)
    assert disk.load("a") == (None, f"{disk.BUILT / 'a.kernel'} may have been written by others")


def test_two_refill_a_folder_at_once(folder, tmp_path, monkeypatch):
    """The second one does all its work where the first has moved one file of two."""
    disk.save("old", b"content")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with disk.filling(tmp_path / name):
            disk.save("a", b"content")
            disk.save("b", b"content")
    put, moved = disk._put, []

    def once(unfinished, path):
        put(unfinished, path)
        moved.append(path.name)
        if len(moved) == 1:
            disk.refill(folder, tmp_path / "two")

    monkeypatch.setattr(disk, "_put", once)
    disk.refill(folder, tmp_path / "one")
    assert moved == ["a.kernel", "a.kernel", "b.kernel", "b.kernel"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.kernel", "b.kernel"]
    assert disk.load("a")[0] == disk.load("b")[0] == b"content"


def test_what_another_has_removed_meanwhile_is_gone(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_files", lambda place, suffix: [place / "gone.kernel"] if place == folder else [])
    disk.refill(folder, tmp_path)


def _folders(**environment: str) -> str:
    code = "from lstmcore.ops.cpu import disk; print(disk.folders()[1:])"
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=True
    )
    return run.stdout


def test_a_relative_cache_folder_is_not_taken(tmp_path):
    """As the XDG specification has it: code would be loaded from whatever folder is the current one."""
    said = _folders(XDG_CACHE_HOME="cache", HOME=str(tmp_path))
    assert str(tmp_path / ".cache" / "lstmcore") in said
    assert str(tmp_path / "x" / "lstmcore") in _folders(XDG_CACHE_HOME=str(tmp_path / "x"), HOME="/")
