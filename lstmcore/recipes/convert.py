"""A model from one kind of file to another: lstmcore's own, torch's, Keras's, ONNX's."""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from lstmcore import interop, train
from lstmcore.arrays import Plain
from lstmcore.interop.proof import Proof, compare, inputs
from lstmcore.interop.write.keras_model import to_keras
from lstmcore.interop.write.onnx_graph import to_onnx
from lstmcore.interop.write.torch_source import state_dict, to_torch, torch_source
from lstmcore.layers import Layer
from lstmcore.train.files.atomic import write_atomically

if TYPE_CHECKING:
    import keras

ENDINGS = (".safetensors", ".pt", ".onnx", ".keras", ".weights.h5")


def convert(
    source: Path,
    out: Path,
    *,
    to: str | None = None,
    dtype: str | None = None,
    lengths: bool = False,
    overwrite: bool = False,
    tell: Callable[[str], object] = print,
    options: Plain | None = None,
) -> Layer:
    """Reads `source`, writes `out` in the format of its ending, and says what was proved on both ways.

    to: "torch" or "lstmcore", of a .safetensors file; by default the other side of what came in. dtype: what weights
    are written in, of torch's and ONNX's "float16" or "bfloat16" too. lengths: an .onnx graph with lengths as an input.
    overwrite: what stands at `out` is lost. options: as `lstmcore.interop.read` takes them. Raises FileExistsError for
    a file that would be lost, ValueError for what cannot be read, or written so; nothing is written then.
    """
    if (source / "model.safetensors").is_file():
        raise ValueError(f"{source} is a folder; the model of a run is the file {source / 'model.safetensors'}")
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out} is what is read, and would be lost: give OUT another name")
    ending = next((e for e in ENDINGS if out.name.endswith(e)), None)
    if ending is None:
        raise ValueError(f"{out} should end in {', '.join(ENDINGS)}")
    if to not in (None, "torch", "lstmcore"):
        raise ValueError(f'`to` should be "torch" or "lstmcore"; got {to!r}')
    own = _is_own(source)
    torchs = ending == ".pt" or (ending == ".safetensors" and (to or ("torch" if own else "lstmcore")) == "torch")
    for file in (out, out.with_suffix(".py"))[: 1 + torchs]:
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} is there and would be lost: give OUT another name, or pass --overwrite")
    model = train.load(source) if own else interop.read(source, tell=tell, **(options or {}))
    if own:
        tell(f"{source} is {model!r}")
    if dtype is not None and (ending not in (".safetensors", ".pt", ".onnx") or to == "lstmcore"):
        raise ValueError("`dtype` is for files of torch and ONNX; the others hold what the model has")
    if torchs:
        _torch(out, model, dtype, tell)
    elif ending == ".safetensors":
        train.save(out, model)
        tell(f"{out}: a model of lstmcore, for lc.load")
    elif ending == ".onnx":
        write_atomically(out, to_onnx(model, lengths, dtype).SerializeToString())
        if dtype is not None:  # the graph has other numbers than the model: it is read again, and proved as what it is
            interop.read(out, tell=tell)
            return model
        tell(f"{out}: a graph of ONNX; {_proof(model, lambda x: _run_onnx(out, x))}")
    else:
        theirs = to_keras(model)
        with tempfile.TemporaryDirectory() as folder:  # Keras writes to names alone, and on a full disk HDF5 crashes
            made = Path(folder) / f"model{ending}"
            theirs.save_weights(made) if ending == ".weights.h5" else theirs.save(made)
            write_atomically(out, made.read_bytes())
        tell(f"{out}: a model of Keras, batch first; {_proof(model, lambda x: _run_keras(theirs, x))}")
    return model


def _is_own(path: Path) -> bool:
    """Whether it is a file of lstmcore's."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format", "").startswith("lstmcore")
    except (SafetensorError, OSError):
        return False


def _torch(out: Path, model: Layer, dtype: str | None, tell: Callable[[str], object]) -> None:
    """A state_dict, and beside it the text of the class that it belongs to."""
    text = torch_source(model)
    if out.suffix == ".pt" or dtype == "bfloat16":
        import torch

        tensors = {k: torch.from_numpy(v.copy()) for k, v in state_dict(model).items()}
        tensors = {k: v.to(getattr(torch, dtype)) if dtype else v for k, v in tensors.items()}
        if out.suffix == ".pt":
            buffer = io.BytesIO()
            torch.save(tensors, buffer)
            data = buffer.getvalue()
        else:
            from safetensors.torch import save

            data = save(tensors)
    else:
        from safetensors.numpy import save as save_arrays

        data = save_arrays(state_dict(model, dtype))
    write_atomically(out, data)
    write_atomically(out.with_suffix(".py"), text.encode())
    proof = _proof(model, lambda x: _run_torch(model, x))
    tell(f"{out}: a state_dict of torch, for the class Model in {out.with_suffix('.py').name}; {proof}")


def _proof(model: Layer, run: Callable[[np.ndarray], np.ndarray]) -> Proof:
    """Both sides on the same random input."""
    x = inputs(model)
    try:
        want = run(x)
    except ImportError as error:
        return Proof(None, str(error))
    got = model.predict(x)[0]
    return Proof(compare([got], [want], float(np.finfo(got.dtype).eps)), "both run on random input")


def _run_torch(model: Layer, x: np.ndarray) -> np.ndarray:
    module = to_torch(model).eval()
    import torch

    with torch.no_grad():
        y = module(torch.from_numpy(x))
    return (y[0] if isinstance(y, tuple) else y).numpy()


def _run_onnx(path: Path, x: np.ndarray) -> np.ndarray:
    try:
        import onnxruntime
    except ImportError:
        raise ImportError("onnxruntime is not installed (pip install onnxruntime)") from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {"x": x} | ({"lengths": np.full(x.shape[1], len(x), "int32")} if len(session.get_inputs()) > 1 else {})
    return session.run(None, feed)[0]


def _run_keras(theirs: "keras.Model", x: np.ndarray) -> np.ndarray:
    import keras

    y = keras.ops.convert_to_numpy(theirs(np.ascontiguousarray(x.swapaxes(0, 1)), training=False))
    return y.swapaxes(0, 1) if y.ndim == 3 else y
