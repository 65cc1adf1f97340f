"""With outputs given the function comes first: the plain one, another by its name, or the step where it leaves."""

import numpy as np
import pytest
from planting import random_step

import lstmcore as lc
from lstmcore.debug.diagnose.read_case import readings
from lstmcore.debug.diagnose.suspects import limits
from lstmcore.debug.diagnose.trial import Bench
from lstmcore.debug.mistakes import MISTAKES, Mistake, clipped, mutant
from lstmcore.debug.mistakes.mistake import LSTM

NAMED = {mistake.name: mistake for mistake in MISTAKES}
HARD = "hard sigmoid in the three gates, forward and backward"
CARRY = "the carry of dc forgets the forget gate"


def outputs(step, *mistakes):
    """y, c and the gates of a program with these mistakes."""
    reading = step.read({name: np.zeros(w.shape) for name, w in step.weights.items()})
    params, x, mask, state, *_ = mutant(*mistakes).prepare(reading.case)
    model = mutant(*mistakes).twin(reading.model, params)
    y, _, cache = model.forward(x, (state["h0"], state["c0"]), mask)
    gates = {gate: cache.gates[:, :, k] for k, gate in enumerate("ifgo")}
    return {"y": y, "c": cache.states[1][1:], **gates}


def judged(mistakes, given=("y",), search=True, **options):
    step = random_step(61, (5, 2, 3, 4), dtype="float64", mask="none")
    seen = outputs(step, *mistakes)
    steps = {name: seen[name] for name in given}
    return lc.debug.diagnose(step.weights, step.x, step.dy, step.gradients(*mistakes), steps=steps, search=search,
                             **step.options, **options)  # fmt: skip


def test_right_outputs_leave_the_gradients_to_be_judged():
    answer = judged(())
    assert answer.ok
    assert answer.forward == "right"
    answer = judged((NAMED[CARRY],))
    assert answer.forward == "right"
    assert CARRY in answer.names


@pytest.mark.parametrize("name", [HARD, "the forget gate coupled as 1 - i, forward and backward", "h0 is ignored"])
def test_another_function_is_recognised_and_its_gradients_are_right(name):
    answer = judged((NAMED[name],))
    assert answer.forward == f"another function: {name}"
    assert answer.names == (name,)
    assert "another function than this one, with right gradients" in str(answer)
    assert "WRONG" not in str(answer)


def test_gradients_are_judged_for_the_function_that_was_computed():
    hard = NAMED[HARD]
    answer = judged((hard, NAMED["dW_hh is averaged over the batch"]))
    assert answer.forward == f"another function: {HARD}"
    assert set(answer.names) >= {HARD, "dW_hh is averaged over the batch"}


def test_an_unknown_function_is_placed():
    odd = Mistake("odd", LSTM, "f = sigmoid(a_f)", "f = sigmoid(a_f) * sigmoid(a_f)")
    answer = judged((odd,), search=False)
    assert not answer.ok
    assert answer.names == ()
    assert answer.forward.startswith("your forward leaves this function at step 0, in y (off by ")
    answer = judged((odd,), given=("y", "c", "i", "f", "g", "o"), search=False)
    assert "at step 0, in gate f" in answer.forward
    assert "WRONG" not in str(answer)


def test_steps_that_are_not_known_are_refused():
    step = random_step(61, (5, 2, 3, 4))
    with pytest.raises(KeyError, match=r"`steps` should hold any of y, h, c, i, f, g, o, dh, dc, da_i.*got 'z'"):
        lc.debug.diagnose(step.weights, step.x, step.dy, step.gradients(), steps={"z": step.dy}, **step.options)
    with pytest.raises(ValueError, match=r"`c` should be \(5, 2, 4\); got \(4, 2, 4\)"):
        lc.debug.diagnose(step.weights, step.x, step.dy, step.gradients(), steps={"c": step.dy[1:]}, **step.options)


def test_a_gru_whose_reset_gate_comes_before_the_product_is_told_by_its_outputs():
    """In a layout whose GRU has it after: another function, and its gradients are right."""
    rng = np.random.default_rng(62)
    gru = lc.GRU(3, 4, reset="before", dtype="float64", seed=rng)
    x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4))
    y, _, cache = gru.forward(x)
    _, _, grads = gru.backward(dy, cache)
    theirs, their_grads = (
        lc.interop.from_lstmcore(arrays, "torch", "gru", gradients=gradients)
        for arrays, gradients in ((dict(gru.params), False), (grads, True))
    )
    answer = lc.debug.diagnose(theirs, x, dy, their_grads, layout="torch", y=y)
    assert answer.forward == "another function: a GRU whose reset gate comes before the product"
    assert not answer.ok
    assert "WRONG" not in str(answer)


def test_what_nobody_knows_in_a_variant_is_placed():
    rng = np.random.default_rng(63)
    lstm = lc.LSTM(3, 4, peepholes=True, dtype="float64", seed=rng, engine="reference")
    x, dy = rng.standard_normal((2, 2, 3)), rng.standard_normal((2, 2, 4))
    y, _, cache = lstm.forward(x)
    _, _, grads = lstm.backward(dy, cache)
    weights = {("peep" if name == "p" else name): value for name, value in lstm.params.items()}
    theirs = {("peep" if name == "p" else name): value for name, value in grads.items()}
    assert lc.debug.diagnose(weights, x, dy, theirs, y=y).ok
    theirs["W_ih"] = theirs["W_ih"] + rng.standard_normal(theirs["W_ih"].shape)
    answer = lc.debug.diagnose(weights, x, dy, theirs, y=y, search=False)
    assert answer.names == ()
    assert answer.place.arrays == ("W_ih",)


def test_a_clip_outside_the_step_is_found_in_a_variant():
    rng = np.random.default_rng(63)
    lstm = lc.LSTM(3, 4, peepholes=True, dtype="float64", seed=rng, engine="reference")
    x, dy = rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 2, 4))
    wrong = clipped("the carried gradient of h", 0.0625)
    y = lstm.forward(x)[0]
    twin = lstm.to(engine=mutant(wrong))
    _, _, grads = twin.backward(dy, twin.forward(x)[2])
    names = {name: "peep" if name == "p" else name for name in grads}
    weights, theirs = ({names[k]: a for k, a in arrays.items()} for arrays in (lstm.params, grads))
    found = limits(Bench(readings(weights, x, dy, theirs, y=y)[0]))
    assert wrong in found
