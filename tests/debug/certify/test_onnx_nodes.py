"""The pack as nodes of ONNX: onnxruntime runs them, and onnx reads what was written in its own test layout."""

import numpy as np
import pytest

from lstmcore.debug.certify import read_pack
from lstmcore.debug.certify.onnx_nodes import model_of, node_of, write_test

PACK = read_pack()
NODES = {}
NONE = {}
for case in PACK.values():
    try:
        NODES[case.name] = node_of(case, PACK)
    except ValueError as error:
        NONE[case.name] = str(error)

# onnxruntime takes no defaults of the operators: what these name without numbers it computes with zeros
WITHOUT_DEFAULTS = {f"{name}{slot}" for name in ("affine", "scaled_tanh", "thresholded_relu", "elu", "leaky_relu")
                    for slot in ("", "_gates", "_c")}  # fmt: skip


def ran(session, node, case):
    got = dict(zip(node.outputs, session.run(None, node.inputs), strict=True))
    return [
        name
        for name, want in node.outputs.items()
        if not np.all(np.abs(got[name] - want) <= case.tolerance["float32"]["y" if name == "Y" else "state"])
    ]


def test_onnxruntime_agrees(onnx, onnxruntime):
    """But where it ignores what an operator's own numbers are, and where the standard says nothing."""
    off = {}
    for name, node in NODES.items():
        case = PACK[name]
        if "float32" in case.tolerance and "y" not in case.ambiguous and "nan" not in case.features:
            session = onnxruntime.InferenceSession(model_of(node).SerializeToString())
            wrong = ran(session, node, case)
            if wrong and not case.ambiguous:
                off[name] = wrong
    assert {PACK[name].features[-1] for name in off} <= WITHOUT_DEFAULTS, off
    assert {"affine", "scaled_tanh", "thresholded_relu"} <= {PACK[name].features[-1] for name in off}


def test_written_as_onnx_s_own_node_tests(onnx, tmp_path):
    for name in (
        "lstm-lengths-reverse",
        "gru-bidirectional-reset_before",
        "rnn-state0-relu",
        "lstm-coupled_f-peepholes",
    ):
        write_test(tmp_path, name, NODES[name])
        folder = tmp_path / f"test_{name}"
        model = onnx.load(folder / "model.onnx")
        onnx.checker.check_model(model, full_check=True)
        for kind, arrays, infos in (
            ("input", NODES[name].inputs, model.graph.input),
            ("output", NODES[name].outputs, model.graph.output),
        ):
            assert [info.name for info in infos] == list(arrays)
            for k, want in enumerate(arrays.values()):
                tensor = onnx.load_tensor(folder / "test_data_set_0" / f"{kind}_{k}.pb")
                assert np.array_equal(onnx.numpy_helper.to_array(tensor), want)


def test_what_onnx_has_not():
    assert NONE["lstm-two"] == "ONNX has no such node: a node is one layer"
    assert NONE["lstm-coupled_i"] == "ONNX has no such node: i = 1 - f (it has f = 1 - i)"
    assert NONE["rnn-gaps"] == "ONNX has no such node: a mask with gaps"
    assert NONE["lstm-clip_c"] == "ONNX has no such node: such an option"
    assert NONE["gru-identity"] == "ONNX has no such node: the identity"
    assert len(NODES) > 200
    with pytest.raises(ValueError, match="ONNX has no such node: a node is one layer"):
        node_of(PACK["gru-three"], PACK)
