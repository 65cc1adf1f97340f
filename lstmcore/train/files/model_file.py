"""A model in a file (sealed.py): its configuration and its parameters. Written whole or not at all."""

import os
from pathlib import Path

from lstmcore.arrays import to_numpy
from lstmcore.hints import hinted
from lstmcore.layers import Layer, from_config
from lstmcore.layers.initialise import UNFILLED
from lstmcore.ops.recurrence import EngineName
from lstmcore.shapes import check_kind, check_layer
from lstmcore.train.files import contents, sealed
from lstmcore.train.files.sealed import CHECKPOINT, MODEL


@hinted
def save(path: str | os.PathLike[str], model: Layer) -> None:
    """Writes the model's configuration and parameters to `path`.

    Atomic: after a crash, a full disk or a kill, the file that was there before is still there, untouched. Raises
    OSError where the folder does not exist or cannot be written, TypeError for a complex model and for a layer that
    `load` could not build: one of one's own that `lc.register` does not know, or whose configuration is no plain data.
    """
    check_kind("path", path, isinstance(path, str | os.PathLike), "the name of a file", "lc.save(path, model)")
    check_layer("model", model, "config", "lc.save(path, model)")
    arrays = {name: to_numpy(w) for name, w in model.params.items()}
    for name, w in arrays.items():
        if w.dtype.name not in ("float32", "float64"):
            raise TypeError(f"a model of float32 or float64 can be saved; {name} is {w.dtype}")
    contents.check_model(model)
    sealed.write(Path(path), MODEL, arrays, **contents.texts(model.config()))


@hinted
def load(path: str | os.PathLike[str], engine: EngineName = None) -> Layer:
    """The model in the file, its arrays NumPy's, to run on `engine` (None: the best there is).

    The file may also be a checkpoint: then it is the model that was trained. Every name, shape and dtype in the file is
    compared with the configuration before a weight is read or memory taken for it. Raises ValueError for a file that is
    truncated, damaged, not of lstmcore or of a later format, and OSError where there is none.
    """
    check_kind("path", path, isinstance(path, str | os.PathLike), "the name of a file", "lc.load(path, engine=None)")
    path = Path(path)
    kind, texts, arrays = sealed.read(path, (MODEL, CHECKPOINT), contents.check)
    model = from_config(sealed.as_json(texts, "config"), engine, UNFILLED)
    weights = arrays if kind is MODEL else contents.inside(arrays, "model.")
    contents.compare(contents.shapes_of(model.params), contents.shapes_of(weights))
    for name, w in weights.items():
        model.params[name] = w
    return model
