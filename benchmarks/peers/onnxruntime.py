"""ONNX Runtime: the LSTM operator with constant weights. It has no backward pass."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from benchmarks.peers import Job
from benchmarks.problem import Problem

OUTPUTS = {"Y": "TDBH", "h": "DBH", "c": "DBH"}  # D = 1: one direction
KINDS = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE, "int32": onnx.TensorProto.INT32}


class Peer:
    modes = ("forward",)

    def __init__(self, threads: int, variant: str):
        self.threads = threads
        self.version = onnxruntime.__version__

    def forward(self, problem: Problem) -> Job:
        feeds = {"X": problem.batch.x}
        if problem.batch.lengths is not None:
            feeds["lengths"] = problem.batch.lengths.astype("int32")
        session = self._session(problem, feeds)

        def results(outcome):
            y, h, c = outcome
            return {"y": y[:, 0], "h": h[0], "c": c[0]}

        return Job(lambda: session.run(list(OUTPUTS), feeds), results)

    def _session(self, problem: Problem, feeds: dict[str, np.ndarray]) -> onnxruntime.InferenceSession:
        W, R, b = (_blocks(problem.params[name]).T for name in ("W_ih", "W_hh", "b"))
        weights = {"W": W[None], "R": R[None], "bias": np.append(b, np.zeros_like(b))[None]}
        inputs = ["X", *weights, *([name for name in feeds if name != "X"])]
        graph = helper.make_graph(
            [helper.make_node("LSTM", inputs, list(OUTPUTS), hidden_size=R.shape[-1])],
            "lstm",
            [helper.make_tensor_value_info(name, KINDS[str(v.dtype)], v.shape) for name, v in feeds.items()],
            [helper.make_tensor_value_info(name, KINDS[str(W.dtype)], axes) for name, axes in OUTPUTS.items()],
            [onnx.numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _blocks(values: np.ndarray) -> np.ndarray:
    """(..., 4H) with its blocks i f g o in ONNX's order i o f g."""
    i, f, g, o = np.split(values, 4, axis=-1)
    return np.concatenate([i, o, f, g], axis=-1)
