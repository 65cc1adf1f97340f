"""Cases of the pack as nodes of ONNX, and as files in the layout of ONNX's own node tests.

FOLDER/test_NAME/model.onnx, test_data_set_0/input_0.pb, ..., output_0.pb, ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.pack import Golden
from lstmcore.ops import gates

if TYPE_CHECKING:
    import onnx

ORDER = {"lstm": "iofg", "gru": "zrn", "rnn": "n"}  # of ONNX; lstmcore's follow
SEEING = "iof"  # the gates with peepholes, in ONNX's order
OURS = {"lstm": "ifgo", "gru": "rzn", "rnn": "n"}
SLOTS = {
    "lstm": (("gate_activation", "sigmoid"), ("activation", "tanh"), ("cell_activation", "tanh")),
    "gru": (("gate_activation", "sigmoid"), ("activation", "tanh")),
    "rnn": (("activation", "tanh"),),
}
OPSET, IR = 22, 10
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


class Node(NamedTuple):
    """One recurrent node: its attributes, its inputs by ONNX's names in its order, and the right outputs."""

    kind: str
    attributes: Plain
    inputs: dict[str, np.ndarray]  # an input that is left out is not here
    outputs: dict[str, np.ndarray]


def node_of(case: Golden, pack: Mapping[str, Golden], dtype: str = "float32") -> Node:
    """The case as a node. Raises ValueError with the reason where ONNX has no such node.

    pack: for the block of weights that input_forget leaves unused: it takes the twin's, so that who ignores the
    attribute computes the twin.
    """
    for there, why in (
        (case.layers > 1, "a node is one layer"),
        (case.mask is not None and case.lengths is None, "a mask with gaps"),
        (case.options.get("coupled") == "i", "i = 1 - f (it has f = 1 - i)"),
        (not {"clip_c", "proj_size", "layer_norm"}.isdisjoint(case.options), "such an option"),
        (any(_spec(case, name)[0] == "identity" for name, _ in SLOTS[case.cell]), "the identity"),
    ):
        if there:
            raise ValueError(f"ONNX has no such node: {why}")
    both = case.direction == "bidirectional"
    said: Plain = {"hidden_size": case.H, "direction": case.direction} | _functions(case, 1 + both)
    if case.cell == "gru":
        said["linear_before_reset"] = int(case.options.get("reset") != "before")
    if "coupled" in case.options:
        said["input_forget"] = 1
    if "clip_a" in case.options:
        said["clip"] = float(case.options["clip_a"])
    places = [_weights(case, place, pack) for place in case.places]
    inputs = {"X": case.x} | {name: np.stack([place[name] for place in places]) for name in places[0]}
    for state in case.states:
        given = [a for place in case.places for name, a in case.part("state0", place).items() if name == state]
        if given:
            inputs[f"initial_{state}"] = np.stack(given)
    inputs = {name: a.astype(dtype) for name, a in inputs.items()}
    if case.lengths is not None:
        inputs["sequence_lens"] = np.array(case.lengths, "int32")
    y = case.arrays["y"].reshape(case.T, case.B, 1 + both, case.H).swapaxes(1, 2)
    outputs = {"Y": y} | {
        f"Y_{state}": np.stack([case.arrays[f"state/{place}.{state}"] for place in case.places])
        for state in case.states
    }
    ordered = {name: np.ascontiguousarray(inputs[name]) for name in INPUTS if name in inputs}
    return Node(case.cell.upper(), said, ordered, {n: np.ascontiguousarray(a, dtype) for n, a in outputs.items()})


def batch_first(node: Node) -> Node:
    """The same node with layout = 1: X (B, T, I), states (B, D, H), Y (B, T, D, H)."""
    turned = {"X": 1, "initial_h": 1, "initial_c": 1, "Y": 2, "Y_h": 1, "Y_c": 1}  # where its batch stands
    inputs, outputs = (
        {
            name: np.ascontiguousarray(np.moveaxis(a, turned[name], 0)) if name in turned else a
            for name, a in held.items()
        }
        for held in (node.inputs, node.outputs)
    )
    return node._replace(attributes=node.attributes | {"layout": 1}, inputs=inputs, outputs=outputs)


def model_of(node: Node) -> "onnx.ModelProto":
    """The node as an onnx.ModelProto. Raises ImportError where onnx is not installed."""
    import onnx

    def value(name: str, a: np.ndarray) -> "onnx.ValueInfoProto":
        number = onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
        return onnx.helper.make_tensor_value_info(name, number, a.shape)

    last = max(INPUTS.index(name) for name in node.inputs)
    given = [name if name in node.inputs else "" for name in INPUTS[: last + 1]]
    made = onnx.helper.make_graph(
        [onnx.helper.make_node(node.kind, given, list(node.outputs), **node.attributes)],
        node.kind,
        [value(name, a) for name, a in node.inputs.items()],
        [value(name, a) for name, a in node.outputs.items()],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    return onnx.helper.make_model(made, opset_imports=[opset], ir_version=IR, producer_name="lstmcore")


def write_test(folder: Path, name: str, node: Node) -> None:
    """The node as ONNX's own runners read it."""
    import onnx

    data = folder / f"test_{name}" / "test_data_set_0"
    data.mkdir(parents=True)
    onnx.save(model_of(node), data.parent / "model.onnx")
    for kind, arrays in (("input", node.inputs), ("output", node.outputs)):
        for k, (key, a) in enumerate(arrays.items()):
            (data / f"{kind}_{k}.pb").write_bytes(onnx.numpy_helper.from_array(a, key).SerializeToString())


def _spec(case: Golden, option: str, usual: str = "") -> tuple[Any, ...]:
    spec = case.options.get(option, usual)
    return (spec,) if isinstance(spec, str) else tuple(spec)


def _functions(case: Golden, directions: int) -> Plain:
    """The attributes that name the functions, where one is not as usual; numbers where the case gives some."""
    slots = SLOTS[case.cell]
    if not any(option in case.options for option, _ in slots):
        return {}
    specs = [_spec(case, *slot) for slot in slots] * directions
    said: Plain = {"activations": ["".join(map(str.capitalize, spec[0].split("_"))) for spec in specs]}
    for k, name in ((1, "activation_alpha"), (2, "activation_beta")):
        numbers = [float(spec[k]) for spec in specs if len(spec) > k]
        said |= {name: numbers} if numbers else {}
    if any(spec[0] == "hard_sigmoid" and len(spec) == 2 for spec in specs):
        said["activation_beta"] = [0.5 for spec in specs if spec[0] == "hard_sigmoid"]
    return said


def _weights(case: Golden, place: str, pack: Mapping[str, Golden]) -> dict[str, np.ndarray]:
    """W, R, B and P of one direction: (blocks * H, width), in ONNX's order."""
    H, own = case.H, case.part("weights", place)
    there = [gate for gate in OURS[case.cell] if gate != case.options.get("coupled")]
    twin = pack[case.twins["coupled_f"]].part("weights", place) if "coupled" in case.options else {}

    def block(name: str, gate: str) -> np.ndarray:
        w, order_of = (own, there) if gate in there else (twin, list(OURS["lstm"]))
        if case.options.get("reset") == "before" and (name, gate) == ("W_hh", "n"):
            return w["W_hn"].T
        return gates.split(w[name], w[name].shape[-1] // H)[..., order_of.index(gate), :].T

    order = ORDER[case.cell]
    found = {name: np.concatenate([block(key, g) for g in order]) for name, key in (("W", "W_ih"), ("R", "W_hh"))}
    if "b" in own:
        b = np.concatenate([block("b", gate) for gate in order])
        second = np.zeros_like(b)
        if "b_hn" in own:
            second[-H:] = own["b_hn"]
        found["B"] = np.concatenate([b, second])
    if "p" in own:
        there = [gate for gate in there if gate in SEEING]
        blocks = dict(zip("ifo", gates.split(twin["p"], 3))) if "p" in twin else {}
        blocks |= dict(zip(there, gates.split(own["p"], len(there))))
        found["P"] = np.concatenate([blocks[gate] for gate in SEEING])
    return found
