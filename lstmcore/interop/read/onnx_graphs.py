"""Graphs of ONNX: recurrent nodes with all that their attributes say, and the layers around them.

Nodes that have weights are taken in the order of the graph; what only moves axes is left out, and the proof, a run of
the whole graph by onnxruntime, tells whether that was right.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain, embedding, linear, recurrent
from lstmcore.interop.proof import LENGTHS, B, Differs, Proof, T, compare, inputs, readings
from lstmcore.layers import Bidirectional, Dropout, Layer, ReLU, Sigmoid, Softmax, Tanh
from lstmcore.ops.masking import mask_from_lengths

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.reference import ReferenceEvaluator
except ImportError:
    raise ImportError("ONNX is read by its own package: pip install onnx onnxruntime") from None

Arrays = dict[str, np.ndarray]
CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
USUAL = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
ACTIVATIONS: dict[str, tuple[str | float, ...]] = {  # with alpha and beta where they are not given; in any case
    "sigmoid": ("sigmoid",), "tanh": ("tanh",), "relu": ("relu",), "softsign": ("softsign",),
    "softplus": ("softplus",), "affine": ("affine", 1.0, 0.0), "leakyrelu": ("leaky_relu", 0.01),
    "thresholdedrelu": ("thresholded_relu", 1.0), "scaledtanh": ("scaled_tanh", 1.0, 1.0),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5), "elu": ("elu", 1.0),
}  # fmt: skip
if TYPE_CHECKING:
    import onnxruntime

SLOTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OF_WEIGHTS = {
    *("Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Concat", "Slice", "Split", "Cast", "Neg"),
    "DequantizeLinear",
}
FUNCTIONS = {"Tanh": Tanh, "Sigmoid": Sigmoid, "Relu": ReLU, "Softmax": Softmax}
MOVES = {
    *("Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Constant"),
    *("Shape", "Concat", "Slice", "Expand", "ConstantOfShape", "Cast"),
    *("ReduceSum", "ReduceMean", "ReduceProd", "Mul", "Mean", "Add", "Gather"),  # of two directions, and of steps
}
SUMS = {"ReduceSum", "ReduceMean", "ReduceProd", "Mul", "Mean", "Add"}


def read(
    thing: onnx.ModelProto | onnx.GraphProto | onnx.NodeProto,
    *,
    dtype: str | None = None,
    weights: Arrays | None = None,
    **options: object,
) -> tuple[Layer, Proof]:
    """The model of a ModelProto, GraphProto or NodeProto.

    weights: arrays by the names of the graph's inputs, or by W, R, B, P, where the graph does not hold them. Raises
    ValueError, by name, for what lstmcore lacks, and if both sides disagree.
    """
    if options:
        raise TypeError(f"a graph says its own options; got {', '.join(options)}")
    model = thing if isinstance(thing, onnx.ModelProto) else None
    graph = model.graph if model is not None else thing
    alone = isinstance(graph, onnx.NodeProto)
    nodes = [graph] if alone else list(graph.node)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 17) if model else 17
    own = {} if alone else _held(graph, opset)
    for node in nodes if own else ():
        for slot, name in zip(SLOTS, node.input if node.op_type in CELLS else ()):
            if slot.startswith("initial") and np.any(own.get(name, 0)):
                raise ValueError(f"{node.op_type} {node.name!r} begins at a state of its own ({slot}), not at zero")
            if slot == "sequence_lens" and name in own:
                _must_be_whole(node, own[name], model or onnx.helper.make_model(graph))
    held = own | dict(weights or {})
    layers = list(_layers(nodes, held, dtype))
    if model is not None and not weights:
        return _prove_graph(model, layers, own)
    proofs = [_prove_node(node, held) for node in nodes if node.op_type in CELLS]
    errors = [proof.error for proof in proofs if proof.error is not None]
    words = f"each recurrent node {proofs[0].words}" if proofs else "no recurrent node in it"
    return chain(layers), Proof(max(errors) if proofs and len(errors) == len(proofs) else None, words)


def read_file(
    path: Path, *, dtype: str | None = None, weights: Arrays | None = None, **options: object
) -> tuple[Layer, Proof]:
    """Raises ValueError for a damaged file."""
    try:
        if path.stat().st_size >= 2**31:
            raise DecodeError("it has 2 GiB or more, and no message of protobuf has")
        model = onnx.load(path, load_external_data=False)
        files = {entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"}
        missing = sorted(name for name in files if not (path.parent / name).is_file())
        if missing:
            raise Differs(f"{path} keeps its weights in {', '.join(missing)} beside it, which is not there")
        onnx.load_external_data_for_model(model, str(path.parent))  # it follows no way out of that folder
        onnx.checker.check_model(model)
        return read(model, dtype=dtype, weights=weights, **options)
    except Differs:
        raise
    except (onnx.checker.ValidationError, DecodeError, KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
        if "pass dtype=" in str(error):  # nothing is wrong with half precision, but it has to be said
            raise
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} is damaged, or no ONNX model: {reason!s:.200}") from error


def _held(graph: onnx.GraphProto, opset: int = 17) -> Arrays:
    """Initializers, constants, and what nodes make of these alone: weights that are turned, joined or dequantized."""
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        given = [found.get(name) for name in node.input if name]
        known = node.op_type in OF_WEIGHTS and given and all(a is not None for a in given)
        if node.domain in ("", "ai.onnx") and (known or node.op_type == "Constant"):
            version = onnx.helper.make_opsetid(node.domain, opset)
            kind = onnx.helper.make_tensor_value_info
            names = [name for name in node.input if name]
            places = [kind(n, onnx.helper.np_dtype_to_tensor_dtype(found[n].dtype), found[n].shape) for n in names]
            gives = [kind(name, onnx.TensorProto.UNDEFINED, None) for name in node.output]
            alone = onnx.helper.make_model(onnx.helper.make_graph([node], "g", places, gives), opset_imports=[version])
            try:
                values = ReferenceEvaluator(alone).run(None, {name: found[name] for name in names})
            except Exception as reason:  # whatever a contradictory node raises
                raise ValueError(
                    f"{node.op_type} {node.name!r} of weights cannot be computed: {reason!s:.100}"
                ) from reason
            found |= {name: np.asarray(value) for name, value in zip(node.output, values)}
    return found


def _must_be_whole(node: onnx.NodeProto, lengths: np.ndarray, model: onnx.ModelProto) -> None:
    """Raises ValueError for lengths in the graph that are not all T, or may not be, since the graph does not say T."""
    axis = 1 if _said(node).get("layout") else 0  # 1: X is (B, T, I)
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        graph = onnx.GraphProto()
    places = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.value_info)}
    sizes = [size.dim_value for size in places.get(node.input[0], ())]  # 0 where it is a letter
    steps = sizes[axis] if len(sizes) == 3 else 0
    if steps == 0 or np.any(lengths != steps):
        raise ValueError(
            f"{node.op_type} {node.name!r} holds lengths of rows (sequence_lens), which lstmcore takes as mask=; "
            + (f"not all are the {steps}" if steps else "the graph does not say how many")
            + f" steps of its input {node.input[0]!r}"
        )


def _said(node: onnx.NodeProto) -> Plain:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _given(node: onnx.NodeProto, held: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of a recurrent node by the names of the specification."""
    named = dict(itertools.zip_longest(SLOTS, node.input, fillvalue=""))
    found = {slot: held.get(name, held.get(slot)) for slot, name in named.items() if name}
    missing = [slot for slot in ("W", "R") if found.get(slot) is None]
    if missing:
        raise ValueError(
            f"{node.op_type} {node.name!r}: the graph does not hold its {' and '.join(missing)}; pass weights={{...}}, "
            "by the names of its inputs"
        )
    return {slot: value for slot, value in found.items() if value is not None}


def _layers(nodes: list[onnx.NodeProto], held: Mapping[str, np.ndarray], dtype: str | None) -> Iterator[Layer]:
    for node in nodes:
        matrix = next((held[name] for name in node.input if name in held), None)
        if node.output and all(name in held for name in node.output if name):
            continue  # of weights alone
        if node.op_type in CELLS:
            yield from _recurrent(node, held, dtype)
        elif node.op_type == "Gather" and node.input[0] in held and np.ndim(held[node.input[0]]) == 2:
            yield embedding(held[node.input[0]], dtype, node.input[0])
        elif node.op_type in ("MatMul", "Gemm") and matrix is not None:
            turned = matrix.T if _said(node).get("transB") else matrix
            added = held.get(node.input[2]) if len(node.input) > 2 else None
            after = next((n for n in nodes if n.op_type == "Add" and node.output[0] in n.input), None)
            if after is not None and added is None:
                added = next((held[name] for name in after.input if name in held), None)
            yield linear(turned, None if added is None else np.reshape(added, -1), dtype, node.input[1])
        elif node.op_type == "Dropout":
            yield Dropout(float(_said(node).get("ratio", held.get(node.input[1], 0.5) if len(node.input) > 1 else 0.5)))
        elif node.op_type in FUNCTIONS:
            yield FUNCTIONS[node.op_type]()
        elif node.op_type not in MOVES:
            raise ValueError(f"{node.op_type} {node.name!r} is a node that lstmcore has no layer for")


def _recurrent(node: onnx.NodeProto, held: Mapping[str, np.ndarray], dtype: str | None) -> list[Layer]:
    said, given = _said(node), _given(node, held)
    cell = CELLS[node.op_type]
    direction = said.get("direction", b"forward").decode()
    D = 2 if direction == "bidirectional" else 1
    usual = USUAL[node.op_type]
    names = tuple(str.lower(name.decode()) for name in said.get("activations", [])) or usual * D
    H = given["R"].shape[-1]
    for what, got, wanted in (
        ("activations", len(names), D * len(usual)), ("hidden_size", said.get("hidden_size", H), H),
        *((f"directions in {slot}", len(given[slot]), D) for slot in ("W", "R", "B", "P") if slot in given),
    ):  # fmt: skip
        if got != wanted:
            raise ValueError(
                f"{node.op_type} {node.name!r} ({direction}) should have {what}: {wanted}, as its other parts have it; "
                f"got {got}"
            )
    functions = _functions(names, said)
    options: Plain = {"reverse": direction == "reverse", "clip": _decimal(said["clip"]) if "clip" in said else None}
    if cell == "lstm":
        options["input_forget"] = bool(said.get("input_forget", 0))
        options["peepholes"] = bool(np.any(given.get("P", 0)))
    if cell == "gru":
        options["reset_after"] = bool(said.get("linear_before_reset", 0))
    slots = ("W", "R", "B", "P") if options.get("peepholes") else ("W", "R", "B")
    ways: list[Layer] = []
    for d in range(D):  # the functions of each direction are its own
        weights = {slot: np.asarray(value)[d : d + 1] for slot, value in given.items() if slot in slots}
        own, made = functions[d * len(usual) :][: len(usual)], names[d * len(usual) :][: len(usual)]
        if cell == "rnn" and made in (("relu",), ("tanh",)):
            told: Plain = {"nonlinearity": made[0]}
        else:
            told = {} if made == usual else {"activations": own}
        ways += recurrent(weights, "onnx", cell, dtype=dtype, **options, **told)
    return ways if D == 1 else [Bidirectional(ways[0], ways[1])]


def _functions(names: tuple[str, ...], said: Plain) -> tuple[tuple[str | float, ...], ...]:
    """Activations with their alpha and beta, which stand in two lists for those alone that have them."""
    alphas, betas = iter(said.get("activation_alpha", [])), iter(said.get("activation_beta", []))
    found: list[tuple[str | float, ...]] = []
    for name in names:
        if name not in ACTIVATIONS:
            raise ValueError(f"the activation {name} is not known; there are {', '.join(ACTIVATIONS)}")
        ours, *usual = ACTIVATIONS[name]
        spec = (ours, *(_decimal(next(given, value)) for given, value in zip((alphas, betas), usual)))
        found.append(("identity",) if spec == ("affine", 1.0, 0.0) else spec)
    return tuple(found)


def _decimal(number: str | float) -> float:
    """The shortest decimal of a float32: 0.2, where the attribute holds 0.20000000298023224."""
    return float(str(np.float32(number)))


# ---- proofs ----------------------------------------------------------------------------------------------------------


def _session(model: onnx.ModelProto) -> "onnxruntime.InferenceSession | None":
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _prove_node(node: onnx.NodeProto, held: Mapping[str, np.ndarray]) -> Proof:
    """One node, run alone on random input of unequal lengths."""
    given = {slot: np.asarray(value) for slot, value in _given(node, held).items() if slot in ("W", "R", "B", "P")}
    own = chain(_recurrent(node, held, None)).to(engine="reference")
    x, kind = inputs(own), given["W"].dtype
    slots = [slot if slot in ("X", "sequence_lens") or slot in given else "" for slot in SLOTS]
    while not slots[-1]:
        slots.pop()
    alone = onnx.helper.make_node(node.op_type, slots, ["Y"])
    alone.attribute.extend(a for a in node.attribute if a.name != "layout")
    element = onnx.helper.np_dtype_to_tensor_dtype(kind)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [alone], "node",
        [value("X", element, x.shape), value("sequence_lens", onnx.TensorProto.INT32, (B,))],
        [value("Y", element, None)],
        [onnx.numpy_helper.from_array(a, slot) for slot, a in given.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    try:
        session = _session(model)
        if session is None:
            return Proof(None, "onnxruntime is not installed (pip install onnxruntime)")
        (y,) = session.run(None, {"X": x, "sequence_lens": LENGTHS.astype("int32")})
    except Exception as reason:  # whatever onnxruntime lacks: LSTM in float64, say
        return Proof(None, f"onnxruntime does not run it ({reason!s:.100})")
    error = compare([own.predict(x, mask=mask_from_lengths(LENGTHS, T))[0]], [_joined(y)], float(np.finfo(kind).eps))
    return Proof(error, "run beside onnxruntime on random input of unequal lengths")


def _prove_graph(model: onnx.ModelProto, layers: list[Layer], held: Arrays) -> tuple[Layer, Proof]:
    """The whole graph: which reading of its layers, and which order of axes, gives what it gives."""
    try:
        session = _session(model)
    except Exception as error:  # a graph that onnxruntime does not take
        return chain(layers), Proof(None, f"onnxruntime does not run it ({error!s:.100}){_beside(model.graph, held)}")
    if session is None:
        return chain(layers), Proof(
            None, f"onnxruntime is not installed (pip install onnxruntime){_beside(model.graph, held)}"
        )
    ran, tried, more = False, "", _beside(model.graph, held)
    for first in (False, True):
        x = inputs(chain(layers), *_sizes(model, first))
        given = np.ascontiguousarray(x.swapaxes(0, 1)) if first else x
        try:
            raw = session.run(None, _feed(session, given, x.shape, first))[0]
        except Exception as error:  # fixed sizes of other inputs, or the other order of axes
            tried = tried or f"{x.shape} ({error!s:.100})"
            continue
        ran = True
        joined = _joined(raw)
        joined = joined.swapaxes(0, 1) if first and joined.ndim == 3 else joined
        for reading in readings(layers):
            try:
                got = chain(reading).to(engine="reference").predict(x)[0]
                final = raw.transpose(1, 0, 2).reshape(raw.shape[1], -1) if raw.ndim == 3 else raw  # Y_h (D, B, H)
                theirs = raw if got.ndim == 4 else final if got.ndim == 2 else joined
                error_ = compare([got], [theirs], float(np.finfo(got.dtype).eps))
            except ValueError:  # parts that do not fit, or Differs
                continue
            note = "" if len(x) > 1 else " of one step, as the graph has it, which tells no order of steps"
            note += ", batch first there: here x is (T, B, I)" if first else ""
            return chain(reading), Proof(error_, f"the graph run beside onnxruntime on random input{note}")
    if not ran:
        return chain(layers), Proof(None, f"the graph does not run on {tried}{more}")
    raise Differs(f"the graph gives something else than its layers in order, {chain(layers)!r}{more}")


def _sizes(model: onnx.ModelProto, first: bool) -> tuple[int, int]:
    """T and B of the first input, where the graph fixes them."""
    held = {tensor.name for tensor in model.graph.initializer}
    place = next((v for v in model.graph.input if v.name not in held), None)
    fixed = [d.dim_value for d in place.type.tensor_type.shape.dim][:2] if place is not None else []
    steps, rows = (fixed + [0, 0])[:2][:: -1 if first else 1]
    return steps or T, rows or B


def _beside(graph: onnx.GraphProto, held: Arrays) -> str:
    """What the graph has beside its layers, which are all that is read."""
    found = sorted({n.op_type for n in graph.node if n.op_type in SUMS and not all(o in held for o in n.output)})
    used = {name for n in graph.node for name in n.input} | {value.name for value in graph.output}
    given = held.keys() | {value.name for value in graph.input} | {""}
    for node in graph.node:
        if node.op_type in CELLS:
            found += [f"the final c of {node.name or node.op_type}"] if used & set(node.output[2:]) - {""} else []
            found += [slot for slot, name in zip(SLOTS[4:], node.input[4:]) if name not in given]
    return f"; beside them it has {', '.join(found)}" if found else ""


def _feed(session: "onnxruntime.InferenceSession", x: np.ndarray, sizes: tuple[int, ...], first: bool) -> Arrays:
    """x for the first input, zeros for states, the full length for lengths."""
    feed: Arrays = {}
    for k, place in enumerate(session.get_inputs()):
        kind = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int32)": "int32"}.get(
            place.type, "int64"
        )
        if k == 0:
            feed[place.name] = x.astype(kind)
        elif kind.startswith("int"):
            feed[place.name] = np.full(sizes[1], sizes[0], kind)
        else:
            D, _, H = place.shape
            feed[place.name] = np.zeros((D, sizes[1], H), kind)
    return feed


def _joined(y: np.ndarray) -> np.ndarray:
    """Y (T, D, B, H) -> (T, B, D H), forward's half first."""
    return y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1) if y.ndim == 4 else y
