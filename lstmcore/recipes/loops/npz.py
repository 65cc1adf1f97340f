"""Loops in a NumPy .npz file, as docs/loops-format.md describes it: read with care, and written.

A file may come from anywhere. Nothing in it is executed (no pickles), the sizes that it claims are held against those
of the file before memory is taken, and what was read must make sense as loops.
"""

import math
import struct
import sys
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from lstmcore.recipes.loops.torsions import CHANNELS, UNDEFINED, Loops
from lstmcore.train.callbacks.watchers import Tell, warn

KINDS = {"aa_index": "iu", "targets": "f", "length": "iu", "seq": "U", "alphabet": "U"}  # of NumPy's dtypes
LARGEST = 2**30  # bytes of one array
INFLATION = 1100  # deflate makes at most 1,032 bytes of one
ON_THE_CIRCLE = 0.01  # how far sin^2 + cos^2 may be from 1: three decimals are enough

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError, UnicodeError)


class Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    bytes: int  # of the data behind it


def read(path: Path, tell: Tell = warn) -> Loops:
    """The loops of a file. tell: is called if an angle is marked undefined in one of its two channels; both are then.

    Raises ValueError for a file that is damaged, of another format or without sense; OSError if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {name: _header(archive, name, path) for name in KINDS}
            _check_shapes(headers, path)
            arrays = {name: _data(archive, name, header, path) for name, header in headers.items()}
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged, or no .npz file: {error}") from error
    return _loops(arrays, path, tell)


def write(path: Path, loops: Loops) -> None:
    """The loops as a file that `read` reads. Raises OSError."""
    np.savez_compressed(
        path,
        aa_index=loops.index.astype(np.int8 if len(loops.alphabet) < 128 else np.int64),
        targets=loops.targets,
        length=loops.lengths,
        seq=loops.sequences,
        alphabet=np.array(loops.alphabet),
    )


def _header(archive: zipfile.ZipFile, name: str, path: Path) -> Header:
    """What the array says of itself, once that agrees with the sizes in the archive and with the file on disk."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        held = ", ".join(sorted(archive.namelist())) or "nothing"
        raise ValueError(f"{path} should hold {', '.join(KINDS)}; {name!r} is missing from {held:.200}") from None
    inflated, packed = info.file_size, info.compress_size
    if packed > path.stat().st_size or inflated > INFLATION * (packed + 1):
        raise ValueError(f"{path} is damaged: {name!r} claims {inflated:,} bytes out of {packed:,} packed ones")
    with archive.open(info) as file:
        header = _parsed(file, name, path)
        there = inflated - file.tell()
    if header.dtype.kind not in KINDS[name] or header.dtype.hasobject:
        objects = " (Python objects are never loaded: save it as text)" if header.dtype.hasobject else ""
        wanted = {"iu": "integers", "f": "floating", "U": "text"}[KINDS[name]]
        raise ValueError(f"{path}: {name!r} should be {wanted}; got {header.dtype}{objects}")
    if not header.bytes == there <= LARGEST or there == 0:
        raise ValueError(
            f"{path}: {name!r} claims to be {header.shape} {header.dtype}, {header.bytes:,} bytes; {there:,} are there "
            f"(and at most {LARGEST:,} are read)"
        )
    return header


def _parsed(file: Any, name: str, path: Path) -> Header:
    """The header of a .npy file, of version 1 or 2; the file then stands at its data."""
    try:
        version = npy.read_magic(file)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        with warnings.catch_warnings():  # of headers that Python 2 wrote, or that look like it
            warnings.simplefilter("ignore")
            shape, fortran, dtype = readers[version](file)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(f"{path} is damaged: {name!r} does not begin as an array of NumPy does ({error})") from error
    if any(n < 0 for n in shape):
        raise ValueError(f"{path} is damaged: {name!r} claims the shape {shape}")
    return Header(shape, fortran, dtype, math.prod(shape) * dtype.itemsize)


def _check_shapes(headers: dict[str, Header], path: Path) -> None:
    """One N and one T for all arrays."""
    shapes = {name: header.shape for name, header in headers.items()}
    N, T = (*shapes["aa_index"], 0, 0)[:2]
    wanted = {"aa_index": (N, T), "targets": (N, T, len(CHANNELS)), "length": (N,), "seq": (N,), "alphabet": ()}
    if shapes != wanted or N == 0 or T == 0:
        raise ValueError(
            f"{path} should hold aa_index (N, T), targets (N, T, 4), length (N,), seq (N,) and alphabet (); got "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )


def _data(archive: zipfile.ZipFile, name: str, header: Header, path: Path) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        content = file.read()  # to its end, where the checksum is compared; never more than the archive says
    offset = len(content) - header.bytes
    if header.dtype.kind == "U":  # NumPy would make text of any numbers, which breaks Python later
        letters = np.frombuffer(content, header.dtype.byteorder.replace("|", "=") + "u4", offset=offset)
        if letters.max() > sys.maxunicode:
            raise ValueError(f"{path} is damaged: {name!r} holds what is no letter")
    data = np.frombuffer(content, header.dtype, offset=offset)
    return data.reshape(header.shape, order="F" if header.fortran else "C")


def _loops(arrays: dict[str, np.ndarray], path: Path, tell: Tell) -> Loops:
    """The arrays as loops, once each number is found to mean something."""
    length, index = arrays["length"].astype(np.int64), arrays["aa_index"].astype(np.int64)
    with np.errstate(all="ignore"):  # what overflows is found below
        targets = arrays["targets"].astype(np.float32)
    alphabet, sequences = str(arrays["alphabet"]), arrays["seq"].tolist()
    T = index.shape[1]
    if len(set(alphabet)) != len(alphabet) or not alphabet:
        raise ValueError(f"{path}: 'alphabet' should be letters, each once; got {alphabet!r}")

    def check(right: np.ndarray, should: str, values: np.ndarray) -> None:
        """right: bool, (N,) or more axes."""
        if not right.all():
            where = tuple(int(axis[0]) for axis in np.nonzero(~right))
            raise ValueError(f"{path}: {should}; got {values[where]!s} at {where}")

    check((length >= 1) & (length <= T), f"'length' should lie in 1 .. T = {T}", length)
    inside = np.arange(T) < length[:, None]
    check(
        np.where(inside, (index >= 0) & (index < len(alphabet)), index == -1),
        f"'aa_index' should lie in 0 .. {len(alphabet) - 1} inside a loop, and be -1 behind its end",
        index,
    )
    undefined = targets == UNDEFINED
    check(
        np.where(inside[..., None], (np.abs(targets) <= 1 + ON_THE_CIRCLE) | undefined, undefined),
        f"'targets' should lie in [-1, 1] inside a loop, or be {UNDEFINED} if undefined, as behind its end",
        targets,
    )
    half = undefined[..., ::2] != undefined[..., 1::2]  # (N, T, 2): one of the two channels of an angle
    if half.any():
        both = np.repeat(half, 2, axis=-1)
        targets = np.where(both, np.float32(UNDEFINED), targets)
        tell(
            f"{path}: {half.sum():,} angles are marked undefined in one channel of two; both are taken as undefined "
            "now (the other one flatters every error)"
        )
    squares = targets[..., ::2] ** 2 + targets[..., 1::2] ** 2  # (N, T, 2)
    check(
        (np.abs(squares - 1) <= ON_THE_CIRCLE) | (targets[..., ::2] == UNDEFINED),
        "sin^2 + cos^2 should be 1 for phi and psi (are the channels sin phi, cos phi, sin psi, cos psi?)",
        squares,
    )
    defined = (targets != UNDEFINED).any(axis=(1, 2))
    check(defined, "every loop should have an angle that is defined", defined)
    loops = Loops(index, targets, alphabet)
    told = np.array(sequences, object)
    check(told == loops.sequences, "'seq' should spell what 'aa_index' says", told)
    return loops
