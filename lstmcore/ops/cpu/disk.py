"""Sealed files: compiled kernels on disk, loaded only if they are whole, in their place, and the user's own or root's.

A file is a line that says what it is, a SHA-256 of its name and content, and the content, which is not looked at before
the hash is found right. It is loaded if it and its folder belong to the user or to root and nobody else may write them.
Files are named by hashes of what they hold, so those of other machines and versions lie beside them undisturbed. They
go when they have not been used for long, or when all together are too large.

Kernels may come with the package, in a folder that is only read (recipes/kernels.py fills it): whoever installs for
others compiles for them.
"""

import contextlib
import functools
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BUILT = Path(__file__).resolve().parents[2] / "kernels"  # those that come with the package
BESIDE = Path(__file__).resolve().parent / "__pycache__"
SUFFIX, UNFINISHED, LOCK = ".kernel", ".unfinished", ".lock"
SEAL = b"lstmcore kernel 1\n"
DAY = 86_400.0  # seconds
UNUSED = 90 * DAY
LARGEST = 512 * 2**20  # bytes of all files together
PATIENCE = 120.0  # seconds to wait for another process that compiles the same
_turns: set[str] = set()  # of this process
_alone: list[Path] = []  # the folder that this process fills


class Usage(NamedTuple):
    """What compiled kernels take on disk."""

    folders: tuple[Path, ...]
    files: int
    bytes: int


def load(name: str) -> tuple[bytes | None, str]:
    """The content of the kernel file `name`, or None and why: "" if there is none, else what is wrong with it."""
    problem = ""
    for folder in searched():
        path = folder / (name + SUFFIX)
        try:
            with open(path, "rb", opener=_without_links) as file:
                status = os.fstat(file.fileno())
                if not (stat.S_ISREG(status.st_mode) and _is_ours(status) and _is_ours(folder.stat())):
                    problem = f"{path} may have been written by others"
                    continue
                sealed = file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = f"{path}: {error}"
            continue
        head = len(SEAL) + hashlib.sha256().digest_size
        if sealed[:head] != _seal(name, sealed[head:]):
            problem = f"{path} is damaged"
            continue
        if time.time() - status.st_mtime > DAY:
            with contextlib.suppress(OSError):
                os.utime(path)  # used today
        return sealed[head:], ""
    return None, problem


def save(name: str, content: bytes) -> None:
    """Writes the kernel file `name`, whole or not at all, and removes old ones. Raises OSError where it cannot."""
    folder = writable()
    unfinished = folder / f"{name}-{secrets.token_hex(4)}{UNFINISHED}"
    readable = stat.S_IMODE(folder.stat().st_mode) & 0o444 | 0o600  # by whoever may read the folder
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(unfinished, flags, readable), "wb") as file:
            file.write(_seal(name, content) + content)
            file.flush()
            os.fsync(file.fileno())
        _put(unfinished, folder / (name + SUFFIX))
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError, AttributeError):  # not every system can
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    _tidy(folder)


@contextlib.contextmanager
def turn(name: str) -> Iterator[None]:
    """One process at a time, as far as that can be had: whoever comes second finds the file in place of compiling.

    Within a process threads do not compile side by side, so a turn that is taken is that of a call which this one
    interrupts, in a signal's handler or in `__del__`: to wait for it would be to wait for ever.
    """
    if name in _turns:
        yield
        return
    lock = None
    try:
        _turns.add(name)
        with contextlib.suppress(ImportError, OSError):  # nothing depends on it: who cannot wait compiles as well
            import fcntl

            path = writable() / (name + LOCK)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go when its process ends, however that ends
                    break
                except BlockingIOError:
                    time.sleep(0.05)
        yield
    finally:
        _turns.discard(name)
        if lock is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(lock)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Inside, this process keeps its kernels in the folder, and looks for them nowhere else."""
    _alone.append(folder)
    try:
        yield
    finally:
        _alone.pop()


def is_filling() -> bool:
    """Whether this process fills a folder: then each kernel is to be kept there, or none is worth having."""
    return bool(_alone)


def refill(folder: Path, new: Path) -> None:
    """Moves the kernel files of `new` into `folder`, where none but those stay then. Whoever reads there meanwhile
    finds each file whole or not at all; whoever refills it too, from the same package, leaves the same."""
    names = [path.name for path in _files(new, SUFFIX)]
    for name in names:
        _put(new / name, folder / name)
    for path in _files(folder, SUFFIX):
        if path.name not in names:
            path.unlink(missing_ok=True)


def usage(*places: Path) -> Usage:
    """The folders in which kernels are looked for, or other ones, and what lies there."""
    looked = places or searched()
    there = [path.stat().st_size for folder in looked for path in _files(folder, SUFFIX)]
    return Usage(looked, len(there), sum(there))


def clear() -> Usage:
    """Removes every kernel file that this user may remove, but those of the package; what was there. Others stay."""
    before = usage(*folders())
    for folder in folders():
        for suffix in (SUFFIX, UNFINISHED, LOCK):
            for path in _files(folder, suffix):
                with contextlib.suppress(OSError):
                    path.unlink()
    return before


def searched() -> tuple[Path, ...]:
    """Where kernels are looked for."""
    return tuple(_alone[-1:]) or (BUILT, *folders())


@functools.cache
def folders() -> tuple[Path, ...]:
    """Where kernels may be kept: beside the code that compiles them, and in the user's cache."""
    if os.name == "nt":
        cache = os.environ.get("LOCALAPPDATA", "")
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(cache):  # as the XDG specification has it
            cache = os.path.join(os.path.expanduser("~"), ".cache")
    return (BESIDE, Path(cache) / "lstmcore" / "kernels") if os.path.isabs(cache) else (BESIDE,)


def writable() -> Path:
    """The first of the folders that this user alone may write to, made if need be. Raises OSError if there is none."""
    problem = "no home folder is known"
    for folder in tuple(_alone[-1:]) or folders():
        try:
            folder.parent.mkdir(parents=folder is not BESIDE, exist_ok=True)
            folder.mkdir(mode=0o755, exist_ok=True)
            if _is_ours(folder.stat()):
                # Tried, since os.access does not know who may write to a folder on Windows.
                trial = folder / f"{secrets.token_hex(8)}{UNFINISHED}"
                os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                trial.unlink()
                return folder
            problem = f"{folder} is not this user's alone to write to"
        except OSError as error:
            problem = str(error)
    raise PermissionError(problem)


def _put(unfinished: Path, path: Path) -> None:
    """Gives the file its name in one move: another process finds the whole file or none."""
    try:
        os.replace(unfinished, path)
    except PermissionError:  # Windows: somebody reads the file that has this name, and so the same content
        if not path.exists():
            raise
        unfinished.unlink()


def _seal(name: str, content: bytes) -> bytes:
    return SEAL + hashlib.sha256(name.encode() + b"\n" + content).digest()


def _is_ours(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to the user or to root, and nobody else may write to it."""
    if not hasattr(os, "getuid"):  # Windows: the user's folders are the user's
        return True
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except OSError:
        return []


def _tidy(folder: Path) -> None:
    """Removes what has not been used for long, and the oldest as long as all are too large; and what was broken off."""
    now, left, total = time.time(), [], 0
    for suffix, most in ((SUFFIX, UNUSED), (UNFINISHED, DAY), (LOCK, DAY)):
        for path in _files(folder, suffix):
            with contextlib.suppress(OSError):  # another process has been quicker
                status = path.stat()
                if now - status.st_mtime > most:
                    path.unlink()
                elif suffix == SUFFIX:
                    left.append((status.st_mtime, status.st_size, path))
                    total += status.st_size
    for _, size, path in sorted(left):
        if total <= LARGEST:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
