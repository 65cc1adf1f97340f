"""Other people's recurrent models, read from where they lie: an object, a file, or arrays by name."""

import importlib
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.proof import Proof, reads_itself
from lstmcore.layers import Layer

# The library that something belongs to -> the file that reads it.
OBJECTS = {
    "torch": "lstmcore.interop.read.torch_modules",
    "keras": "lstmcore.interop.read.keras_layers",
    "onnx": "lstmcore.interop.read.onnx_graphs",
    "flax": "lstmcore.interop.read.flax_modules",
    "equinox": "lstmcore.interop.read.equinox_cells",
}
FILES = {
    ".pt": "lstmcore.interop.read.tensors",
    ".pth": "lstmcore.interop.read.tensors",
    ".bin": "lstmcore.interop.read.tensors",
    ".ckpt": "lstmcore.interop.read.tensors",
    ".npz": "lstmcore.interop.read.tensors",
    ".safetensors": "lstmcore.interop.read.tensors",
    ".index.json": "lstmcore.interop.read.tensors",
    ".onnx": "lstmcore.interop.read.onnx_graphs",
    ".keras": "lstmcore.interop.read.keras_files",
    ".h5": "lstmcore.interop.read.keras_files",
    ".hdf5": "lstmcore.interop.read.keras_files",
}
BY_HAND = {  # what people have and lstmcore does not open, and how its arrays are handed over
    ".pt2": "a program of torch.export: torch.save(program.state_dict, 'model.pt')",
    ".pb": "a program of TensorFlow: save its model as .keras, or hand over its variables by name",
    ".tflite": "a program of TensorFlow Lite: read the model that it was made of",
    ".index": "a checkpoint of TensorFlow: hand over {name: reader.get_tensor(name)} of tf.train.load_checkpoint(path)",
    ".pkl": "a pickle, a program that is never run here: save its arrays by torch.save or numpy.savez",
    ".joblib": "a pickle, a program that is never run here: save its arrays by torch.save or numpy.savez",
    ".msgpack": "a tree of Flax: hand over flax.serialization.msgpack_restore(path.read_bytes())",
    ".eqx": "arrays of Equinox: hand over the module of equinox.tree_deserialise_leaves(path, module)",
    ".pdparams": "a pickle of Paddle: hand over {name: value.numpy() for name, value in paddle.load(path).items()}",
    ".params": "arrays of MXNet: hand over {name: value.asnumpy() for name, value in mxnet.nd.load(path).items()}",
    ".meta": "a graph of TensorFlow 1: hand over its variables, by tf.train.load_checkpoint",
    ".npy": "one array without a name: hand over arrays by name, or an .npz file",
    ".mat": "a file of MATLAB: hand over the arrays of scipy.io.loadmat(path) that are the layer's",
}


@np.errstate(all="ignore")  # of weights without bounds the comparison says what there is to say
def read(
    thing: object,
    *,
    layout: str | None = None,
    cell: str | None = None,
    dtype: str | None = None,
    tell: Callable[[str], object] = print,
    **options: object,
) -> Layer:
    """The lstmcore model of a torch module, a Keras 3 layer or model, an ONNX model or node, a Flax module (nnx, or
    linen with params=), a cell of Equinox, a file (.pt, .pth, .bin, .ckpt, .npz, .safetensors, .onnx, .keras,
    .weights.h5), a folder of .safetensors files with their index, or arrays by name.

        model = lc.interop.read(module)
        model = lc.interop.read("model.onnx")
        model = lc.interop.read({"kernel": ..., "recurrent_kernel": ..., "bias": ...}, layout="keras", cell="gru")

    Nothing in a file is executed. Heads come along: Linear, Embedding, Dropout, tanh, sigmoid, relu, softmax.

    layout, cell: of arrays, where their names do not tell (lstmcore.interop.LAYOUTS). dtype: "float32" or "float64",
    what weights are read into; float16 and bfloat16 are not read without it. options: of arrays, what they do not hold,
    by the names of lstmcore.interop.build.FEATURES (reset_after=, nonlinearity=, reverse=, ...). tell: is called with
    one line that says whether it was proved, by running both sides on random input, unequal lengths included.

    Raises ValueError for a feature that lstmcore lacks (by its name), for a damaged file, and if both sides differ;
    TypeError for what is none of these; ImportError, with the command, for a library that is not installed.
    """
    given = {"dtype": dtype, "layout": layout, "cell": cell, **options}
    if isinstance(thing, str | PathLike):
        if not fspath(thing):
            raise ValueError("`thing` should be the name of a file or folder; got an empty one (. is this folder)")
        path = _index(Path(thing)) if Path(thing).is_dir() else Path(thing)
        model, proof = _file(path, given)
        name = str(path)
    elif isinstance(thing, Mapping):
        model, proof = importlib.import_module("lstmcore.interop.read.tensors").read(thing, **given)
        name = "the arrays"
    else:
        library = next((base for base in map(_library, type(thing).__mro__) if base in OBJECTS), None)
        if library is None:
            hint = " (of pairs? hand over dict(...))" if hasattr(thing, "__next__") else ""
            if isinstance(thing, list):
                hint = ' (of Keras? hand over dict(zip(("kernel", "recurrent_kernel", "bias"), weights)))'
            raise TypeError(
                f"`thing` should be a module of torch, Flax or Equinox, a layer of Keras, a model or node of ONNX, a "
                f"path, or arrays by name; got {type(thing).__name__}{hint}"
            )
        model, proof = importlib.import_module(OBJECTS[library]).read(thing, **_said(given))
        name = type(thing).__name__
    if proof.error is None and not reads_itself([model]):
        raise ValueError(
            f"the parts of {name} do not read each other in the order in which they stand, {model!r}: hand over its "
            "recurrent layers one by one"
        )
    tell(f"{name} read as {model!r}; {proof}")
    return model


def from_torch(module: object, dtype: str | None = None, tell: Callable[[str], object] = print) -> Layer:
    """The lstmcore model of a torch module, proved beside it: `lc.interop.read` of a module."""
    return read(module, dtype=dtype, tell=tell)


def _index(folder: Path) -> Path:
    indices = sorted(folder.glob("*.index.json"))
    if len(indices) != 1:
        raise ValueError(
            f"{folder} is a folder without one *.index.json, as large models of .safetensors files have it: hand over "
            "the file that is in it"
        )
    return indices[0]


def _file(path: Path, given: Plain) -> tuple[Layer, Proof]:
    if path.with_name(f"{path.name}.index").is_file():
        raise ValueError(f"{path} is {BY_HAND['.index']}")
    ending = ".index.json" if path.name.endswith(".index.json") else path.suffix
    if ending in BY_HAND:
        raise ValueError(f"{path} is {BY_HAND[ending]}")
    if ending not in FILES:
        raise TypeError(f"{path} should end in {', '.join(FILES)}; got {path.suffix or 'no ending'!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'it is no file' if path.exists() else 'there is no such file'}")
    kind = "" if ending == ".index.json" else _kind(path)
    if kind not in ("", {".pth": ".pt", ".bin": ".pt", ".ckpt": ".pt", ".hdf5": ".h5"}.get(ending, ending)):
        raise ValueError(f"{path} ends in {ending} and holds what a {kind} file holds: give it that ending")
    return importlib.import_module(FILES[ending]).read_file(path, **_said(given))


def _kind(path: Path) -> str:
    """The ending that fits what a file begins with; "" where that does not tell."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return ".safetensors"
    if not head.startswith(b"PK"):
        return ".h5" if head.startswith(b"\x89HDF") else ""
    try:
        names = zipfile.ZipFile(path).namelist()
    except Exception:  # damaged: what reads it says how
        return ""
    if "config.json" in names:
        return ".keras"
    if any(name.endswith("/data.pkl") for name in names):
        return ".pt"
    return ".npz" if all(name.endswith(".npy") for name in names) else ""


def _said(given: Plain) -> Plain:
    """Only what was asked for."""
    return {"dtype": None} | {name: value for name, value in given.items() if value is not None}


def _library(kind: type) -> str:
    return kind.__module__.split(".")[0]
