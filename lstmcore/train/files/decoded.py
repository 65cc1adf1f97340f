"""Text and JSON out of a file: UTF-8, or what a byte order mark says; never a guess."""

import codecs
import json
from pathlib import Path
from typing import Any

MARKS = (  # the longer first: UTF-32's little-endian mark begins as UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
MARK = "\ufeff"


def content(path: Path) -> bytes:
    """All of a file, or of a pipe. Raises ValueError for a device, OSError for what cannot be read."""
    if path.is_char_device() or path.is_block_device():
        raise ValueError(f"{path} should be a file; it is a device, which may have no end")
    return path.read_bytes()


def parsed(path: Path) -> Any:
    """The JSON of a file. Raises ValueError for what is none, OSError for what cannot be read."""
    try:
        return json.loads(decoded(path)[0])
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def decoded(path: Path) -> tuple[str, str]:
    """The text of a file, its lines ending in \\n, and in words what was special about it ("" if nothing was).

    Byte order marks are left out, wherever they stand: they are no symbols, and files that were joined have several.
    Raises ValueError for what is not text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; OSError for what
    cannot be read.
    """
    data = content(path)
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        hint = "" if encoding != "UTF-8" else "; if it is in another encoding: iconv -f WINDOWS-1252 -t UTF-8, or so"
        raise ValueError(
            f"{path} should be text in {encoding}; byte {error.start} is none ({error.reason}){hint}"
        ) from error
    if "\0" in text:
        hint = " (UTF-16 without a byte order mark? iconv -f UTF-16LE -t UTF-8)" if encoding == "UTF-8" else ""
        raise ValueError(f"{path} should be text in {encoding}; symbol {text.index(chr(0))} is a zero{hint}")
    marks = text.count(MARK) + (encoding != "UTF-8")  # Python takes that of UTF-16 and UTF-32 away itself
    said = [] if encoding == "UTF-8" else [f"in {encoding}"]
    said += [f"{marks} byte order mark{'s' * (marks > 1)} left out"] if marks else []
    return text.replace(MARK, "").replace("\r\n", "\n").replace("\r", "\n"), ", ".join(said)
