"""The graph of a step: its numbers are the engine's, each made by a line that is there and cites its equation."""

import re
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.explain import EXAMPLES, graph
from lstmcore.debug.explain.examples import example
from lstmcore.debug.explain.scalars import OPERATIONS
from lstmcore.ops.cells import CELLS, variant

ROOT = Path(lc.__file__).parents[1]
LAYERS = {
    "lstm": lc.LSTM, "gru": lc.GRU, "rnn": lc.RNN,
    "lstm-peepholes": lambda *a, **k: lc.LSTM(*a, peepholes=True, **k),
}  # fmt: skip
EVERY = [(name, masked) for name in EXAMPLES for masked in (False, True)]
EPS = np.finfo(float).eps


def engine(name, step):
    """The layer's own loss, outputs and gradients, by name."""
    _, _, I = step.x.shape
    layer = LAYERS[name](I, step.targets.shape[-1], dtype="float64", engine="reference")
    for key, value in step.params.items():
        layer.params[key] = value
    y, _, cache = layer.forward(step.x, step.state0, mask=step.mask)
    loss, dy = lc.squared_error(y, step.targets, step.mask)
    dx, dstate0, grads = layer.backward(dy, cache)
    found = {f"d{key}": value for key, value in grads.items()} | {"y": y[:, 0], "dy": dy[:, 0], "dx": dx[:, 0]}
    for state, value, d in zip(layer.cell.states, cache.states, dstate0):
        found |= {state: value[1:, 0], f"d{state}0": d[0]}
    return loss, found | {gate: cache.gates[:, 0, k] for k, gate in enumerate(layer.cell.gates)}


@pytest.mark.parametrize(("name", "masked"), EVERY)
def test_its_numbers_are_the_engines(name, masked):
    step = example(EXAMPLES[name].cell, masked)
    traced = graph(EXAMPLES[name].cell, step)
    loss, want = engine(name, step)
    assert abs(traced.numbers[traced.loss].value - loss) <= 4 * EPS * abs(loss)
    assert {"y", "dx", "dW_ih", "dW_hh", "db", "h", "dh0"} <= want.keys()
    for key, array in want.items():
        for index in np.ndindex(array.shape):
            got = traced.value(f"{key}[{','.join(map(str, index))}]")
            assert abs(got - array[index]) <= 4 * EPS * np.abs(array).max(), (key, index)


@pytest.mark.parametrize(("name", "masked"), EVERY)
def test_every_number_follows_from_its_operands(name, masked):
    traced = graph(EXAMPLES[name].cell, example(EXAMPLES[name].cell, masked))
    for k, number in enumerate(traced.numbers):
        assert all(of < k for of in number.operands)
        if number.operands:
            assert number.value == OPERATIONS[number.op](*(traced.numbers[of].value for of in number.operands))


@pytest.mark.parametrize(("name", "masked"), EVERY)
def test_every_number_was_made_by_a_line_that_is_there(name, masked):
    traced = graph(EXAMPLES[name].cell, example(EXAMPLES[name].cell, masked))
    made = [k for k, number in enumerate(traced.numbers) if number.operands]
    assert len(made) > 100
    for k in made:
        assert traced.lines(k)
        for file, line, equation in traced.lines(k):
            text = (ROOT / file).read_text(encoding="utf-8").splitlines()[line - 1]
            assert not equation or f"({equation})" in text.partition("#")[2]


@pytest.mark.parametrize(
    ("name", "masked", "equations"),
    [
        ("lstm", False, {*range(1, 23), 43, 63, 64}),
        ("lstm", True, {*range(1, 26), 42, 43, 63, 64}),
        ("gru", False, {*range(26, 38), *range(19, 23), 43}),
        ("rnn", False, {*range(38, 42), *range(18, 23), 43}),
        ("lstm-peepholes", False, {78, 79, 83, 84, 85, 89, 90, 91}),
    ],
)
def test_every_equation_is_seen(name, masked, equations):
    traced = graph(EXAMPLES[name].cell, example(EXAMPLES[name].cell, masked))
    seen = {line.equation for k in range(len(traced.numbers)) for line in traced.lines(k)}
    assert seen >= equations


def test_a_name_is_an_equation():
    """Each named number of the LSTM's step comes from the line that docs/derivation.md gives it."""
    traced = graph(EXAMPLES["lstm"].cell, example(EXAMPLES["lstm"].cell))
    want = {"a_i": 1, "i": 2, "f": 3, "g": 4, "o": 5, "c": 6, "h": 7, "dc": 8, "do": 9, "dg": 10, "di": 11,
            "dc_prev": 12, "df": 13, "da_o": 14, "da_g": 15, "da_f": 16, "da_i": 17, "dh_prev": 18}  # fmt: skip
    for name, equation in want.items():
        assert traced.lines(traced.names[f"{name}[1,0]"][0])[0].equation == equation, name
    assert traced.lines(traced.names["dc_through[1,0]"][0])[0].equation == 8
    assert traced.value("dc[1,0]") == traced.value("dc_along[1,0]") + traced.value("dc_through[1,0]")
    assert traced.names["c_prev[2,1]"] == traced.names["c[1,1]"]
    assert traced.names["dc_along[1,1]"] == traced.names["dc_prev[2,1]"]
    assert traced.lines(traced.names["dh[1,0]"][0])[0].equation == 43
    assert traced.lines(traced.names["db[0]"][0])[-1].equation == 19


LEFT_OUT = [
    ("lstm", {"coupled": "f"}, ("a_f", "da_f", "p_", "dp_")),
    ("lstm", {"coupled": "i"}, ("a_i", "da_i", "p_", "dp_")),
    ("lstm", {"coupled": "f", "peepholes": True}, ("a_f", "da_f", "p_f", "dp_f")),
    ("lstm", {"clip_c": 0.5, "clip_a": 1.0}, ("p_", "dp_")),
    ("gru", {"gate_activation": ("hard_sigmoid", 0.2)}, ()),
    ("rnn", {"activation": "relu"}, ()),
]


@pytest.mark.parametrize(("name", "options", "left_out"), LEFT_OUT)
def test_what_a_variant_leaves_out_has_no_name(name, options, left_out):
    """Where a step has no such number, another stands in its place: it must not get that name too."""
    cell = variant(CELLS[name], **options)
    traced = graph(cell, example(cell))
    assert {f"{gate}[1,0]" for gate in cell.gates} | {"h[1,0]", "dh[1,0]", "dx[1,0]"} <= traced.names.keys()
    assert not [each for each in traced.names if left_out and each.startswith(left_out)]
    if (kept := options.get("coupled")) is not None:
        made, other = traced.numbers[traced.names[f"{kept}[1,0]"][0]], {"f": "i", "i": "f"}[kept]
        assert made.value == 1 - traced.value(f"{other}[1,0]")
        assert traced.lines(traced.names[f"{kept}[1,0]"][0])[0].equation == {"f": 80, "i": 81}[kept]


@pytest.mark.parametrize(("name", "options", "left_out"), [(name, {}, ()) for name in CELLS] + LEFT_OUT)
def test_a_number_with_a_name_has_its_effect(name, options, left_out):
    """On the loss, or on a gradient that the engine gives."""
    cell = variant(CELLS[name], **options)
    traced = graph(cell, example(cell))
    given = re.compile(r"d(x|b|b_hn|p|W_ih|W_hh|[hc]0)\[")
    used = {traced.loss} | {last for name, (_, last) in traced.names.items() if given.match(name)}
    for k in reversed(range(len(traced.numbers))):
        used |= set(traced.numbers[k].operands) if k in used else set()
    assert not [name for name, (first, last) in traced.names.items() if not {first, last} <= used]


def test_the_watch_leaves_no_trace():
    import sys

    before = sys.gettrace()
    graph(EXAMPLES["rnn"].cell, example(EXAMPLES["rnn"].cell))
    assert sys.gettrace() is before
