"""NumPy's .npz files (a zip archive of .npy arrays), read with care: a file may come from anywhere.

Nothing in it is executed (no pickles), and the sizes that it claims are compared with those of the archive and of the
file before memory is taken. An error is one line that names the file and the array.
"""

import io
import math
import os
import stat
import struct
import sys
import tokenize
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

LARGEST = 2**30  # bytes of one array
ALL = 2**32  # bytes of all arrays that are read
INFLATION = 1100  # deflate makes at most 1,032 bytes of one
HEADER = 10_000  # bytes in which the header of an array ends: NumPy takes no longer one either
CHUNK = 2**20  # bytes that are unpacked at a time

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError, ValueError, OverflowError, OSError)
NO_HEADER = (ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, RecursionError, tokenize.TokenError)


class Kind(NamedTuple):
    """What an array should hold: letters of NumPy's kinds of dtypes, and words."""

    letters: str
    words: str


FLOATING, INTEGERS, TEXT = Kind("f", "floating-point numbers"), Kind("iu", "integers"), Kind("U", "text")


class Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int  # bytes before the data
    bytes: int  # of the data


class Npz:
    """An open file. `header` looks at an array, `data` reads it."""

    path: str | PathLike[str]

    def __init__(self, path: str | PathLike[str], archive: zipfile.ZipFile):
        self.path, self._archive = path, archive
        self._headers: dict[str, Header] = {}
        times = Counter(archive.namelist())
        self.names: tuple[str, ...] = tuple(name.removesuffix(".npy") for name in times)  # in the file's order
        for name, n in times.items():
            if n > 1:
                raise ValueError(f"{path} should hold each array once; got {name!r} {n} times")

    def header(self, name: str, kind: Kind) -> Header:
        """The header of the array, once it is of this kind and agrees with the archive and the file.

        Raises ValueError.
        """
        info = self._info(name)
        inflated, packed = info.file_size, info.compress_size
        if info.flag_bits & 1:
            raise ValueError(f"{self.path}: {name!r} is encrypted (write the file without a password)")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{self.path}: {name!r} is packed in a way that NumPy does not write (repack the file)")
        if packed > os.stat(self.path).st_size or inflated > INFLATION * (packed + 1):
            raise ValueError(
                f"{self.path} is damaged: {name!r} claims {inflated:,} bytes out of {packed:,} packed ones"
            )
        with _named(f"{self.path} is damaged: {name!r}"), self._archive.open(info) as file:
            start = io.BytesIO(file.read(HEADER))
        header = self._parsed(start, name)
        if header.dtype.hasobject or header.dtype.kind not in kind.letters:
            objects = " (Python objects are never loaded: save plain numbers, or text)" * header.dtype.hasobject
            raise ValueError(f"{self.path}: {name!r} should hold {kind.words}; got {header.dtype!s:.80}{objects}")
        self._headers[name] = header
        there, total = inflated - header.offset, sum(h.bytes for h in self._headers.values())
        if header.bytes != there or header.bytes > LARGEST or total > ALL:
            raise ValueError(
                f"{self.path}: {name!r} claims to be {header.shape!s:.80} {header.dtype}, {header.bytes:,} bytes; "
                f"{there:,} are there (and at most {LARGEST:,} are read, of all arrays together {ALL:,})"
            )
        return header

    def data(self, name: str) -> np.ndarray:
        """The array whose `header` was asked for. Raises ValueError if it does not agree with its checksum."""
        header = self._headers[name]
        content = np.empty(header.bytes, np.uint8)
        with _named(f"{self.path} is damaged: {name!r}"), self._archive.open(f"{name}.npy") as file:
            file.read(header.offset)
            for k in range(0, len(content), CHUNK):
                part = file.read(min(CHUNK, len(content) - k))  # the last one is where the checksum is compared
                if len(part) < min(CHUNK, len(content) - k):
                    raise EOFError
                content[k : k + CHUNK] = np.frombuffer(part, np.uint8)
        if header.dtype.kind == "U":  # NumPy would make text of any numbers, which breaks Python later
            letters = content.view(header.dtype.byteorder.replace("|", "=") + "u4")
            if letters.max(initial=0) > sys.maxunicode:
                raise ValueError(f"{self.path} is damaged: {name!r} holds what is no letter")
        try:
            return np.ndarray(header.shape, header.dtype, content.data, order="F" if header.fortran else "C")
        except ValueError:  # more axes than NumPy has, or one too long beside one of length zero
            raise ValueError(f"{self.path} is damaged: {name!r} claims the shape {header.shape!s:.80}") from None

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._archive.getinfo(f"{name}.npy")
        except KeyError:
            held = ", ".join(sorted(self._archive.namelist())) or "nothing"
            raise ValueError(f"{self.path}: the array {name!r} is missing from {held!s:.200}") from None

    def _parsed(self, start: io.BytesIO, name: str) -> Header:
        """The header of a .npy file, of version 1 or 2."""
        try:
            readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            with warnings.catch_warnings():  # of headers that Python 2 wrote, or that look like it
                warnings.simplefilter("ignore")
                shape, fortran, dtype = readers[npy.read_magic(start)](start)
        except NO_HEADER as error:
            raise ValueError(
                f"{self.path} is damaged: {name!r} does not begin as an array of NumPy does ({error!s:.80})"
            ) from error
        if any(n < 0 for n in shape):
            raise ValueError(f"{self.path} is damaged: {name!r} claims the shape {shape!s:.80}")
        return Header(shape, fortran, dtype, start.tell(), math.prod(shape) * dtype.itemsize)


@contextmanager
def open_npz(path: str | PathLike[str]) -> Iterator[Npz]:
    """The file, open for as long as the `with` block lasts.

    Raises ValueError for what is no .npz file, and for arrays of one name; OSError if it cannot be opened.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{path} should be an .npz file; it is a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}"
        )
    with open(path, "rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            raise ValueError(f"{path} should be an .npz file; it holds one array without a name (.npy)")
        with _named(f"{path} is damaged, or no .npz file"):
            archive = zipfile.ZipFile(file)
        with archive:
            yield Npz(path, archive)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Of damage to the archive: `what`, and the reason."""
    try:
        yield
    except DAMAGED as error:
        raise ValueError(f"{what}: {error!s:.200}" if str(error) else f"{what}: it ends too early") from error
