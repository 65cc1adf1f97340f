"""A file written whole or not at all."""

import contextlib
import os
import secrets
import time
from pathlib import Path

TRIES = 10 if os.name == "nt" else 1  # a tenth of a second apart: there no file is replaced that somebody reads


def write_atomically(path: Path, data: bytes) -> None:
    """`data` becomes the file's content in one step: written beside it, brought to the disk, renamed.

    A link stays one: what it leads to is written. Into a device or pipe the data are written as they are. Raises
    OSError, with a sentence that says so, where that cannot be; what was there before is untouched.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe of /dev/stdout has no other name
            path.write_bytes(data)
            return
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _replace(beside, target)
    except OSError as error:
        reason = "there is no such folder" if not target.parent.is_dir() else error.strerror or str(error)
        message = f"could not be saved ({reason}); what was there before is untouched"
        raise type(error)(error.errno, message, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the new name is on the disk when the folder is; not every system lets us ask
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _replace(beside: Path, path: Path) -> None:
    for others in range(TRIES - 1, -1, -1):
        try:
            return os.replace(beside, path)
        except PermissionError:
            if others == 0:
                raise
            time.sleep(0.1)


def remove_left_overs(folder: Path) -> None:
    """Deletes what a kill during `write_atomically` has left in a folder that nothing is writing to now."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(PermissionError):  # Windows: somebody reads it
            path.unlink(missing_ok=True)
