"""Nodes and graphs of ONNX: those that ONNX tests itself with, and what onnxruntime computes."""

import contextlib
import importlib

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import read

I, H = 3, 4
SINGLE = 1e-5  # float32: numbers below 3, sums of fewer than 50 terms


@pytest.fixture
def cases(onnx, monkeypatch):
    """The node tests of ONNX for one operator: (name, node, inputs by name, outputs by name), as its package makes
    them."""

    def of(operator):
        found = []
        module = importlib.import_module(f"onnx.backend.test.case.node.{operator.lower()}")

        def expect(node, inputs, outputs, name):
            wanted = dict(zip([key for key in node.output if key], outputs))
            found.append((name, node, dict(zip([key for key in node.input if key], inputs)), wanted))

        monkeypatch.setattr(module, "expect", expect)
        for name, make in vars(getattr(module, operator)).items():
            if name.startswith("export"):
                make.__func__()
        return found

    return of


def test_onnx_node_tests(cases):
    """Each is read and gives what is written there, or is refused by the name of what is missing."""
    refused, agree = {}, []
    for operator in ("LSTM", "GRU", "RNN"):
        for name, made, given, wanted in cases(operator):
            try:
                layer = read(made, weights=given, tell=lambda _: None)
            except ValueError as reason:
                refused[name] = str(reason)
                continue
            first = any(a.name == "layout" and a.i == 1 for a in made.attribute)
            x = given["X"].swapaxes(0, 1) if first else given["X"]
            lengths = given.get("sequence_lens", given.get("seq_lens"))
            mask = None if lengths is None else lc.mask_from_lengths(lengths, len(x))
            state = tuple(given[key][0] for key in ("initial_h", "initial_c") if key in given) or None
            y, last = layer.predict(x, state if not isinstance(layer, lc.Reversed) else state and (state,), mask)
            both = isinstance(layer, lc.Bidirectional)
            last = last[0] if isinstance(layer, lc.Reversed) else last
            finals = [np.stack(parts) for parts in (zip(*last) if both else [[part] for part in last])]  # (D, B, H)
            for key, value in wanted.items():
                if key != "Y":
                    h = finals[("Y_h", "Y_c").index(key)]
                    got = h.swapaxes(0, 1) if first else h
                else:
                    split = y.reshape(*y.shape[:2], 1 + both, -1)
                    got = split.transpose((1, 0, 2, 3) if first else (0, 2, 1, 3))
                assert np.abs(got - value).max() < SINGLE, (name, key)
            agree.append(name)
    assert (len(agree), refused) == (18, {})


def node(onnx, operator="LSTM", D=1, P=False, **said):
    """A node and its random weights."""
    rng, K = np.random.default_rng(0), {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    shapes = {"W": (D, K * H, I), "R": (D, K * H, H), "B": (D, 2 * K * H)}
    weights = {key: rng.uniform(-1, 1, shape).astype("float32") for key, shape in shapes.items()}
    names = ["x", *shapes]
    if P:
        weights["P"] = rng.uniform(-1, 1, (D, 3 * H)).astype("float32")
        names = [*names, "", "", "", "P"]
    return onnx.helper.make_node(operator, names, ["y"], hidden_size=H, **said), weights


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"operator": "GRU"}, "a GRU whose reset gate comes before the product"),
        ({"operator": "RNN", "activations": ["Relu"]}, "an RNN with relu in place of tanh"),
        ({"direction": "reverse"}, r"runs backwards by itself \(direction=reverse"),
        ({"P": True}, "peepholes"),
        ({"P": True, "clip": 0.7, "input_forget": 1}, "coupled"),
        (
            {
                "activations": ["HardSigmoid", "Softsign", "LeakyRelu"],
                "activation_alpha": [0.3, 0.05],
                "activation_beta": [0.4],
            },
            "the activations",
        ),
        ({"operator": "GRU", "D": 2, "direction": "bidirectional", "activations": ["Sigmoid", "Relu"] * 2}, "the act"),
        ({"operator": "RNN", "D": 2, "direction": "bidirectional", "activations": ["Relu", "Tanh"]}, "the act"),
        ({"D": 2, "direction": "bidirectional", "activations": ["sigmoid", "TANH", "relu"] + ["Sigmoid"] * 3}, "act"),
        ({"clip": 3.0}, "a clip of the activations' inputs at 3"),
        ({"input_forget": 1}, "coupled input and forget gates"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "the activations .*HardSigmoid"),
    ],
)
def test_what_the_attributes_say_is_not_passed_over(onnx, options, text):
    """Read as it is said, and proved; or refused by its name. Never read as something else."""
    made, weights = node(onnx, **options)
    said = []
    try:
        read(made, weights=weights, tell=said.append)
    except ValueError as reason:
        said.append(str(reason))
    assert "; proved: " in said[0], (text, said)


CASES = [
    ("LSTM", {"P": True}), ("LSTM", {"P": True, "clip": 0.1}), ("LSTM", {"P": True, "input_forget": 1, "clip": 999.0}),
    ("LSTM", {"activations": ["sigmoid", "tanh", "tanh"], "clip": 4.0}), ("LSTM", {"activations": ["Tanh"] * 3}),
    ("LSTM", {"activations": ["HardSigmoid", "LeakyRelu", "ScaledTanh"], "activation_alpha": [0.3, 0.2, 1.5],
              "activation_beta": [0.4, 0.7]}),
    ("GRU", {"linear_before_reset": 1, "clip": 0.3}), ("GRU", {"linear_before_reset": 0, "clip": 0.3}),
    ("GRU", {"activations": ["sigmoid", "tanh"]}), ("GRU", {"activations": ["HardSigmoid", "Softsign"]}),
    ("RNN", {"activations": ["Tanh"]}), ("RNN", {"activations": ["Affine"], "activation_alpha": [0.4],
                                                 "activation_beta": [0.1]}),
]  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_cases_of_onnxruntimes_operators(onnx, onnxruntime, direction):
    """The kinds that it tests its own operators with, from random states and with lengths: all its outputs."""
    D, T, B = 1 + (direction == "bidirectional"), 5, 3
    lengths, rng = np.array([5, 3, 1], "int32"), np.random.default_rng(3)
    tensor, single = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    for operator, said in CASES:
        said = {k: v * D if isinstance(v, list) else v for k, v in said.items()}
        made, weights = node(onnx, operator, D, direction=direction, **said)
        states = ["initial_h", "initial_c"][: 1 + (operator == "LSTM")]
        outs = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
        feed = {"x": rng.standard_normal((T, B, I)).astype("float32"), "lengths": lengths}
        feed |= {name: rng.uniform(-1, 1, (D, B, H)).astype("float32") for name in states}
        names = ["x", "W", "R", "B", "lengths", *states, *(["P"] if "P" in weights else [])]
        whole = onnx.helper.make_node(operator, names, outs)
        whole.attribute.extend(made.attribute)
        places = [tensor(k, onnx.TensorProto.INT32 if k == "lengths" else single, v.shape) for k, v in feed.items()]
        held = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
        graph = onnx.helper.make_graph([whole], "case", places, [tensor(k, single, None) for k in outs], held)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        want = dict(zip(outs, session.run(None, feed)))

        layer = read(made, weights=weights, tell=lambda _: None).to(engine="reference")
        ways = [tuple(feed[name][d] for name in states) for d in range(D)]
        state = tuple(ways) if D == 2 else ways[0] if direction == "forward" else (ways[0],)
        y, last = layer.predict(feed["x"], state, lc.mask_from_lengths(lengths, T))
        last = last if D == 2 else (last,) if direction == "forward" else last
        np.testing.assert_allclose(y.reshape(T, B, D, H).swapaxes(1, 2), want["Y"], rtol=0, atol=SINGLE)
        for k, name in enumerate(outs[1:]):
            got = np.stack([way[k] for way in last])
            np.testing.assert_allclose(got, want[name], rtol=0, atol=SINGLE, err_msg=f"{operator} {said} {name}")


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_a_node_is_proved_beside_onnxruntime(onnx, onnxruntime, operator, both):
    options = {"linear_before_reset": 1} if operator == "GRU" else {}
    made, weights = node(onnx, operator, 1 + both, direction="bidirectional" if both else "forward", **options)
    said = []
    read(made, weights=weights, tell=said.append)
    assert "; proved: each recurrent node run beside onnxruntime on random input of unequal lengths" in said[0]


def test_arrays_of_a_gru_do_not_tell_which_it_is(onnx):
    _, weights = node(onnx, "GRU")
    with pytest.raises(ValueError, match="pass linear_before_reset=0 or 1"):
        read(weights)
    assert repr(read(weights, linear_before_reset=1, tell=lambda _: None)) == "GRU(3, 4)"


def test_weights_that_are_not_there(onnx):
    made, _ = node(onnx)
    with pytest.raises(ValueError, match="the graph does not hold its W and R; pass weights="):
        read(made)


def test_what_contradicts_itself_is_not_read(onnx):
    """Attributes that do not fit the arrays, and lengths that stand in the graph."""
    make, rng = onnx.helper.make_node, np.random.default_rng(0)
    held = {"W": rng.standard_normal((1, 16, 3)).astype("f4"), "R": rng.standard_normal((1, 16, 4)).astype("f4")}
    for said, words in (
        ({"hidden_size": 5}, "should have hidden_size: 4, as its other parts have it; got 5"),
        ({"activations": ["HardSigmoid"]}, "should have activations: 3, as its other parts have it; got 1"),
        ({"direction": "bidirectional"}, "should have directions in W: 2, as its other parts have it; got 1"),
    ):
        with pytest.raises(ValueError, match=words):
            read(make("LSTM", ["X", "W", "R"], ["Y"], **said), weights=held)
    two = {name: np.concatenate([value, value]) for name, value in held.items()}
    with pytest.raises(ValueError, match="should have directions in W: 1, as its other parts have it; got 2"):
        read(make("LSTM", ["X", "W", "R"], ["Y"], hidden_size=4), weights=two)
    wide, said = {name: value.astype("f8") for name, value in held.items()}, []
    read(make("LSTM", ["X", "W", "R"], ["Y"], hidden_size=4), weights=wide, tell=said.append)
    assert "unproved: each recurrent node onnxruntime does not run it" in said[0]


@pytest.mark.parametrize("outputs", [["", "Y_h"], ["Y"]])
def test_the_final_state_alone(onnx, onnxruntime, outputs):
    """Y_h (D, B, H), as exporters have it; and lengths that stand in the graph, which no reading of it gives."""
    rng, value = np.random.default_rng(0), onnx.helper.make_tensor_value_info
    held = {"W": rng.standard_normal((2, 16, 3)).astype("f4"), "R": rng.standard_normal((2, 16, 4)).astype("f4")}
    lengths = [] if outputs[0] == "" else ["lengths"]
    held |= {"lengths": np.array([5, 7, 1], "int32")} if lengths else {}
    short = np.array([5, 5, 5], "int32")  # the same for all, and perhaps not all of T
    node = onnx.helper.make_node(
        "LSTM", ["X", "W", "R", *[""] * bool(lengths), *lengths], outputs, hidden_size=4, direction="bidirectional"
    )
    graph = onnx.helper.make_graph(
        [node], "g", [value("X", 1, ["T", "B", 3])], [value(outputs[-1], 1, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    if lengths:
        with pytest.raises(ValueError, match=r"holds lengths of rows \(sequence_lens\), which lstmcore takes as mask="):
            read(model)
        graph.initializer[2].CopyFrom(onnx.numpy_helper.from_array(short, "lengths"))
        for T in ("T", 6, 5):
            graph.input[0].CopyFrom(value("X", 1, [T, 3, 3]))
            model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
            with pytest.raises(ValueError, match="holds lengths") if T != 5 else contextlib.nullcontext():
                read(model)
        return
    said = []
    back = read(model, tell=said.append)
    assert "; proved: the graph run beside onnxruntime" in said[0]
    assert repr(back).count("return_sequences=False") == 2


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("lengths", [[3, 3, 3, 3], [5, 5, 5, 5], [4, 4, 4, 4], [0, 0, 0, 0]])
@pytest.mark.parametrize("told", [(5, 4), ("T", 4), (None, None)])
@pytest.mark.parametrize("way", ["straight", "turned"])
def test_lengths_in_a_graph_are_those_of_all_steps_or_refused(onnx, layout, lengths, told, way):
    """T = 5 is compared, wherever it stands: not the rows, B = 4, nor the inputs, I = 3; an unknown T with nothing."""
    T, B = told
    make, rng = onnx.helper.make_node, np.random.default_rng(0)
    held = {"W": rng.standard_normal((1, 16, 3)).astype("f4"), "R": rng.standard_normal((1, 16, 4)).astype("f4")}
    held["lengths"] = np.array(lengths, "int32")
    sizes = [B, T, I] if layout else [T, B, I]
    shape, places = None if T is None else sizes, ("X", "Y")
    said = {"layout": 1} if layout else {}
    nodes = [make("LSTM", ["X", "W", "R", "", "lengths"], ["Y"], hidden_size=4, **said)]
    if way == "turned":
        shape, places, held["one"] = shape and [*sizes[1::-1], I], ("Z", "V"), np.array([1])
        before = make("Transpose", ["Z"], ["X"], perm=[1, 0, 2])
        nodes = [before, *nodes, make("Squeeze", ["Y", "one"], ["U"]), make("Transpose", ["U"], ["V"], perm=[1, 0, 2])]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [value(places[0], 1, shape)], [value(places[1], 1, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    for thing in (model, graph):
        if T == 5 and lengths[0] == 5:
            assert "LSTM(3, 4" in repr(read(thing, tell=lambda _: None))
            continue
        words = "not all are the 5 steps" if T == 5 else "the graph does not say how many steps"
        with pytest.raises(ValueError, match=f"holds lengths of rows .* mask=; {words} of its input '[XZ]'"):
            read(thing)


def graph_of(onnx, nodes, held, steps="T", rows="B", opset=14):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [value("x", 1, [steps, rows, I])], [value("y", 1, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def test_weights_that_nodes_put_together(onnx, onnxruntime):
    """Joined, turned, with a new axis, and given as numbers: as exporters leave them."""
    _, held = node(onnx)
    make, flat = onnx.helper.make_node, held["B"].ravel()
    nodes = [
        make("Transpose", ["W_turned"], ["W_2"]), make("Unsqueeze", ["W_2"], ["W"], axes=[0]),
        make("Concat", ["R_1", "R_2"], ["R"], axis=1),
        make("Constant", [], ["B_flat"], value_floats=[float(b) for b in flat]),
        make("Reshape", ["B_flat", "size"], ["B"]),
        make("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=H),
    ]  # fmt: skip
    parts = {"W_turned": held["W"][0].T.copy(), "R_1": held["R"][:, :5], "R_2": held["R"][:, 5:]}
    said = []
    back = read(graph_of(onnx, nodes, parts | {"size": np.array([1, len(flat)])}, opset=12), tell=said.append)
    assert "; proved: the graph run beside onnxruntime" in said[0]
    assert np.array_equal(back.params["W_hh"][:, :H], held["R"][0, :H].T)


def test_a_graph_of_fixed_sizes_is_proved_too(onnx, onnxruntime):
    """Exported for one row, as torch does it where nothing else is said; what else it has is not passed over."""
    _, held = node(onnx)
    lstm = onnx.helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=H)
    for steps, words in ((5, "; proved: the graph run"), (1, "input of one step, as the graph has it")):
        said = []
        read(graph_of(onnx, [lstm], held, steps, 1), tell=said.append)
        assert words in said[0]
    scaled = onnx.helper.make_node("LSTM", ["z", "W", "R", "B"], ["y"], hidden_size=H)
    nodes = [onnx.helper.make_node("Mul", ["x", "half"], ["z"]), scaled]
    with pytest.raises(
        ValueError, match=r"something else than its layers in order, LSTM\(3, 4\); beside them it has Mul"
    ):
        read(graph_of(onnx, nodes, held | {"half": np.float32(0.5)}, 5, 1))
    last = onnx.helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "", "y"], hidden_size=H)
    with pytest.raises(ValueError, match="beside them it has the final c of LSTM"):
        read(graph_of(onnx, [last], held))
    own = [
        onnx.helper.make_node("ConstantOfShape", ["size"], ["h"], value=onnx.numpy_helper.from_array(np.ones(1, "f4"))),
        onnx.helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "h"], ["y"], hidden_size=H),
    ]
    with pytest.raises(ValueError, match="beside them it has initial_h, initial_c"):
        read(graph_of(onnx, own, held | {"size": np.array([1, 2, H])}, "T", 2))
    with pytest.raises(ValueError, match=r"Concat '' of weights cannot be computed: "):
        read(graph_of(onnx, [onnx.helper.make_node("Concat", ["W", "B"], ["V"], axis=2), lstm], held))
    bounded = onnx.helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=H, clip=0.0)
    with pytest.raises(
        ValueError, match=r"^a clip of the activations' inputs at 0: `clip_a` should be a number above 0"
    ):
        read(graph_of(onnx, [bounded], held))
