"""What runs ONNX files: onnxruntime, onnx's own ReferenceEvaluator, OpenVINO, tract. Outputs alone.

onnxruntime:layout1 and so on put the batch first, by the attribute layout = 1.
"""

import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from lstmcore.debug.certify import read_pack
from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.onnx_nodes import batch_first, model_of, node_of
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

Arrays = dict[str, np.ndarray]
Session = Callable[[Theirs, Arrays, list[str]], list[np.ndarray]]  # (model, inputs, names of outputs) -> outputs


def engine(kind: str, dtype: str, *words: str) -> tuple[str, Run]:
    if set(words) - {"layout1"}:
        raise ValueError(f"after {kind} may stand layout1, the batch first; got {':'.join(words)}")
    version, session = {
        "onnxruntime": _onnxruntime, "onnx-reference": _reference, "openvino": _openvino, "tract": _tract,
    }[kind]()  # fmt: skip
    return version, partial(_run, session, dtype, bool(words), read_pack())


def _run(session: Session, dtype: str, first: bool, pack: Mapping[str, Golden], case: Golden) -> dict[str, object]:
    try:
        node = node_of(case, pack, dtype)
    except ValueError as error:
        raise Refused(str(error)) from None
    node = batch_first(node) if first else node
    outputs = dict(zip(node.outputs, session(model_of(node), node.inputs, list(node.outputs))))
    if outputs["Y"].shape != node.outputs["Y"].shape:
        return {"y": outputs["Y"]}
    if first:  # Y (B, T, D, H), Y_h (B, D, H)
        outputs = {name: np.moveaxis(a, 0, 2 if name == "Y" else 1) for name, a in outputs.items()}
    found: dict[str, object] = {"y": outputs["Y"].swapaxes(1, 2).reshape(case.T, case.B, -1)}
    for k, place in enumerate(case.places):
        found |= {f"state/{place}.{s}": outputs[f"Y_{s}"][k] for s in case.states}
    return found


def _onnxruntime() -> tuple[str, Session]:
    import onnxruntime

    def session(model: Theirs, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        ready = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return ready.run(names, inputs)

    return onnxruntime.__version__, session


def _reference() -> tuple[str, Session]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    def session(model: Theirs, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        return list(ReferenceEvaluator(model).run(names, inputs))

    return onnx.__version__, session


def _constant(model: Theirs, inputs: Arrays) -> Arrays:
    """Everything but x into the model, as exporters write it and these engines want it; what is left to be fed."""
    import onnx

    graph = model.graph
    fed = [value for value in graph.input if value.name == "X"]
    del graph.input[:]
    graph.input.extend(fed)
    graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in inputs.items() if name != "X")
    return {"X": inputs["X"]}


def _openvino() -> tuple[str, Session]:
    import openvino

    core, exact = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}

    def session(model: Theirs, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        fed = _constant(model, inputs)
        ready = core.compile_model(core.read_model(model.SerializeToString()), "CPU", exact)
        answer = ready(fed)
        return [answer[name] for name in names]

    return openvino.__version__.split("-")[0], session


def _tract() -> tuple[str, Session]:
    import tract

    def session(model: Theirs, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        fed = _constant(model, inputs)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            ready = tract.onnx().load(str(path)).into_model().into_runnable()
        return [np.asarray(value.to_numpy()) for value in ready.run([fed["X"]])]

    return importlib.metadata.version("tract"), session
