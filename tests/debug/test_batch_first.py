"""Every tool over a model whose arrays have the batch first: it answers as over the model itself, or says why not."""

import inspect
import re

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.mistakes import MISTAKES, mutant

T = B = 4  # alike, so that no shape tells an array that is read the wrong way round
I, H, O = 2, 3, 2
MISTAKE = mutant(next(m for m in MISTAKES if m.name == "c_t for c_{t-1} in the forget gate"))
debug = lc.debug
rng = np.random.default_rng(0)
X, DY, TARGETS = (rng.standard_normal((T, B, n)) for n in (I, O, O))
MASK = np.arange(T)[:, None] < np.array([4, 1, 3, 2])
DOT = rng.standard_normal((T, B, I))


def model(engine="reference"):
    lstm = lc.LSTM(I, H, dtype="float64", seed=1, engine=engine)
    return lc.Stack([lstm, lc.Linear(H, O, dtype="float64", seed=2)])


def turned(a):
    return a.swapaxes(0, 1)


def words(answer):
    """What it prints, whatever the widths of its columns."""
    return re.sub(r"-{2,}|─+|━+", "", str(answer)).split()


def derivative(found):
    return {"y": found.y, "y_dot": found.y_dot}


def traced(found):
    (step,) = found.steps.values()
    return {name: step.masked.value(name) for name in step.masked.names}


TOOLS = {  # of a model, its engine with a mistake, and arrays in its own order of axes
    "compare": lambda net, wrong, x, dy, mask: words(debug.compare(net, wrong, x, dy, mask=mask)),
    "explain_step": lambda net, _, x, dy, mask: traced(debug.explain_step(net, x, dy, mask=mask, row=2)),
    "flow": lambda net, _, x, dy, mask: words(debug.flow(net, x, dy, mask=mask)),
    "gradcheck": lambda net, wrong, x, _, mask: [
        (row.name, row.shape if row.name != "x" else (), debug.gradcheck(wrong, x, mask=mask, seed=0).ok)
        for row in debug.gradcheck(net, x, mask=mask, seed=0).table
        if row.error <= row.tolerance
    ],
    "hvp": lambda net, _, x, dy, mask: debug.hvp(net, x, dy, {"x": x**2}, mask=mask),
    "jvp": lambda net, _, x, dy, mask: derivative(debug.jvp(net, x, {"x": x**2}, mask=mask)),
    "ledger": lambda net, _, x, dy, mask: words(debug.ledger(net, x, dy, mask=mask)),
    "memory": lambda net, _, x, dy, mask: words(debug.memory(net, x, dy, mask=mask)),
    "padding": lambda net, _, x, dy, mask: words(debug.padding(net, x, dy, mask=mask)),
    "report": lambda net, _, x, dy, mask: [
        words(finding.text) for finding in debug.report(net, x, dy, mask=mask).findings
    ],
    "trace": lambda net, _, x, dy, mask: debug.trace(net, x, dy, mask=mask),
    "tripwire": lambda net, _, x, dy, mask: words(debug.tripwire(net, np.where(x == x.max(), np.nan, x), dy)),
}
AN_LSTM = "`layer` should be an LSTM, GRU or RNN"
REFUSED = {  # what is asked, and what it says
    "jacobian": (lambda net, cache: debug.jacobian(net, cache), AN_LSTM),
    "lyapunov_exponents": (lambda net, cache: debug.lyapunov_exponents(net, cache), AN_LSTM),
    "memory_horizon": (lambda net, cache: debug.memory_horizon(net, cache), AN_LSTM),
    "rtrl": (lambda net, _: debug.rtrl(net, turned(X), turned(DY)), AN_LSTM),
    "singular_values": (lambda net, cache: debug.singular_values(net, cache), AN_LSTM),
    "step_jacobians": (lambda net, cache: debug.step_jacobians(net, cache), AN_LSTM),
    "truncation": (lambda net, _: debug.truncation(net, turned(X), turned(DY), 2), r"has the batch first \(hand over"),
}


def test_no_tool_is_left_out():
    tools = {name: getattr(debug, name) for name in debug.__all__}
    functions = {name: f for name, f in tools.items() if inspect.isfunction(f)}
    of_layers = {name for name, f in functions.items() if next(iter(inspect.signature(f).parameters), "") == "layer"}
    assert of_layers == TOOLS.keys() | REFUSED.keys()


@pytest.mark.parametrize("tool", TOOLS)
def test_the_answer_is_that_of_time_first(tool):
    """Layers are called by the way to them, "model.0"; what has the axes of x or y has the model's."""
    ask = TOOLS[tool]
    plain = ask(model(), model(MISTAKE), X, DY, MASK)
    given = ask(lc.BatchFirst(model()), lc.BatchFirst(model(MISTAKE)), *map(turned, (X, DY, MASK)))
    if not isinstance(plain, dict):
        assert re.sub(r"\bmodel\.", "", repr(given)) == repr(plain)
        return
    got = {name.removeprefix("model."): value for name, value in given.items()}
    assert got.keys() == plain.keys()
    for name, value in plain.items():
        there = got[name]
        if tool in ("hvp", "jvp") and name in ("x", "y", "y_dot"):
            there = turned(there)
        np.testing.assert_array_equal(there, value, err_msg=name)


@pytest.mark.parametrize("tool", REFUSED)
def test_others_refuse(tool):
    ask, text = REFUSED[tool]
    net = lc.BatchFirst(lc.LSTM(I, O, dtype="float64", seed=1, engine="reference"))
    with pytest.raises(TypeError, match=text):
        ask(net, net.forward(turned(X))[2])
