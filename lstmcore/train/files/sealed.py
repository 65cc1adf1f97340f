"""A sealed file: safetensors, so that nothing in it can be executed, with texts beside the arrays and a checksum.

The metadata of the file, all of it text:

    format    what it is: "lstmcore model" or "lstmcore checkpoint"
    version   of this format
    library   the version of lstmcore that wrote it
    config    what builds the model: `model.config()` as JSON
    gates     the order of the gates in its weights, as JSON: {"LSTM": "i f g o"}; before, of all cells
    state     only in a checkpoint: everything about the training that is no array, as JSON
    sha256    of the texts that `Kind.sealed` names and of all arrays, with their names, dtypes and shapes
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.train.files.atomic import write_atomically

DTYPES = {"F32": "float32", "F64": "float64", "BOOL": "bool"} | {
    f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}


class Kind(NamedTuple):
    """One of the formats."""

    format: str
    version: str
    sealed: tuple[str, ...]  # the texts under the checksum


MODEL = Kind("lstmcore model", "1", ("config", "gates"))
CHECKPOINT = Kind("lstmcore checkpoint", "1", ("format", "version", "library", "config", "gates", "state"))

Shapes = dict[str, tuple[tuple[int, ...], str | None]]  # array -> shape, dtype


class Damaged(ValueError):
    """A file that is not as it was written."""


class Foreign(ValueError):
    """A file that may be as it was written, and that this program cannot read."""


def write(path: Path, kind: Kind, arrays: Mapping[str, np.ndarray], **texts: str) -> None:
    """Writes the file, whole or not at all. Raises OSError where that cannot be."""
    from lstmcore import __version__

    texts |= {"format": kind.format, "version": kind.version, "library": __version__}
    write_atomically(path, to_bytes(arrays, texts | {"sha256": digest(kind, texts, arrays.items())}))


def to_bytes(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """The content of a safetensors file: equal arrays and texts give equal bytes, which the library's own writer, with
    its texts in random order, does not promise."""
    spelt = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": dict(sorted(texts.items()))}
    parts, end = [], 0
    for name, a in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):  # so that each is aligned
        begin, end = end, end + a.nbytes
        header[name] = {"dtype": spelt[a.dtype.name], "shape": a.shape, "data_offsets": (begin, end)}
        parts.append(a.tobytes())  # in C order, and little-endian like every machine that this runs on
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def read(
    path: Path, kinds: Iterable[Kind], check: Callable[[Kind, dict[str, str], Shapes], None]
) -> tuple[Kind, dict[str, str], dict[str, np.ndarray]]:
    """The kind, the texts and the arrays of a file.

    check: gets the kind, the texts and the shapes of all arrays, before memory is taken for one; it raises Damaged if
    they do not belong together, Foreign if this program cannot read them. The file itself cannot promise more than it
    holds: safetensors compares the lengths in its header with the length of the file.

    Raises Damaged, a ValueError, for a file that is truncated, not as it was written or not of these kinds, Foreign,
    too, for one of a later version, OSError where there is none.
    """
    from safetensors import SafetensorError, safe_open

    inside = path / "model.safetensors"
    if path.is_dir():
        run = f"; the model of a run is the file {inside}" if inside.is_file() else ""
        raise IsADirectoryError(f"{path} is a folder{run}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'it is no file' if path.exists() else 'there is no such file'}")
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            kind = _kind(path, texts, kinds)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
            shapes: Shapes = {name: (tuple(s.get_shape()), DTYPES.get(s.get_dtype())) for name, s in slices.items()}
            foreign = ""  # why this program cannot read it: told once the file is known to be undamaged
            try:
                _check_version(kind, texts)
                check(kind, texts, shapes)
            except Foreign as error:
                foreign = f"{path} {error}"
            except Damaged as error:
                raise Damaged(f"{path} is damaged: {error}") from error
            arrays = {name: file.get_tensor(name) for name in shapes}
    except SafetensorError as error:
        raise Damaged(f"{path} is damaged, truncated or no safetensors file: {error}") from error
    if digest(kind, texts, arrays.items()) != texts.get("sha256"):
        raise Damaged(f"{foreign + ', or' if foreign else path} is damaged: its contents do not match their checksum")
    if foreign:
        raise Foreign(foreign)
    return kind, texts, arrays


def as_json(texts: Mapping[str, str], name: str) -> Plain:
    """A text of the file, parsed. Raises Damaged for what is no JSON."""
    try:
        return json.loads(texts[name])
    except (KeyError, ValueError, RecursionError) as error:
        what = "configuration" if name == "config" else name
        raise Damaged(f"its {what} cannot be read ({error})") from error


def digest(kind: Kind, texts: Mapping[str, str], arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """The checksum, SHA-256 as hexadecimal digits."""
    checksum = hashlib.sha256(json.dumps([texts.get(name) for name in kind.sealed]).encode())
    for name, a in sorted(arrays):
        checksum.update(json.dumps([name, a.dtype.name, a.shape]).encode() + np.ascontiguousarray(a).tobytes())
    return checksum.hexdigest()


def _kind(path: Path, texts: dict[str, str], kinds: Iterable[Kind]) -> Kind:
    """Which of the kinds it is."""
    named = {kind.format: kind for kind in kinds}
    kind = named.get(texts.get("format", ""))
    if kind is None:
        wanted = " or ".join(name.removeprefix("lstmcore ") for name in named)
        raise Damaged(f"{path} is no {wanted} of lstmcore: its format is {texts.get('format', 'not given')!r}")
    return kind


def _check_version(kind: Kind, texts: dict[str, str]) -> None:
    if texts.get("version") != kind.version:
        raise Foreign(
            f"has version {texts.get('version')!r} of the format, and this lstmcore reads {kind.version!r} "
            f"(it was written by lstmcore {texts.get('library')})"
        )
