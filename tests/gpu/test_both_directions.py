"""Both directions of a Bidirectional layer in one launch: the same bits as one after the other, and half the launches.

On the emulated machine. That one direction alone is right is shown by test_emulated.py and test_persistent.py.
"""

import copy
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_poison
import test_same_for_all
import test_truth
from cases import Problem, assert_identical, assert_within, flatten, run
from engines import Engine
from gpu.emulator import Emulator
from gpu.test_emulated import Broken

from lstmcore.layers import LSTM
from lstmcore.ops.recurrence.gpu import persistent as persistent_gpu
from lstmcore.ops.recurrence.gpu.fused import FusedGpu
from lstmcore.ops.recurrence.gpu.persistent import Size


class Case(NamedTuple):
    shape: tuple[int, int, int, int]  # T, B, I, H
    multiprocessors: int
    forward: list[str]  # the launches of one forward pass over both directions
    backward: list[str]
    rows: int = 32  # of a persistent group at most
    precision: str = "ieee"


PERSISTENT = ["persistent_forward"], ["persistent_backward"]
CASES = {
    "small, inputs inside": Case((4, 9, 3, 17), 2, ["small_forward"], ["small_backward", "small_sum"]),
    "small, inputs outside": Case((4, 9, 13, 37), 2, ["small_forward"], ["small_backward"]),
    # 50 units take two blocks. 13 rows take two groups of 8 rows in each direction.
    "four groups at once": Case((4, 13, 3, 50), 8, *PERSISTENT),
    "two groups at once, of 16 rows, where a direction alone takes 8": Case((4, 13, 3, 50), 4, *PERSISTENT),
    "three groups of four at once": Case((4, 13, 3, 50), 6, *(2 * both for both in PERSISTENT), 8),
    "one group at once, of one direction or the other": Case((4, 5, 3, 50), 2, *(2 * both for both in PERSISTENT), 8),
    "four groups in tf32": Case((4, 13, 3, 50), 8, *PERSISTENT, 8, "tf32"),
    "step by step": Case((2, 3, 2, 3), 2, 4 * ["pointwise_forward"], 4 * ["pointwise_backward"]),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
TWINS = ("bidirectional", ("lstm", 3, 4), ("lstm", 3, 4))


class OneByOne:
    """An engine with its four functions alone."""

    def __init__(self, engine: FusedGpu):
        self.NAME, self.LIBRARY, self.supports = engine.NAME, engine.LIBRARY, engine.supports
        self.forward, self.predict, self.backward = engine.forward, engine.predict, engine.backward


@pytest.fixture
def engines(emulator, monkeypatch):
    """A function of a case and a seed: an engine for both at once, one for one after the other, and the machine."""

    def make(case: Case, seed: int = 0) -> tuple[Engine, Engine, Emulator]:
        monkeypatch.setattr(persistent_gpu, "SIZES", (Size(256, 32, case.rows),))
        machine = Emulator(case.multiprocessors, seed=seed)
        fused: Any = FusedGpu("numpy", lambda: machine, case.precision)
        alone: Any = OneByOne(fused)
        return Engine("both", fused, "numpy"), Engine("one by one", alone, "numpy"), machine

    return make


def problem_of(case: Case, mask: str = "gaps", kind: str = "bidirectional", last: tuple[str, ...] = ()) -> Problem:
    T, B, I, H = case.shape
    dtype = "float64" if case.forward[0].startswith("pointwise") else "float32"
    return Problem((kind, ("lstm", I, H, *last), ("lstm", I, H, *last)), T, B, mask, seed=T, dtype=dtype)


@cases
@pytest.mark.parametrize("mask", ["none", "gaps"])
def test_the_same_bits_in_fewer_launches(engines, case, mask):
    problem, (both, alone, machine) = problem_of(case, mask), engines(case)
    got = run(problem, both)
    assert machine.launches == case.forward + case.backward
    machine.launches.clear()
    assert_identical(got, run(problem, alone))
    assert len(machine.launches) >= len(case.forward + case.backward)


@pytest.mark.parametrize("name", ["small, inputs inside", "small, inputs outside", "four groups at once"])
def test_like_the_reference(engines, name):
    T, B, I, H = CASES[name].shape
    both, _, _ = engines(CASES[name])
    test_same_for_all.check_float32(both, ("bidirectional", ("lstm", I, H), ("lstm", I, H)), T, B, "gaps")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 1), (1, 4, 3, 2)], ids=str)
def test_truth_of_the_smallest(engines, shape):
    T, B, I, H = shape
    both, _, machine = engines(CASES["small, inputs inside"])
    test_truth.check(both, ("bidirectional", ("lstm", I, H), ("lstm", I, H)), T, B, "gaps", "float32")
    assert machine.launches == ["small_forward", "small_backward", "small_sum"]


@pytest.mark.parametrize("kind", ["bidirectional", "sum"])
@pytest.mark.parametrize("last", [(), ("last",)], ids=["all outputs", "final states"])
def test_predict_and_every_way_to_join(engines, kind, last):
    case = CASES["small, inputs inside"]
    problem, (both, alone, machine) = problem_of(case, kind=kind, last=last), engines(case)
    assert_identical(run(problem, both), run(problem, alone))
    machine.launches.clear()
    y, state = both.place(problem.layer()).predict(problem.x, problem.state, problem.mask)
    assert machine.launches == ["small_predict"]
    want, last_state, _ = both.place(problem.layer()).forward(problem.x, problem.state, problem.mask)
    assert_identical(flatten((y, state)), flatten((want, last_state)))


@pytest.mark.parametrize("name", ["small, inputs inside", "three groups of four at once"])
def test_any_order_gives_the_same_bits(engines, name):
    problem = problem_of(CASES[name])
    first = run(problem, engines(CASES[name])[0])
    for seed in range(1, 4):
        assert_identical(run(problem, engines(CASES[name], seed)[0]), first)


@pytest.mark.parametrize("name", ["small, inputs inside", "small, inputs outside", "four groups at once"])
def test_poison_changes_no_bit(engines, name):
    problem, (both, _, _) = problem_of(CASES[name]), engines(CASES[name])
    assert_identical(run(test_poison.poisoned(problem, np.nan), both), run(problem, both))


@pytest.mark.parametrize("name", ["small, inputs inside", "four groups at once"])
def test_both_caches_are_used_again(engines, name):
    problem, (both, _, _) = problem_of(CASES[name]), engines(CASES[name])
    layer = both.place(problem.layer())
    want, _, _ = layer.forward(problem.x, problem.state, problem.mask)
    _, _, old = layer.forward(-problem.x)
    y, _, new = layer.forward(problem.x, problem.state, problem.mask, reuse=old)
    assert_identical({"y": y}, {"y": want})
    for one, other in zip(new.parts, old.parts):
        assert one.gates is other.gates
        assert one.states[0] is other.states[0]


# ---- who is asked for both -----------------------------------------------------------------------------------------


class OfItsOwn(LSTM):
    """A layer with a backward of its own."""

    def backward(self, dy, cache, dstate=None):
        dx, dstate0, grads = super().backward(dy, cache, dstate)
        return dx, dstate0, {name: 0 * grad for name, grad in grads.items()}


OTHERS = {
    "other widths": ("bidirectional", ("lstm", 3, 17), ("lstm", 3, 6)),
    "other cells": ("bidirectional", ("lstm", 3, 17), ("gru", 3, 17)),
    "stacks": ("bidirectional", ("stack", ("lstm", 3, 17)), ("stack", ("lstm", 3, 17))),
}


@pytest.mark.parametrize("spec", OTHERS.values(), ids=OTHERS)
def test_what_does_not_go_together_goes_one_by_one(engines, spec):
    both, alone, machine = engines(CASES["small, inputs inside"])
    problem = Problem(spec, 4, 9, "gaps", dtype="float32")
    got, launches = run(problem, both), list(machine.launches)
    machine.launches.clear()
    assert_identical(got, run(problem, alone))
    assert machine.launches == launches


def test_a_layer_with_a_method_of_its_own_is_asked_itself(engines):
    problem, (both, _, _) = problem_of(CASES["small, inputs inside"]), engines(CASES["small, inputs inside"])
    layer = both.place(problem.layer())
    layer.fw.__class__ = OfItsOwn
    _, _, cache = layer.forward(problem.x, mask=problem.mask)
    _, _, grads = layer.backward(problem.dy, cache)
    assert not grads["fw.W_hh"].any()
    assert grads["bw.W_hh"].any()


def test_layers_of_two_engines_go_one_by_one(engines):
    """And the numbers are the oracle's, to its bound on rounding."""
    problem, want, bounds = test_truth.posed(TWINS, 4, 3, "gaps", "float32")
    both, _, machine = engines(CASES["small, inputs inside"])
    layer = both.place(problem.layer())
    layer.bw.engine = "reference"
    y, state, cache = layer.forward(problem.x, problem.state, problem.mask)
    assert [part.engine for part in cache.parts] == ["fused-gpu", "reference"]
    assert machine.launches == ["small_forward"]
    layer.bw.engine = layer.fw.engine  # caches of two engines: only the reference understands both
    machine.launches.clear()
    dx, dstate0, grads = layer.backward(problem.dy, cache, problem.dstate)
    assert machine.launches == []
    got = flatten({"y": y, "state": state, "dx": dx, "dstate0": dstate0, "grads": grads})
    assert_within(got, want, bounds, "float32")


def test_bad_input_is_refused_before_anything_runs(engines):
    problem, (both, _, machine) = problem_of(CASES["small, inputs inside"]), engines(CASES["small, inputs inside"])
    layer = both.place(problem.layer())
    (h, c), right = problem.state
    with pytest.raises(ValueError, match="state"):
        layer.forward(problem.x, ((h, c), (right[0][:2], right[1])))
    _, _, cache = layer.forward(problem.x)
    other = copy.deepcopy(layer)
    assert machine.launches == ["small_forward"]
    with pytest.raises(ValueError, match="cache"):
        other.backward(problem.dy, cache)
    assert machine.launches == ["small_forward"]


def test_a_kernel_that_cannot_run_leaves_both_to_the_next(engines):
    """With one message for each, and the right numbers."""
    machine = Broken("small.cu", "persistent.cu")
    fused: Any = FusedGpu("numpy", lambda: machine)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        test_truth.check(Engine("broken", fused, "numpy"), TWINS, 4, 3, "gaps", "float32")
    assert [str(message.message).split(":")[0] for message in told] == [
        f"the GPU kernel {name!r} cannot run, and a slower one does" for name in ("small", "persistent-ieee")
    ]
    assert set(machine.launches) == {"pointwise_forward", "pointwise_backward"}
