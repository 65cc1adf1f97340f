"""What compilers made of texts, kept in pytest's own cache folder: each text is compiled once, whichever process asks.

The name of an answer is the SHA-256 of all that it comes from: the text, the headers, the options, and the compiler. A
process that asks for what another is making waits for it. Answers that nothing has asked for in a month are deleted.
Without a cache folder (pytest -p no:cacheprovider) each process keeps its own until it ends.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MONTH = 30 * 24 * 3600  # seconds
_folder: Path | None = None


def keep_in(folder: Path) -> None:
    """From now on; folders of answers, as pytest makes them (config.cache.mkdir)."""
    global _folder
    _folder = folder
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process deletes it too
            if time.time() - path.stat().st_mtime > MONTH:
                path.unlink()


def kept(make: Callable[[Path], None], *origin: str | bytes) -> Path:
    """The file that `make` writes at the path it is given, made once for the same origin. What `make` raises is raised,
    and nothing is kept."""
    known = hashlib.sha256(b"".join(hashlib.sha256(p.encode() if isinstance(p, str) else p).digest() for p in origin))
    answer = folder() / known.hexdigest()
    with _alone(answer.with_suffix(".lock")):
        if answer.exists():
            os.utime(answer)
        else:
            half = answer.with_suffix(f".{os.getpid()}")
            try:
                make(half)
                half.replace(answer)
            finally:
                half.unlink(missing_ok=True)
    return answer


def folder() -> Path:
    if _folder is None:
        own = Path(tempfile.mkdtemp(prefix="lstmcore-compiled-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        keep_in(own)
    assert _folder is not None
    return _folder


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; where files cannot be locked, all at once, each with a file of its own."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as lock:  # the lock ends with the file's closing, and with the process
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
