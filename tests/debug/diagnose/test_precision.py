"""Right gradients are right however they were written down, and a mistake is still named."""

from dataclasses import replace

import numpy as np
import pytest
from planting import random_step, somebody_elses

import lstmcore as lc
from lstmcore.debug.diagnose.precision import Precision, precisions
from lstmcore.debug.diagnose.search import Search
from lstmcore.debug.diagnose.suspects import suspects
from lstmcore.debug.diagnose.trial import Bench
from lstmcore.debug.mistakes import ENGINE, mutant

FORMATS = {"%.6f": Precision(decimals=6), "%.3f": Precision(decimals=3), "%.4g": Precision(digits=4),
           "%.10e": Precision(digits=11)}  # fmt: skip
CARRY = "the carry of dc forgets the forget gate"


def printed(arrays, form):
    return {name: np.array([float(form % v) for v in a.ravel()]).reshape(a.shape) for name, a in arrays.items()}


def bfloat16(a):
    """Cut to eight bits by rounding to even, kept in float32."""
    bits = a.astype("float32").view("uint32")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view("float32")


def diagnose(step, grads):
    return lc.debug.diagnose(step.weights, step.x, step.dy, grads, **step.options)


def right(step, grads):
    """The first verdict alone."""
    search = Search(Bench(step.read(grads)))
    (suspicion,) = search.run([()])
    return search.explains(suspicion)


def step_and_gradients(bug="", dtype="float64"):
    step = random_step(51, (6, 2, 3, 4), layout="torch", dtype=dtype)
    named = {m.name: m for m in lc.debug.mistakes.MISTAKES}
    return step, step.gradients(*([named[bug]] if bug else []), dtype=dtype)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_printed_numbers_are_right_to_the_digits_that_were_written(form, dtype):
    step, grads = step_and_gradients(dtype=dtype)
    text = printed(grads, form)
    if dtype == "float64":
        assert str(precisions(text)["weight_hh_l0"]) == str(FORMATS[form])
    answer = diagnose(step, text)
    assert answer.ok, str(answer)
    assert "that were written" in str(answer)
    if dtype == "float32":
        return
    _, wrong = step_and_gradients(CARRY)
    assert CARRY in diagnose(step, printed(wrong, form)).names


def test_inputs_that_lost_the_same_decimals_are_no_mistake():
    """All of it printed with %.6f: weights and inputs are off by half a millionth, and the gradients by more."""
    step, grads = step_and_gradients()
    step = replace(step, weights=printed(step.weights, "%.6f"), x=printed({"x": step.x}, "%.6f")["x"])
    for group in ("state", "dstate"):
        step.options[group] = printed(step.options[group], "%.6f")
    assert diagnose(step, printed(grads, "%.6f")).ok
    assert not right(step, grads)  # gradients with all their digits came from inputs that had them


def test_typed_inputs_are_exact():
    """Weights of one decimal were typed in: they do not excuse gradients of six."""
    step, _ = step_and_gradients()
    step = replace(step, weights=printed(step.weights, "%.1f"), x=printed({"x": step.x}, "%.1f")["x"])
    grads = printed(step.gradients(), "%.6f")
    assert diagnose(step, grads).ok
    grads["bias_hh_l0"] = grads["bias_hh_l0"] + 1e-4
    assert not right(step, grads)


def test_one_array_in_float32_among_others():
    step, grads = step_and_gradients()
    grads["weight_hh_l0"] = grads["weight_hh_l0"].astype("float32")
    answer = diagnose(step, grads)
    assert answer.ok, str(answer)
    assert "float32: weight_hh_l0" in str(answer)


def test_bfloat16_and_float16():
    step, grads = step_and_gradients(dtype="float32")
    for cast in (bfloat16, lambda a: a.astype("float16")):
        answer = diagnose(step, {name: cast(a) for name, a in grads.items()})
        assert answer.ok, str(answer)


def test_zeros_do_not_make_the_others_coarse():
    """A bias without gradient fits every format; the others are float64, and judged as such."""
    step, grads = step_and_gradients()
    grads["bias_hh_l0"] = 0 * grads["bias_hh_l0"]
    assert {str(p) for p in precisions(grads).values()} == {"float64"}
    assert diagnose(step, grads).names == ("the second bias gets no gradient (zero)",)


def test_dx_that_their_code_zeroes_on_padding_is_compared_on_real_steps():
    step = random_step(21, (6, 3, 3, 4), layout="torch")
    grads = somebody_elses(step, "mask ignored")
    grads["x"] = np.where(step.options["mask"][:, :, None], grads["x"], 0)
    assert "the mask is ignored" in diagnose(step, grads).names


def possible(bench, mistake):
    """Whether this cell has what the mistake takes away: the search leaves out what has not."""
    try:
        bench.numbers(mistake)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_mistake_knows_its_rounding(cell):
    """Each of the catalogue runs over numbers that know how far rounding may move them."""
    step = random_step(53, (3, 2, 3, 3), cell=cell, mask="right", dtype="float64")
    bench = Bench(step.read(step.gradients()))
    for mistake in suspects(bench.case):
        if mistake.module in ENGINE and possible(bench, mistake):
            with np.errstate(all="ignore"):
                run = mutant(mistake).run(bench.model, *bench.rounded((mistake,)))
            assert all(a.variance.shape == a.value.shape for a in run.values()), mistake.name


def test_half_precision_printed_with_decimals_is_half_precision():
    half = np.random.default_rng(9).normal(size=40).astype(np.float16).astype(float)
    (told,) = precisions({"b": np.round(half, 6)}).values()
    assert (told.bits, told.decimals) == (11, 6)
    (told,) = precisions({"b": np.round(np.random.default_rng(9).normal(size=40), 6)}).values()
    assert told.bits != 11
