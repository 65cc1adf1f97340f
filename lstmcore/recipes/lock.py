"""One process at a time in a folder: two trainings, or sweeps, in one would write over each other's files."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

LOCK = "lock"


def made(folder: Path) -> None:
    """Makes the folder. Raises OSError, with a clear message where a file is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise type(error)(error.errno, "a folder is wanted here, and a file is in the way", str(folder)) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it. By SQLite's lock, which every system frees when its process is gone.

    Raises OSError where another process holds it, and where no folder can be made.
    """
    made(folder)
    lock = sqlite3.connect(folder / LOCK, timeout=0.0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        busy = "locked" in str(error)
        reason = "another training or sweep is at work there" if busy else f"cannot be written ({error})"
        raise OSError(f"{folder}: {reason}") from error
    else:
        yield
    finally:
        lock.close()
