"""With what was seen inside the loop, or in a short case, every mistake is named: they do not multiply."""

import numpy as np
import pytest
from planting import random_step

import lstmcore as lc
from lstmcore.debug.mistakes import MISTAKES, Mistake, wrong_calls
from lstmcore.debug.mistakes.mistake import LOOP, LSTM

NAMED = {mistake.name: mistake for mistake in MISTAKES}
TRIPLES = [
    ("c_t for c_{t-1} in the forget gate", "sigma' of the output gate is missing", "h_t for h_{t-1} in dW_hh"),
    ("what came along c is dropped", "dW_ih is averaged over the batch", "tanh' of the candidate is missing"),
    ("the carry of dh is dropped", "i for g in the product rule (di)", "the first step is left out of the bias"),
]


SEEN: dict[str, list[np.ndarray]] = {}
STEP, STORED = "        out = step_backward(", "        for k, d in enumerate(da_t):\n"
NOTES = (
    Mistake("note dh", LOOP, STEP, f"        note('dh', dstate[0])\n{STEP}"),
    Mistake("note da", LOOP, STORED, f"{STORED}            note('da_' + cell.gates[k], d)\n"),
    Mistake("note dc", LSTM, "        dg = dc * i", "        note('dc', dc)\n        dg = dc * i"),
)


def note(name, a):
    """What the mutant calls: keeps an array. A cell's text is also read with symbols, which are none."""
    if isinstance(a, np.ndarray):
        SEEN.setdefault(name, []).append(a)


def seen_inside(monkeypatch, step, *mistakes):
    """The gradients of a program with these mistakes, and what it had inside: dh, dc and da of every step."""
    monkeypatch.setattr(wrong_calls, "note", note, raising=False)
    SEEN.clear()
    grads = step.gradients(*mistakes, *NOTES)
    return grads, {name: np.array(arrays[::-1]) for name, arrays in SEEN.items()}


@pytest.mark.parametrize("names", TRIPLES)
def test_three_mistakes_are_named_by_their_lines(monkeypatch, names):
    step = random_step(81, (5, 2, 3, 4), mask="none", dtype="float64")
    grads, steps = seen_inside(monkeypatch, step, *(NAMED[name] for name in names))
    answer = lc.debug.diagnose(step.weights, step.x, step.dy, grads, steps=steps, **step.options)
    assert set(answer.names) == set(names), str(answer)
    assert "judged line by line" in str(answer)


def test_a_line_that_nobody_knows_is_placed_beside_one_that_is_known(monkeypatch):
    step = random_step(82, (5, 2, 3, 4), mask="none", dtype="float64")
    odd = Mistake("odd", LSTM, "da_o = do * o * (one - o)", "da_o = do * o * (one - o) * (one + o * o * o)")
    known = NAMED["c_t for c_{t-1} in the forget gate"]
    grads, steps = seen_inside(monkeypatch, step, odd, known)
    answer = lc.debug.diagnose(step.weights, step.x, step.dy, grads, steps=steps, **step.options)
    assert answer.names == (known.name,)
    assert answer.place.arrays == ("da_o",)
    assert {"dh", "dc", "da_i", "da_g", "W_ih", "W_hh", "b", "x"} <= set(answer.place.right)


def test_a_short_case_tells_by_its_weight_gradients_alone():
    """T B = 6 steps of 9 numbers (x, h and 1): da can be read off, and each gate is judged by itself."""
    step = random_step(83, (3, 2, 4, 4), mask="none", dtype="float64")
    names = (
        "c_t for c_{t-1} in the forget gate",
        "sigma' of the output gate as s (1 - s^2)",
        "i for g in the product rule (di)",
    )
    grads = step.gradients(*(NAMED[name] for name in names))
    answer = lc.debug.diagnose(step.weights, step.x, step.dy, grads, **step.options)
    assert set(answer.names) == set(names), str(answer)
