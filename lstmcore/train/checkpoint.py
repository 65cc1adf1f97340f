"""A model in a file: safetensors, so that nothing in it can be executed. Written whole or not at all.

The metadata of the file, all of it text:

    format    "lstmcore model"
    version   of this format: "1"
    library   the version of lstmcore that wrote it
    config    what builds the model: `model.config()` as JSON
    gates     the order of the gates in the weights, as JSON: {"LSTM": "i f g o", ...}
    sha256    of the config, the gates and all weights
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore.arrays import to_numpy
from lstmcore.layers import Layer, from_config
from lstmcore.ops import gates
from lstmcore.ops.cells import CELLS

FORMAT, VERSION = "lstmcore model", "1"
GATES = json.dumps({"LSTM": " ".join(gates.LSTM), "GRU": " ".join(gates.GRU), "RNN": " ".join(gates.RNN)})
DTYPES = {"F32": "float32", "F64": "float64"}

Shapes = dict[str, tuple[tuple[int, ...], str]]  # parameter -> shape, dtype


def save(path: str | os.PathLike, model: Layer) -> None:
    """Writes the model's configuration and parameters to `path`.

    Atomic: after a crash, a full disk or a kill, the file that was there before is still there, untouched. Raises
    OSError where the folder does not exist or cannot be written, TypeError for a complex model.
    """
    from safetensors.numpy import save as to_bytes

    from lstmcore import __version__

    arrays = {name: np.ascontiguousarray(to_numpy(w)) for name, w in model.params.items()}
    for name, w in arrays.items():
        if w.dtype.name not in DTYPES.values():
            raise TypeError(f"a model of float32 or float64 can be saved; {name} is {w.dtype}")
    config = json.dumps(model.config())
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "library": __version__,
        "config": config,
        "gates": GATES,
        "sha256": _digest(config, GATES, arrays.items()),
    }
    write_atomically(Path(path), to_bytes(arrays, metadata))


def load(path: str | os.PathLike, engine: Any = None) -> Layer:
    """The model in the file, its arrays NumPy's, to run on `engine` (None: the best there is).

    Every name, shape and dtype in the file is compared with the configuration before a weight is read or memory taken
    for it. Raises ValueError for a file that is truncated, damaged, not of lstmcore or of a later format, and OSError
    where there is none.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            config, metadata = _checked_metadata(path, file.metadata() or {})
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
            found = {name: (tuple(s.get_shape()), DTYPES.get(s.get_dtype())) for name, s in slices.items()}
            _compare(path, _expected(path, config), found)
            weights = {name: file.get_tensor(name) for name in found}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, truncated or no safetensors file: {error}") from error
    if _digest(metadata["config"], metadata["gates"], weights.items()) != metadata.get("sha256"):
        raise ValueError(f"{path} is damaged: its contents do not match their checksum")
    model = from_config(config, engine)
    for name, w in weights.items():
        model.params[name] = w
    return model


def write_atomically(path: Path, data: bytes) -> None:
    """`data` becomes the file's content in one step: written beside it, brought to the disk, renamed."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = "there is no such folder" if not path.parent.is_dir() else error.strerror or str(error)
        message = f"could not be saved ({reason}); what was there before is untouched"
        raise type(error)(error.errno, message, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the new name is on the disk when the folder is; not every system lets us ask
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def parameter_shapes(config: dict[str, Any]) -> Shapes:
    """The parameters that a layer of this configuration has, without building it.

    Raises KeyError, TypeError or AttributeError for what is no configuration.
    """
    kind = config["kind"]
    if kind.lower() in CELLS:
        shapes = CELLS[kind.lower()].shapes(config["input_size"], config["hidden_size"])
    elif kind == "Linear":
        shapes = {"W": (config["input_size"], config["output_size"])}
        shapes |= {"b": (config["output_size"],)} if config["bias"] else {}
    elif kind == "Embedding":
        shapes = {"W": (config["classes"], config["output_size"])}
    elif kind == "Stack":
        return _below({str(k): parameter_shapes(part) for k, part in enumerate(config["layers"])})
    elif kind == "Bidirectional":
        return _below({part: parameter_shapes(config[part]) for part in ("fw", "bw")})
    elif kind in ("Tanh", "Dropout"):
        return {}
    else:
        raise KeyError(f"no kind {kind!r} (written by a later version?)")
    return {name: (shape, config["dtype"]) for name, shape in shapes.items()}


def _below(parts: dict[str, Shapes]) -> Shapes:
    return {f"{part}.{name}": value for part, shapes in parts.items() for name, value in shapes.items()}


def _checked_metadata(path: Path, metadata: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no model of lstmcore: its format is {metadata.get('format', 'not given')!r}")
    if metadata.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {metadata.get('version')!r} of the format, and this lstmcore reads {VERSION!r} "
            f"(it was written by lstmcore {metadata.get('library')})"
        )
    if metadata.get("gates") != GATES:
        raise ValueError(f"{path} has its gates in the order {metadata.get('gates')}; here it is {GATES}")
    try:
        return json.loads(metadata["config"]), metadata
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its configuration cannot be read ({error})") from error


def _expected(path: Path, config: dict[str, Any]) -> Shapes:
    try:
        return parameter_shapes(config)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: its configuration describes no model of this version ({error})") from error


def _compare(path: Path, expected: Shapes, found: dict[str, Any]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            words = [f"{v[1]} {v[0]}" if v else "absent" for v in (expected.get(name), found.get(name))]
            raise ValueError(f"{path} is damaged: {name} should be {words[0]} by its configuration; it is {words[1]}")


def _digest(config: str, order: str, weights: Iterable[tuple[str, np.ndarray]]) -> str:
    digest = hashlib.sha256(json.dumps([config, order]).encode())
    for name, w in sorted(weights):
        digest.update(json.dumps([name, w.dtype.name, w.shape]).encode() + np.ascontiguousarray(w).tobytes())
    return digest.hexdigest()
