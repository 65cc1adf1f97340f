"""Files of Keras 3, read without Keras: .keras (a configuration and arrays), and .weights.h5 (arrays alone).

Nothing in them is executed: the configuration is JSON, the arrays are HDF5, and a kind of layer that is not known is
refused by its name.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain
from lstmcore.interop.proof import Differs, Proof
from lstmcore.interop.read.keras_config import in_order
from lstmcore.layers import Layer

if TYPE_CHECKING:
    import h5py

DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, IndexError, TypeError, AttributeError, RuntimeError),
    *(NotImplementedError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, OverflowError, MemoryError),
)
OF_MASKS = {"NotEqual", "Any"}  # what Keras computes where a layer of a graph makes a mask
INFLATION = 1100  # deflate makes at most 1,032 bytes of one


class Unread(ValueError):
    """Why a file is not read, where it is not damaged."""


def read_file(
    path: Path, *, dtype: str | None = None, config: str | Plain | None = None, **options: object
) -> tuple[Layer, Proof]:
    """config: of a .weights.h5 file, the text of model.to_json(), or what it says.

    Raises ValueError for a damaged file, for what lstmcore lacks, and if both sides disagree.
    """
    if options:
        raise TypeError(f"a file of Keras says its own options; got {', '.join(options)}")
    try:
        import h5py
    except ImportError:
        raise ImportError("arrays of Keras are read by h5py: pip install h5py") from None
    if path.suffix != ".keras" and _is_of_keras_2(path):
        raise Unread(
            f"{path} is a whole model in the format of Keras 2: save it once more, "
            'keras.saving.load_model(path).save("model.keras")'
        )
    if path.suffix != ".keras" and config is None:
        raise Unread(
            f"{path} holds arrays and no options: pass config=model.to_json(), or a file of that text, --config FILE "
            "(a .keras file holds both)"
        )
    notes: list[str] = []
    size = path.stat().st_size
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > INFLATION * path.stat().st_size:
                    raise zipfile.BadZipFile("it claims to hold more than a file of its size can")
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile("its parts do not match their checksums")
                said: Plain = json.loads(archive.read("config.json"))
                source: io.BytesIO | Path = io.BytesIO(archive.read("model.weights.h5"))
        else:
            said, source = json.loads(config) if isinstance(config, str) else config or {}, path
        with h5py.File(source, "r") as held:
            parts = [(p["class_name"], p["config"], _arrays(held, group, size)) for group, p in _numbered(said)]
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged, or no file of Keras 3: {error!s:.200}") from error
    try:
        layers, flipped = in_order(parts, dtype, notes)
    except (KeyError, IndexError) as error:  # arrays or options that its layers need
        raise ValueError(f"{path} is damaged, or no file of Keras 3: {error!s:.200}") from error
    model = chain(layers)
    proof = (
        _prove(path, model, flipped)
        if path.suffix == ".keras"
        else Proof(None, "arrays and a configuration of two sources")
    )
    return model, proof._replace(words="; ".join([proof.words, *notes]))


def _is_of_keras_2(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path, "r") as held:
            return "model_config" in held.attrs
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged, or no HDF5 file: {error!s:.200}") from error


def _numbered(config: Plain, room: str = "") -> Iterator[tuple[str, Plain]]:
    """(the name of its group, configuration) of each layer, in order, those of models within it too.

    Raises Unread for layers that do not follow one another, and for classes of somebody's own.
    """
    if "layers" not in config["config"]:
        raise Unread(
            f"a {config['class_name']} is a class of somebody's own, which alone knows its layers: hand over the model "
            "itself"
        )
    times: dict[str, int] = {}
    before = ""
    for part in config["config"]["layers"]:
        name = part["config"].get("name", part["class_name"])
        if part["class_name"] in OF_MASKS:
            continue
        if not (part.get("module", "keras") or "").startswith("keras"):
            raise Unread(f"`{name}` is a {part['class_name']} of somebody's own, of which a file holds no text")
        reads = [_histories(node) for node in part.get("inbound_nodes") or []]
        if len(reads) > 1 or (before and reads and reads[0] != [(before, 0)]):
            called = f"is called {len(reads)} times" if len(reads) > 1 else f"reads {', '.join(n for n, _ in reads[0])}"
            raise Unread(f"`{name}` {called}: the layers should follow one another, each reading all that one gives")
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", part["class_name"]).lower()
        snake = re.sub(r"\W", "", snake)
        n = times.get(snake, 0)
        times[snake], before = n + 1, name if "inbound_nodes" in part else ""
        group = room + (snake if n == 0 else f"{snake}_{n}")
        if part["class_name"] in ("Sequential", "Functional"):
            yield from _numbered(part, f"{group}/layers/")
        else:
            yield group, part
    gives = _places(config["config"].get("output_layers", [[before, 0, 0]]))  # a Sequential has none
    apart = bool(before) and part["class_name"] == "Bidirectional" and part["config"].get("merge_mode", "") is None
    if gives != [(before, k) for k in range(1 + apart)]:
        told = ", ".join(f"{name}, output {k}" for name, k in gives)
        raise Unread(f"the model should give what its last layer `{before}` gives, and nothing else; got {told}")


def _places(outputs: object) -> list[tuple[str, int]]:
    """(layer, which of its outputs) of each output of a graph, however they are nested."""
    if isinstance(outputs, dict):
        return [place for value in outputs.values() for place in _places(value)]
    if isinstance(outputs, list) and outputs and isinstance(outputs[0], str):
        return [(outputs[0], outputs[2])]
    return [place for value in outputs for place in _places(value)] if isinstance(outputs, list) else []


def _histories(node: object) -> list[tuple[str, int]]:
    """(layer, which of its outputs) of every tensor that a call takes."""
    if isinstance(node, dict):
        history = node.get("keras_history")
        inner = [h for key, value in node.items() if key != "mask" for h in _histories(value)]
        return [(history[0], history[2])] if history else inner
    return [h for value in node for h in _histories(value)] if isinstance(node, list) else []


def _arrays(held: "h5py.File", group: str, size: int) -> list[np.ndarray]:
    """The arrays of a layer, forwards before backwards."""
    names = ("layers", "_layer_checkpoint_dependencies")
    layers = next((held[name] for name in names if name in held), None)
    if layers is None:
        raise Unread(
            f"it holds the arrays of {', '.join(held)}, as a model of somebody's own class has them: hand over the "
            "model itself"
        )
    if group not in layers:
        return []
    found: list[tuple[tuple[bool, str], np.ndarray]] = []

    def visit(name: str, item: "h5py.Dataset | h5py.Group") -> None:
        if hasattr(item, "shape"):
            if item.nbytes > INFLATION * size or item.dtype.kind != "f":
                raise OSError(f"`{group}/{name}` claims {item.shape} {item.dtype}")
            found.append((("backward_layer" in name, name), item[()]))

    layers[group].visititems(visit)
    return [array for _, array in sorted(found, key=lambda entry: entry[0])]


def _prove(path: Path, model: Layer, flipped: bool) -> Proof:
    try:
        import keras

        theirs = keras.saving.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # not installed, no backend, or a file that Keras itself does not take
        return Proof(None, f"Keras does not run it here ({error!s:.100})")
    from lstmcore.interop.read.keras_layers import prove

    try:
        return prove(theirs, model, flipped)
    except Differs as error:
        raise Differs(f"{path}: the model of Keras gives something else than its layers in order: {error}") from error
