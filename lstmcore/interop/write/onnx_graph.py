"""A model as a graph of ONNX that onnxruntime runs."""

from typing import TYPE_CHECKING

import numpy as np

from lstmcore.arrays import Array, Plain
from lstmcore.interop.host import in_dtype, on_host
from lstmcore.interop.write.blocks import Block, Run, blocks, time_major
from lstmcore.layers import (
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    ReLU,
    Reversed,
    Sigmoid,
    Softmax,
    Tanh,
)
from lstmcore.layers.tree import leaves

OPSET, IR = 17, 8
if TYPE_CHECKING:
    import onnx

FUNCTIONS: dict[type, tuple[str, dict[str, int]]] = {
    Tanh: ("Tanh", {}),
    Sigmoid: ("Sigmoid", {}),
    ReLU: ("Relu", {}),
    Softmax: ("Softmax", {"axis": -1}),
}
MERGES = {"sum": "ReduceSum", "mean": "ReduceMean", "mul": "ReduceProd"}
OF_TWO = {"sum": "Add", "mean": "Mean", "mul": "Mul"}  # of two outputs that stand apart
OPTIONS = ("bias", "activation", "gate_activation", "cell_activation", "clip_a", "coupled", "peepholes", "reset")
ORDER: dict[str, tuple[str, ...]] = {  # the options that name functions, in the order of `activations`
    "lstm": ("gate_activation", "activation", "cell_activation"),
    "gru": ("gate_activation", "activation"),
    "rnn": ("activation",),
}


def to_onnx(model: Layer, lengths: bool = False, dtype: str | None = None) -> "onnx.ModelProto":
    """The model as an onnx.ModelProto: "x" (T, B, I), or classes (T, B), -> "y". T and B are free.

    lengths: with a second input "lengths" (B,) int32, for rows that are padded at their ends; y beyond them is zero.
    dtype: "float16" or "bfloat16", what the graph keeps its weights in; it computes in what the model has. Dropout is
    left out. Raises ValueError for a layer or an option that ONNX lacks, ImportError where onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError("graphs of ONNX are made by its own package: pip install onnx onnxruntime") from None
    model, batch_first = time_major(model)
    kind = next((np.dtype(a.dtype) for a in model.params.values()), np.dtype("float32"))
    number = onnx.helper.np_dtype_to_tensor_dtype(kind)
    by_class = isinstance(next((leaf for _, leaf in leaves(model) if leaf.params), None), Embedding)
    graph = _Graph("lengths" if lengths else "", dtype, number)
    turned = {"perm": [1, 0] if by_class else [1, 0, 2]}
    y, axes = graph.through(model, graph.node("Transpose", ["x"], turned) if batch_first else "x", 3)
    y = graph.beyond_zero(y, axes) if lengths and axes > 2 else y
    y = graph.node("Transpose", [y], {"perm": [1, 0, *range(2, axes)]}) if batch_first and axes > 2 else y
    graph.node("Identity", [y], {}, "y")
    value = onnx.helper.make_tensor_value_info
    steps = ["B", "T"] if batch_first else ["T", "B"]
    width = [] if by_class else [len(next(iter(model.params.values())))] if model.params else ["I"]
    inputs = [value("x", onnx.TensorProto.INT64 if by_class else number, [*steps, *width])]
    inputs += [value("lengths", onnx.TensorProto.INT32, ["B"])] if lengths else []
    outputs = [value("y", number, [*(steps if axes > 2 else ["B"]), *([2] if axes > 3 else []), "O"])]
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in graph.arrays.items()]
    nodes = [onnx.helper.make_node(kind_, given, gives, **said) for kind_, given, gives, said in graph.nodes]
    made = onnx.helper.make_graph(nodes, "lstmcore", inputs, outputs, tensors)
    return onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="lstmcore"
    )


class _Graph:
    """Nodes and arrays while they are put together."""

    def __init__(self, lengths: str, dtype: str | None, number: int):
        self.lengths, self.dtype, self.number = lengths, dtype, number
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

    def weight(self, value: np.ndarray, name: str) -> str:
        """An array of the model; where weights are kept in half precision, cast as it is used."""
        if self.dtype is None:
            return self.array(value, name)
        return self.node("Cast", [self.array(in_dtype(value, self.dtype), f"{name}_kept")], {"to": self.number}, name)

    def through(self, model: Layer, x: str, axes: int) -> tuple[str, int]:
        """The output of a model on x, and how many axes it has: 3, or 2 of a final state, or 4 of directions apart."""
        for block in blocks(model, joined=False):
            x, axes = self.block(block, x, axes)
        return x, axes

    def block(self, block: Block, x: str, axes: int) -> tuple[str, int]:
        k = len(self.nodes)
        if isinstance(block, Run):
            return self.run(block, x), 2 if not block.return_sequences else 4 if block.merge == "none" else 3
        if isinstance(block, Bidirectional):
            return self.both(block, x)
        if isinstance(block, Reversed):
            y, axes = self.through(block.bw, self.flipped(x), axes)
            return self.flipped(y) if axes > 2 else y, axes
        if isinstance(block, Last):
            flipped = self.flipped(x) if self.lengths else x
            return self.node("Gather", [flipped, self.array(np.int64(0 if self.lengths else -1))], {"axis": 0}), 2
        if isinstance(block, Linear):
            params = on_host(block.params)
            y = self.node("MatMul", [x, self.weight(params["W"], f"W_{k}")])
            return self.node("Add", [y, self.weight(params["b"], f"b_{k}")]) if "b" in params else y, axes
        if isinstance(block, Embedding):
            return self.node("Gather", [self.weight(on_host(block.params)["W"], f"table_{k}"), x], {"axis": 0}), axes
        if type(block) in FUNCTIONS:
            kind, said = FUNCTIONS[type(block)]
            return self.node(kind, [x], said), axes
        if isinstance(block, Dropout):
            return x, axes
        raise ValueError(f"{block!r} is a layer that ONNX lacks")

    def run(self, run: Run, x: str) -> str:
        """A recurrent node, and its output (T, D, B, H) as (T, B, D H); or the final states (D, B, H) as (B, D H)."""
        run.refuse("ONNX", OPTIONS)
        if run.options.get("coupled") == "i":
            raise ValueError(f'{run.layers[0]!r} has coupled="i", i = 1 - f; ONNX has f = 1 - i')
        k = len(self.nodes)
        weights = {key: self.weight(value, f"{key}_{k}") for key, value in run.weights("onnx").items()}
        direction = "bidirectional" if run.bidirectional else "reverse" if run.reverse else "forward"
        said: Plain = {"hidden_size": run.hidden_size, "direction": direction, **_functions(run)}
        said |= {"linear_before_reset": int(run.options.get("reset") != "before")} if run.cell == "gru" else {}
        said |= {"input_forget": 1} if "coupled" in run.options else {}
        said |= {"clip": run.options["clip_a"]} if "clip_a" in run.options else {}
        given = [x, *(weights.get(key, "") for key in "WRB"), self.lengths, "", "", weights.get("P", "")]
        while not given[-1]:
            given.pop()
        y = self.node(run.cell.upper(), given, said, outputs=2)
        if not run.return_sequences:
            y = self.node("Transpose", [f"{y}_1"], {"perm": [1, 0, 2]})  # (B, D, H)
        else:
            y = self.node("Transpose", [y], {"perm": [0, 2, 1, 3]})  # (T, B, D, H)
        if run.bidirectional and run.merge == "none":
            return y
        if run.bidirectional and run.merge == "sum":  # whose axes are an input since 13, those of the others since 18
            return self.node("ReduceSum", [y, self.array(np.array([-2]))], {"keepdims": 0})
        if run.bidirectional and run.merge in MERGES:
            return self.node(MERGES[run.merge], [y], {"axes": [-2], "keepdims": 0})
        shape = [0, 0, -1] if run.return_sequences else [0, -1]
        return self.node("Reshape", [y, self.array(np.array(shape))])

    def both(self, block: Bidirectional, x: str) -> tuple[str, int]:
        fw, axes = self.through(block.fw, x, 3)
        bw, _ = self.through(block.bw, self.flipped(x), 3)
        bw = self.flipped(bw) if axes > 2 else bw
        if block.merge == "none":
            parts = [self.node("Unsqueeze", [y, self.array(np.array([-2]))]) for y in (fw, bw)]
            return self.node("Concat", parts, {"axis": -2}), 4
        if block.merge == "concat":
            return self.node("Concat", [fw, bw], {"axis": -1}), axes
        return self.node(OF_TWO[block.merge], [fw, bw]), axes

    def flipped(self, x: str) -> str:
        """In reverse, each row within its own length."""
        if self.lengths:
            lengths = self.node("Cast", [self.lengths], {"to": 7})  # int64
            return self.node("ReverseSequence", [x, lengths], {"time_axis": 0, "batch_axis": 1})
        ends = [self.array(np.array([n])) for n in (-1, np.iinfo(np.int64).min, 0, -1)]  # start, end, axis, step
        return self.node("Slice", [x, *ends])

    def beyond_zero(self, y: str, axes: int) -> str:
        """y with zeros beyond the lengths, as lstmcore has it."""
        T = self.node("Gather", [self.node("Shape", [y]), self.array(np.int64(0))], {"axis": 0})
        steps = self.node("Range", [self.array(np.int64(0)), T, self.array(np.int64(1))])
        lengths = self.node("Cast", [self.lengths], {"to": 7})
        real = self.node("Less", [self.node("Unsqueeze", [steps, self.array(np.array([1]))]), lengths])  # (T, B)
        real = self.node("Unsqueeze", [real, self.array(np.arange(2, axes))])
        zero = self.node("CastLike", [self.array(np.float32(0)), y])
        return self.node("Where", [real, y, zero])


def _functions(run: Run) -> Plain:
    """The attributes that name the functions of a node, where they are not as usual."""
    options = ORDER[run.cell]
    if not run.options.keys() & set(options):
        return {}
    specs = [run.activation(name) for name in options] * (1 + run.bidirectional)
    specs = [("affine", 1.0, 0.0) if spec == ("identity",) else spec for spec in specs]
    said: Plain = {"activations": ["".join(map(str.capitalize, str(spec[0]).split("_"))) for spec in specs]}
    for k, name in ((1, "activation_alpha"), (2, "activation_beta")):
        numbers = [spec[k] for spec in specs if len(spec) > k]
        said |= {name: numbers} if numbers else {}
    return said
