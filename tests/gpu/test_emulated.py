"""The fused GPU engine without a GPU: its host code and its kernels' text, on an emulated machine over NumPy arrays.

It is held to what every engine is held to (the oracle, the reference, poison, layouts in memory, ...), on fewer and
smaller problems: an emulated thread is some thousand times slower than a real one. What only a GPU can show is not
shown here: the order in which blocks see each other's writes, its own exp and tanh, and speed.
"""

import warnings

import numpy as np
import pytest
import test_poison
import test_properties
import test_same_for_all
import test_truth
from cases import LAYERS, MASKS, SHAPES, Problem, assert_identical, flatten, run, worst_relative_error
from engines import REFERENCE, Engine
from gpu.emulator import Emulator
from gpu.steps import LOST, check_forward, run_forward

from lstmcore.ops.gpu.launch import LaunchError
from lstmcore.ops.recurrence.gpu.fused import FusedGpu

# Odd sizes, and which kernels they are for: (I, H) -> the entries of one forward and one backward pass.
SMALL_INSIDE = ("small_forward", "small_backward", "small_sum")  # everything in the kernels
SMALL = ("small_forward", "small_backward")  # the products with x, and those for the weights, around them
POINTWISE = ("pointwise_forward", "pointwise_backward")
SIZES = {
    (1, 24): SMALL_INSIDE,
    (8, 17): SMALL_INSIDE,
    (13, 37): SMALL,
    (9, 48): SMALL,
}


def machine_of(seed: int = 0) -> tuple[Engine, Emulator]:
    """An engine on a machine of two multiprocessors, so that a few rows make several blocks of several rows."""
    emulator = Emulator(multiprocessors=2, seed=seed)
    return Engine("fused-gpu, emulated", FusedGpu("numpy", lambda: emulator), "numpy"), emulator


@pytest.fixture
def engine(emulator):
    return machine_of()[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", MASKS)
def test_truth_under_every_mask(engine, mask, dtype):
    test_truth.check(engine, LAYERS["lstm"], 4, 3, mask, dtype)


def test_truth_at_every_shape(engine, nightly):
    """Each is a kernel of its own, to be compiled first: three of them by day."""
    for T, B, I, H in SHAPES if nightly else SHAPES[1:4]:
        for dtype in ("float32", "float64"):
            test_truth.check(engine, ("lstm", I, H), T, B, "gaps", dtype)


def test_truth_of_layers_of_layers(engine, nightly):
    for name in ("lstm-last", "bidirectional", *(("interleaved", "towers") if nightly else ())):
        test_truth.check(engine, LAYERS[name], 4, 3, "gaps", "float32")


def test_truth_of_saturated_gates(engine):
    test_truth.check(engine, LAYERS["lstm"], 4, 3, "gaps", "float32", saturate="some")


@pytest.mark.parametrize("mask", ["none", "gaps", "right"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_float32_like_the_reference(emulator, size, mask):
    """Rows that fill no block; and the kernels that ran are those that should."""
    engine, machine = machine_of()
    test_same_for_all.check_float32(engine, ("lstm", *size), 6, 9, mask)
    assert set(machine.launches) == set(SIZES[size])


def test_float32_at_full_size(emulator, nightly):
    """The demo's batch on a machine as wide as an H100, with gaps; by night others, whose sums are longer."""
    problems = [((1, 24), 20, 1000, "gaps")]
    if nightly:
        problems += [(size, 100, 200, mask) for size in ((1, 24), (4, 32), (13, 37)) for mask in ("none", "gaps")]
    for size, T, B, mask in problems:
        machine = Emulator(multiprocessors=132)
        engine = Engine("fused-gpu, emulated", FusedGpu("numpy", lambda m=machine: m), "numpy")
        test_same_for_all.check_float32(engine, ("lstm", *size), T, B, mask)
        assert set(machine.launches) == set(SMALL if size[0] > 8 else SMALL_INSIDE)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_order_of_threads_changes_no_bit(emulator, size):
    problem = Problem(("lstm", *size), 4, 9, "gaps", seed=1, dtype="float32")
    first, *others = (run(problem, machine_of(seed)[0]) for seed in range(4))
    for other in others:
        assert_identical(other, first)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mask", ["gaps", "no step at all"])
def test_poison_changes_no_bit(engine, size, mask):
    problem = Problem(("lstm", *size), 4, 5, mask, seed=2, dtype="float32")
    clean = run(problem, engine)
    for poison in test_poison.POISONS.values():
        assert_identical(run(test_poison.poisoned(problem, poison), engine), clean)
    test_poison.test_predict_sees_no_poison(engine, "lstm", mask)
    test_poison.test_the_cache_holds_no_poison(engine, "lstm", mask)


@pytest.mark.parametrize("name", ["lstm", "bidirectional"])
def test_properties_of_engines(engine, name):
    test_properties.test_backward_twice_and_nothing_touched(engine, name)
    test_properties.test_a_shorter_batch_after_a_longer_one(engine, name)
    for reuse in (False, True):
        test_properties.test_two_training_steps_in_a_row(engine, name, reuse)
    for layout in test_properties.LAYOUTS:
        test_properties.test_any_layout_in_memory(engine, name, layout)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mask", ["none", "gaps"])
def test_predict_is_forward(engine, size, mask):
    """The same outputs and states, bit for bit: one text computes both."""
    problem = Problem(("lstm", *size), 4, 5, mask, seed=3, dtype="float32")
    layer = engine.place(problem.layer())
    y, state, _ = layer.forward(problem.x, problem.state, mask=problem.mask)
    y_alone, state_alone = layer.predict(problem.x, problem.state, mask=problem.mask)
    assert np.array_equal(y_alone, y)
    assert all(np.array_equal(a, b) for a, b in zip(state_alone, state, strict=True))


@pytest.mark.parametrize(("dtype", "family"), [("float32", "small"), ("float64", "pointwise")])
def test_the_cache_means_the_same(engine, dtype, family):
    """x is the reference's, bit for bit. Gates and states, of one step each: in float32 within the rounding of that
    step (steps.py); in float64 the reference's to 1e-12, as test_same_for_all.py derives it for longer sums.
    """
    problem = Problem(("lstm", 5, 6), 7, 4, "gaps", seed=9, dtype=dtype)
    _, got, forward = run_forward(problem, engine)
    assert (got.engine, got.private) == ("fused-gpu", family)
    _, want, truth = run_forward(problem, REFERENCE)
    assert_identical({"x": got.x, "mask": got.mask}, {"x": want.x, "mask": want.mask})
    if dtype == "float32":
        check_forward(problem, forward, LOST["ieee"])
    else:
        worst, array = worst_relative_error(flatten(forward._asdict()), flatten(truth._asdict()))
        assert worst <= 1e-12, array


def test_other_cells_go_to_the_reference(engine):
    for cell in ("gru", "rnn"):
        test_truth.check(engine, LAYERS[cell], 4, 3, "gaps")


class Broken(Emulator):
    """A machine on which no kernel of one file can be compiled."""

    def __init__(self, *files):
        super().__init__(multiprocessors=2)
        self.files = files

    def compile(self, file, entry, defines, together=False):
        if file in self.files:
            raise LaunchError(f"{entry} in {file} is not for this machine, said {id(self)}")
        return super().compile(file, entry, defines, together)


@pytest.mark.parametrize("broken", [("small", "persistent"), ("small", "persistent", "pointwise")])
def test_a_kernel_that_cannot_run_leaves_it_to_the_next(emulator, broken):
    """With one message for each, and no second one (which would be an error here); and the numbers are right."""
    machine = Broken(*(f"{name}.cu" for name in broken))
    fallen = Engine("fused-gpu, broken", FusedGpu("numpy", lambda: machine), "numpy")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        test_truth.check(fallen, LAYERS["lstm"], 4, 3, "gaps", "float32")
    for name, message in zip(broken, told, strict=True):
        assert f"cannot run, and a slower one does: {name}_forward in {name}.cu" in str(message.message)
    test_truth.check(fallen, LAYERS["lstm"], 4, 3, "none", "float32")
    assert set(machine.launches) == (set() if "pointwise" in broken else set(POINTWISE))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="`precision` should be one of 'ieee', 'tf32'; got 'half'"):
        FusedGpu("numpy", Emulator, "half")
