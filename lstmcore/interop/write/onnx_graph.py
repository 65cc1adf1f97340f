"""A model as a graph of ONNX that onnxruntime runs."""

from typing import Any

import numpy as np

from lstmcore.arrays import Array, Plain
from lstmcore.interop.host import on_host
from lstmcore.interop.write.blocks import Run, blocks
from lstmcore.layers import Bidirectional, Dropout, Embedding, Last, Layer, Linear, ReLU, Sigmoid, Softmax, Tanh

OPSET, IR = 17, 8
FUNCTIONS: dict[type, tuple[str, dict[str, int]]] = {
    Tanh: ("Tanh", {}),
    Sigmoid: ("Sigmoid", {}),
    ReLU: ("Relu", {}),
    Softmax: ("Softmax", {"axis": -1}),
}


def to_onnx(model: Layer, lengths: bool = False) -> Any:
    """The model as an onnx.ModelProto: "x" (T, B, I), or classes (T, B), -> "y". T and B are free.

    lengths: with a second input "lengths" (B,) int32, for rows that are padded at their ends; y beyond them is zero.
    Dropout is left out. Raises ValueError for a layer that ONNX has not, ImportError where onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError("graphs of ONNX are made by its own package: pip install onnx onnxruntime") from None
    graph = _Graph("lengths" if lengths else "")
    y, steps = graph.through(model, "x", True)
    y = graph.beyond_zero(y) if lengths and steps else y
    graph.node("Identity", [y], {}, "y")
    first = blocks(model, joined=False)[0]
    kind = next((np.dtype(a.dtype) for a in model.params.values()), np.dtype("float32"))
    number = onnx.helper.np_dtype_to_tensor_dtype(kind)
    value = onnx.helper.make_tensor_value_info
    by_class = isinstance(first, Embedding)
    width = [] if by_class else [len(next(iter(model.params.values())))] if model.params else ["I"]
    inputs = [value("x", onnx.TensorProto.INT64 if by_class else number, ["T", "B", *width])]
    inputs += [value("lengths", onnx.TensorProto.INT32, ["B"])] if lengths else []
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in graph.arrays.items()]
    nodes = [onnx.helper.make_node(kind_, given, gives, **said) for kind_, given, gives, said in graph.nodes]
    made = onnx.helper.make_graph(
        nodes, "lstmcore", inputs, [value("y", number, ["T", "B", "O"] if steps else ["B", "O"])], tensors
    )
    return onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="lstmcore"
    )


class _Graph:
    """Nodes and arrays while they are put together."""

    def __init__(self, lengths: str):
        self.lengths = lengths
        self.nodes: list[tuple[str, list[str], list[str], Plain]] = []
        self.arrays: dict[str, np.ndarray] = {}

    def node(self, kind: str, given: list[str], said: Plain | None = None, name: str = "", outputs: int = 1) -> str:
        """A node; the name of its first output (the others are that name and a number)."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append((kind, given, [name, *(f"{name}_{k}" for k in range(1, outputs))], said or {}))
        return name

    def array(self, value: Array | np.number, name: str = "") -> str:
        name = name or f"array_{len(self.arrays)}"
        self.arrays[name] = np.asarray(value)
        return name

    def through(self, model: Layer, x: str, steps: bool) -> tuple[str, bool]:
        """The output of a model on x, and whether it still has a time axis."""
        for block in blocks(model, joined=False):
            if isinstance(block, Run):
                x, steps = self.run(block, x), block.return_sequences
            elif isinstance(block, Bidirectional):
                x, steps = self.both(block, x)
            elif isinstance(block, Last):
                flipped = self.flipped(x) if self.lengths else x
                x, steps = (
                    self.node("Gather", [flipped, self.array(np.int64(0 if self.lengths else -1))], {"axis": 0}),
                    False,
                )
            elif isinstance(block, Linear):
                params, k = on_host(block.params), len(self.nodes)
                x = self.node("MatMul", [x, self.array(params["W"], f"W_{k}")])
                x = self.node("Add", [x, self.array(params["b"], f"b_{k}")]) if "b" in params else x
            elif isinstance(block, Embedding):
                x = self.node(
                    "Gather", [self.array(on_host(block.params)["W"], f"table_{len(self.nodes)}"), x], {"axis": 0}
                )
            elif type(block) in FUNCTIONS:
                kind, said = FUNCTIONS[type(block)]
                x = self.node(kind, [x], said)
            elif not isinstance(block, Dropout):
                raise ValueError(f"{block!r} is a layer that ONNX has not")
        return x, steps

    def run(self, run: Run, x: str) -> str:
        """A recurrent node, and its output (T, D, B, H) as (T, B, D H); or the final states (D, B, H) as (B, D H)."""
        k = len(self.nodes)
        weights = [self.array(value, f"{key}_{k}") for key, value in run.weights("onnx").items()]
        said: Plain = {"hidden_size": run.hidden_size}
        said |= {"direction": "bidirectional"} if run.bidirectional else {}
        said |= {"linear_before_reset": 1} if run.cell == "gru" else {}
        given = [
            x,
            *weights,
            *([""] * (3 - len(weights)) if self.lengths else []),
            *([self.lengths] if self.lengths else []),
        ]
        y = self.node(run.cell.upper(), given, said, outputs=2)
        if not run.return_sequences:
            y = self.node("Transpose", [f"{y}_1"], {"perm": [1, 0, 2]})  # (B, D, H)
        else:
            y = self.node("Transpose", [y], {"perm": [0, 2, 1, 3]})  # (T, B, D, H)
        if run.bidirectional and run.merge == "sum":
            return self.node("ReduceSum", [y, self.array(np.array([-2]))], {"keepdims": 0})
        shape = [0, 0, -1] if run.return_sequences else [0, -1]
        return self.node("Reshape", [y, self.array(np.array(shape))])

    def both(self, block: Bidirectional, x: str) -> tuple[str, bool]:
        fw, steps = self.through(block.fw, x, True)
        bw, _ = self.through(block.bw, self.flipped(x), True)
        bw = self.flipped(bw) if steps else bw
        return self.node(
            *(("Concat", [fw, bw], {"axis": -1}) if block.merge == "concat" else ("Add", [fw, bw], {}))
        ), steps

    def flipped(self, x: str) -> str:
        """In reverse, each row within its own length."""
        if self.lengths:
            lengths = self.node("Cast", [self.lengths], {"to": 7})  # int64
            return self.node("ReverseSequence", [x, lengths], {"time_axis": 0, "batch_axis": 1})
        ends = [self.array(np.array([n])) for n in (-1, np.iinfo(np.int64).min, 0, -1)]  # start, end, axis, step
        return self.node("Slice", [x, *ends])

    def beyond_zero(self, y: str) -> str:
        """y with zeros beyond the lengths, as lstmcore has it."""
        T = self.node("Gather", [self.node("Shape", [y]), self.array(np.int64(0))], {"axis": 0})
        steps = self.node("Range", [self.array(np.int64(0)), T, self.array(np.int64(1))])
        lengths = self.node("Cast", [self.lengths], {"to": 7})
        real = self.node("Less", [self.node("Unsqueeze", [steps, self.array(np.array([1]))]), lengths])  # (T, B)
        real = self.node("Unsqueeze", [real, self.array(np.array([2]))])
        zero = self.node("CastLike", [self.array(np.float32(0)), y])
        return self.node("Where", [real, y, zero])
