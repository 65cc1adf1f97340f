"""The LSTM, GRU and RNN operators of ONNX as onnxruntime computes them, in float32, forward.

Unequal weights and biases in every gate, T > 1 and nonzero states, so that a wrong gate order shows. Gate orders of
ONNX: LSTM i o f c, GRU z r h (linear_before_reset = 1). Each entry is allowed the rounding bounds of both sides: 8 ulps
for every activation, and the roundings of sums and products in any order (rounding.py).
"""

import numpy as np
import pytest
from cases import Problem, assert_within, flatten, witness

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
AXES = {"Y": "TDBH", "h": "DBH", "c": "DBH"}  # D: 2 if bidirectional, else 1
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}  # ONNX's blocks, as positions in ours


def blocks(values: np.ndarray, cell: str) -> np.ndarray:
    """(..., K H) with its blocks in ONNX's order."""
    parts = np.split(values, len(ORDER[cell]), axis=-1)
    return np.concatenate([parts[k] for k in ORDER[cell]], axis=-1)


def onnx_weights(problem: Problem, prefix: str, cell: str) -> list[np.ndarray]:
    """W (K H, I), R (K H, H), B (2 K H) of one direction."""
    p = {name.removeprefix(prefix): v for name, v in problem.params.items() if name.startswith(prefix)}
    H = p["W_hh"].shape[0]
    second = np.zeros_like(p["b"])
    if cell == "gru":
        second[2 * H :] = p["b_hn"]
    return [blocks(p["W_ih"], cell).T, blocks(p["W_hh"], cell).T, np.append(blocks(p["b"], cell), blocks(second, cell))]


def onnx_results(onnx, onnxruntime, problem: Problem, cell: str, bidirectional: bool) -> dict[str, np.ndarray]:
    """y and final states as cases.run names them."""
    prefixes = ["fw.", "bw."] if bidirectional else [""]
    W, R, bias = (np.stack(arrays) for arrays in zip(*(onnx_weights(problem, p, cell) for p in prefixes), strict=True))
    T, B, _ = problem.x.shape
    lengths = np.full(B, T) if problem.mask is None else problem.mask.sum(axis=0)
    states = problem.state if bidirectional else (problem.state,)
    feeds = {"X": problem.x, "W": W, "R": R, "B": bias, "lengths": lengths.astype("int32")}
    feeds["h0"] = np.stack([state[0] for state in states])
    outputs = ["Y", "h"]
    if cell == "lstm":
        feeds["c0"] = np.stack([state[1] for state in states])
        outputs.append("c")
    options = {"hidden_size": R.shape[-1], "direction": "bidirectional" if bidirectional else "forward"}
    if cell == "gru":
        options["linear_before_reset"] = 1
    kinds = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(OPERATORS[cell], list(feeds), outputs, **options)],
        "recurrent",
        [onnx.helper.make_tensor_value_info(name, kinds[str(v.dtype)], v.shape) for name, v in feeds.items()],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, AXES[name]) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), threads, providers=["CPUExecutionProvider"])
    Y, *last = session.run(outputs, {name: np.ascontiguousarray(value) for name, value in feeds.items()})
    y = np.concatenate([Y[:, d] for d in range(len(prefixes))], axis=-1)  # (T, D, B, H) -> (T, B, D H)
    states = tuple(tuple(s[d] for s in last) for d in range(len(prefixes)))
    return flatten({"y": y, "state": states if bidirectional else states[0]})


@pytest.mark.parametrize("mask", ["none", "right"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", OPERATORS)
def test_agrees_with_onnxruntime(engine, onnx, onnxruntime, cell, bidirectional, mask):
    engine.skip_if_unsupported(cell, dtype="float32")
    one = (cell, 3, 4)
    spec = ("bidirectional", one, one) if bidirectional else one
    problem = Problem(spec, 6, 4, mask, seed=1, dtype="float32")
    want = onnx_results(onnx, onnxruntime, problem, cell, bidirectional)
    _, bounds = witness(problem)
    layer = engine.place(problem.layer())
    y, last = layer.predict(engine.array(problem.x), engine.array(problem.state), mask=engine.array(problem.mask))
    got = flatten(engine.host({"y": y, "state": last}))
    assert all(value.dtype == np.float32 for value in (*got.values(), *want.values()))
    bounds = {name: bounds[name] for name in got}
    assert_within(got, want, bounds, "float32", "float32")
    for name, value in want.items():  # a bound that lets no wrong number through
        assert np.max(bounds[name]) * 2.0**-24 < 0.01 * np.max(np.abs(value)), name
