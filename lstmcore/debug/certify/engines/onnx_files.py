"""What runs ONNX files: onnxruntime, onnx's own ReferenceEvaluator, OpenVINO, tract. Outputs alone."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore.debug.certify import read_pack
from lstmcore.debug.certify.engines import Run
from lstmcore.debug.certify.onnx_nodes import model_of, node_of
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

Arrays = dict[str, np.ndarray]
Session = Callable[[Any, Arrays, list[str]], list[np.ndarray]]  # (model, inputs, names of outputs) -> outputs


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    version, session = {
        "onnxruntime": _onnxruntime, "onnx-reference": _reference, "openvino": _openvino, "tract": _tract,
    }[kind]()  # fmt: skip
    return version, partial(_run, session, dtype, read_pack())


def _run(session: Session, dtype: str, pack: Mapping[str, Golden], case: Golden) -> dict[str, object]:
    try:
        node = node_of(case, pack, dtype)
    except ValueError as error:
        raise Refused(str(error)) from None
    outputs = dict(zip(node.outputs, session(model_of(node), node.inputs, list(node.outputs))))
    found: dict[str, object] = {"y": outputs["Y"].swapaxes(1, 2).reshape(case.T, case.B, -1)}
    for k, place in enumerate(case.places):
        found |= {f"state/{place}.{s}": outputs[f"Y_{s}"][k] for s in case.states}
    return found


def _onnxruntime() -> tuple[str, Session]:
    import onnxruntime

    def session(model: Any, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        try:
            ready = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
            raise Refused(str(error).splitlines()[0]) from None
        return ready.run(names, inputs)

    return onnxruntime.__version__, session


def _reference() -> tuple[str, Session]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    def session(model: Any, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        try:
            return list(ReferenceEvaluator(model).run(names, inputs))
        except (NotImplementedError, RuntimeError) as error:  # RuntimeError: "Unknown activation function ..."
            raise Refused(str(error)) from None

    return onnx.__version__, session


def _openvino() -> tuple[str, Session]:
    import openvino

    core, exact = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}

    def session(model: Any, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        ready = core.compile_model(core.read_model(model.SerializeToString()), "CPU", exact)
        answer = ready(inputs)
        return [answer[name] for name in names]

    return openvino.__version__, session


def _tract() -> tuple[str, Session]:
    import tract

    def session(model: Any, inputs: Arrays, names: list[str]) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            ready = tract.onnx().load(str(path)).into_model().into_runnable()
        return [np.asarray(value.to_numpy()) for value in ready.run([inputs[i.name] for i in model.graph.input])]

    return str(getattr(tract, "__version__", "")), session
