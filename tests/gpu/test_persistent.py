"""The persistent kernels' own text, run on the emulated machine, against the reference engine.

Several blocks per group, several groups, several launches; blocks, threads and the words between blocks in random
order. What this cannot show: that a GPU's memory keeps the rules that the exchange relies on, and how fast anything is.
What the kernels are held to: steps.py.
"""

import itertools
from typing import Any, NamedTuple

import gpu.emulator
import numpy as np
import pytest
import test_same_for_all
from cases import MASKS, assert_identical, flatten, run
from engines import REFERENCE, Engine
from gpu.steps import LOST, check, check_backward, check_forward, problem_of, run_backward, run_forward

from lstmcore.ops.gpu import launch
from lstmcore.ops.gpu.launch import LaunchError
from lstmcore.ops.recurrence.gpu import persistent as persistent_gpu
from lstmcore.ops.recurrence.gpu.fused import FusedGpu
from lstmcore.ops.recurrence.gpu.persistent import SIZES, Size, cut


class Case(NamedTuple):
    sizes: tuple[Size, ...]  # in place of those of persistent.py: narrow layers cut as wide ones are
    shape: tuple[int, int, int, int]  # T, B, I, H; ragged in B and H
    multiprocessors: int
    precision: str  # that is tried by default


CASES = {
    "two groups of two blocks": Case((Size(256, 32, 8),), (5, 13, 3, 50), 4, "ieee"),
    "two launches, one of a single group": Case((Size(256, 32, 8),), (3, 19, 2, 50), 4, "ieee"),
    "three blocks, each sum in two parts": Case((Size(256, 32, 32),), (3, 19, 2, 70), 6, "ieee"),
    "blocks of 16 units": Case((Size(512, 16, 64),), (3, 19, 2, 60), 8, "ieee"),
    "blocks of 8 units": Case((Size(1024, 8, 32),), (2, 9, 2, 100), 16, "tf32"),
}
COMMON = "two groups of two blocks"


def engine(machine: Any, precision: str = "ieee") -> Engine:
    return Engine("fused-gpu, emulated", FusedGpu("numpy", lambda: machine, precision), "numpy")


@pytest.fixture
def machine(emulator, monkeypatch):
    """A function of the name of a case and a seed: the machine for it."""

    def make(name: str = COMMON, seed: int = 0):
        monkeypatch.setattr(persistent_gpu, "SIZES", CASES[name].sizes)
        return emulator(CASES[name].multiprocessors, seed=seed)

    return make


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("name", CASES)
def test_truth(machine, nightly, name, mask):
    """Outputs, states, and all gradients. Nightly: in both precisions."""
    for precision in ("ieee", "tf32") if nightly else (CASES[name].precision,):
        emulated = machine()
        check(problem_of(*CASES[name].shape, mask), engine(emulated, precision), precision)
        assert set(emulated.launches) == {"persistent_forward", "persistent_backward"}


def test_the_table_as_it_is(emulator, nightly):
    """On a machine as large as a GPU. By default its narrowest layer; nightly: groups of 20, 80 and 128 blocks."""
    for H in (257, 520, 1000) if nightly else (49,):
        for precision in ("ieee", "tf32") if nightly else ("ieee",):
            emulated = emulator(132)
            check(problem_of(2, 9, 2, H, "gaps"), engine(emulated, precision), precision)
            assert set(emulated.launches) == {"persistent_forward", "persistent_backward"}


@pytest.mark.parametrize("mask", [mask for mask in MASKS if mask not in ("none", "gaps")])
def test_masks(machine, mask):
    check(problem_of(*CASES[COMMON].shape, mask), engine(machine(), "tf32"), "tf32")


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_any_order_gives_the_same_bits(machine, nightly, precision):
    """Another seed is another order of blocks, threads and words. What depends on it is a race."""
    problem = problem_of(*CASES[COMMON].shape, "gaps")
    first = run(problem, engine(machine(), precision))
    for seed in range(1, 200 if nightly else 4):
        assert_identical(run(problem, engine(machine(seed=seed), precision)), first)


# Mistakes in the protocol. The emulation must find each, or the test above would prove little.
PLANTED = {
    "a word is taken for there when it is not": ("if (all) return true;", "return true;"),
    "one slot for all turns": ("words + (t + 1) % 2 * slot", "words"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_races_are_found(machine, monkeypatch, mistake):
    right, wrong = PLANTED[mistake]
    text = launch.source
    assert text("persistent.cu").count(right) == 1
    monkeypatch.setattr(gpu.emulator, "source", lambda *args: text(*args).replace(right, wrong))
    monkeypatch.setattr(persistent_gpu, "PATIENCE", 10_000)
    problem = problem_of(*CASES[COMMON].shape, "none")
    _, _, forward = run_forward(problem, engine(machine()))
    with pytest.raises(AssertionError):
        check_forward(problem, forward, LOST["ieee"])


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_a_lost_term_is_found(machine, precision):
    """One weight of 10,000 is none: one term of 50 or 200 of one sum at each step."""
    problem, place, lost = problem_of(*CASES[COMMON].shape, "gaps"), engine(machine(), precision), LOST[precision]
    layer, cache, forward = run_forward(problem, place)
    backward = run_backward(problem, place, layer, cache)
    check_forward(problem, forward, lost)
    check_backward(problem, forward, backward, lost)
    problem.params["W_hh"][7, 5] = 0
    with pytest.raises(AssertionError, match="gate i: off by"):
        check_forward(problem, forward, lost)
    with pytest.raises(AssertionError, match=r"da of ., step .: off by"):
        check_backward(problem, forward, backward, lost)


# ---- what the seam asks for ------------------------------------------------------------------------------------


@pytest.fixture
def layer(machine):
    """A layer on the emulated machine, its problem, and the machine."""
    problem = problem_of(*CASES[COMMON].shape, "gaps")
    emulated = machine()
    return problem.layer().to(engine=engine(emulated).engine), problem, emulated


def test_padding_changes_no_bit(layer):
    """NaN, infinities and huge numbers in x and dy at masked steps."""
    lstm, problem, _ = layer
    clean = run(problem, engine(layer[2]))
    padding = problem.padding()
    for poison in (np.nan, np.inf, 3e38):
        x, dy = problem.x.copy(), problem.dy.copy()
        x[padding] = dy[padding] = poison
        y, last, cache = lstm.forward(x, problem.state, problem.mask)
        dx, dstate0, grads = lstm.backward(dy, cache, problem.dstate)
        assert not cache.gates[padding].any()
        assert_identical(
            {"y": y, "state.0": last[0], "state.1": last[1], "dx": dx, "dstate0.0": dstate0[0], "dstate0.1": dstate0[1]}
            | {f"grads.{name}": grad for name, grad in grads.items()},
            clean,
        )


def test_predict_gives_the_bits_of_forward(layer):
    lstm, problem, emulated = layer
    y, last, _ = lstm.forward(problem.x, problem.state, problem.mask)
    y2, last2 = lstm.predict(problem.x, problem.state, problem.mask)
    assert emulated.launches == ["persistent_forward"] * 2
    assert_identical({"y": y2, "h": last2[0], "c": last2[1]}, {"y": y, "h": last[0], "c": last[1]})


def test_backward_twice_and_a_cache_that_stays(layer):
    lstm, problem, _ = layer
    _, _, cache = lstm.forward(problem.x, problem.state, problem.mask)
    before = [array.copy() for array in (cache.x, *cache.states, cache.gates)]
    results = []
    for _ in range(2):
        dx, dstate0, grads = lstm.backward(problem.dy, cache, problem.dstate)
        results.append({"dx": dx, "dh0": dstate0[0], "dc0": dstate0[1], **grads})
    assert_identical(*results)
    for array, old in zip((cache.x, *cache.states, cache.gates), before):
        assert np.array_equal(array, old)


def test_views_and_reused_buffers(layer):
    """Flipped time, every other row, a slice of dy; and a cache handed back."""
    lstm, problem, _ = layer
    x, mask, dy = problem.x[::-1, ::2], problem.mask[::-1, ::2], np.repeat(problem.dy, 2, axis=2)[::-1, ::2, ::2]
    state, dstate = (tuple(s[::2] for s in pair) for pair in (problem.state, problem.dstate))

    def outcome(cache, *arrays):
        dx, dstate0, grads = lstm.backward(arrays[1], cache, arrays[2])
        return {"h": cache.states[0].copy(), "dx": dx, "dh0": dstate0[0], **grads}

    copies = [np.ascontiguousarray(array) for array in (x, mask, dy)]
    _, _, cache = lstm.forward(copies[0], tuple(map(np.ascontiguousarray, state)), copies[1])
    want = outcome(cache, None, copies[2], tuple(map(np.ascontiguousarray, dstate)))
    _, _, again = lstm.forward(x, state, mask, reuse=cache)
    assert again.states[0] is cache.states[0]
    assert again.gates is cache.gates
    assert_identical(outcome(again, None, dy, dstate), want)


def test_final_states_alone(machine):
    """return_sequences=False: dy is None within the engine. The reference's, as test_same_for_all.py measures it."""
    (T, B, I, H), emulated = CASES[COMMON].shape, machine()
    test_same_for_all.check_float32(engine(emulated), ("lstm", I, H, "last"), T, B, "gaps")
    assert emulated.launches == ["persistent_forward", "persistent_backward"]


# ---- NaN and infinity ------------------------------------------------------------------------------------------

ALL_BITS = np.array(0xFFFFFFFF, "uint32").view("float32")  # a NaN that looks like a word that is not there yet


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
@pytest.mark.parametrize("value", [np.nan, ALL_BITS, -np.inf, 3e38])
def test_what_is_not_finite_goes_where_the_reference_lets_it_go(machine, precision, value):
    """In x, the initial states and the gradients; carried past masked steps too. The same entries become NaN or
    infinite, and every other number is right to the rounding of its own step."""
    problem = problem_of(*CASES[COMMON].shape, "gaps")
    B = problem.mask.shape[1]
    t, b = np.argwhere(problem.mask[2:])[0] + (2, 0)
    problem.x[t, b, 0] = value
    masked_first = np.flatnonzero(~problem.mask[0])
    problem.state[0][masked_first[0], 3] = value
    problem.state[1][masked_first[1], 4] = value
    problem.dy[t, (b + 1) % B, 5] = value
    problem.dstate[0][(b + 2) % B, 6] = value
    results, place = [], engine(machine(), precision)
    with np.errstate(all="ignore"):
        for each in (REFERENCE, place):
            layer, cache, forward = run_forward(problem, each)
            results.append(flatten(forward._asdict()) | run(problem, each))
        check_forward(problem, forward, LOST[precision], wild=True)
        check_backward(problem, forward, run_backward(problem, place, layer, cache), LOST[precision], wild=True)
    want, got = results
    for name in want:
        for kind in (np.isnan, np.isposinf, np.isneginf):
            assert np.array_equal(kind(got[name]), kind(want[name])), name


# ---- a run that breaks ---------------------------------------------------------------------------------------------


class OneBlockMissing:
    """A kernel whose last block of each group is never started."""

    def __init__(self, kernel):
        self.kernel, self.resident_blocks = kernel, kernel.resident_blocks

    def __call__(self, grid, *rest):
        self.kernel((grid[0] - 1, grid[1]), *rest)


def break_kernel(monkeypatch, machine, broken):
    """From now on kernels named `broken` miss a block, and wait for 10 us only."""
    compile = machine.compile

    def compile_broken(file, entry, *rest, **named):
        kernel = compile(file, entry, *rest, **named)
        return OneBlockMissing(kernel) if entry == broken else kernel

    monkeypatch.setattr(persistent_gpu, "PATIENCE", 10_000)
    monkeypatch.setattr(machine, "compile", compile_broken)


def test_a_missing_block_in_the_forward_pass(layer, monkeypatch):
    """The others stop waiting, all results are NaN, and the next call says so; the one after that works again."""
    lstm, problem, emulated = layer
    whole, _, _ = lstm.forward(problem.x, problem.state, problem.mask)
    with monkeypatch.context() as patch:
        break_kernel(patch, emulated, "persistent_forward")
        y, last, cache = lstm.forward(problem.x, problem.state, problem.mask)
    for array in (y[problem.mask], *last, *cache.states, cache.gates):
        assert np.isnan(array).all()
    with pytest.raises(RuntimeError, match="an LSTM kernel that ran before gave up, and its results are NaN"):
        lstm.backward(problem.dy, cache)
    y, _, _ = lstm.forward(problem.x, problem.state, problem.mask)
    assert_identical({"y": y}, {"y": whole})


def test_a_missing_block_in_predict_and_backward(layer, monkeypatch):
    lstm, problem, emulated = layer
    _, _, cache = lstm.forward(problem.x, problem.state, problem.mask)
    with monkeypatch.context() as patch:
        break_kernel(patch, emulated, "persistent_backward")
        dx, dstate0, grads = lstm.backward(problem.dy, cache)
    for array in (dx, *dstate0, *grads.values()):
        assert np.isnan(array).all()
    assert emulated.alarm_raised()
    with monkeypatch.context() as patch:
        break_kernel(patch, emulated, "persistent_forward")
        y, last = lstm.predict(problem.x, problem.state, problem.mask)
    for array in (y, *last):
        assert np.isnan(array).all()
    assert emulated.alarm_raised()


# ---- how the work is cut -------------------------------------------------------------------------------------------


def test_cuts(emulator):
    """Every width up to 1024 on three GPUs: weights fit the registers, blocks the GPU, rows the batch."""
    for multiprocessors in (108, 132, 148):
        machine = emulator(multiprocessors, shared_limit=163 * 1024 if multiprocessors == 108 else 227 * 1024)
        for H in range(1, SIZES[-1].widest + 1):
            for B, directions in itertools.product((1, 8, 9, 64, 200, 1000), (1, 2)):
                if H > 768 and multiprocessors == 108:
                    with pytest.raises(LaunchError, match=f"H = {H} takes 1[12][28] multiprocessors, of 108"):
                        cut(machine, B, H, directions)
                    continue
                c = cut(machine, B, H, directions)
                assert H <= c.H < H + 128
                assert 4 * c.units * c.H <= 128 * persistent_gpu.THREADS
                assert c.blocks * c.groups <= multiprocessors
                assert c.fits(machine)
                assert c.groups <= directions * -(-B // c.rows)  # no group without a row
                assert c.units * c.rows <= 4 * persistent_gpu.THREADS


def test_a_gpu_that_is_too_small_says_so(emulator, monkeypatch):
    """The next kernel family runs, with a warning that tells why."""
    monkeypatch.setattr(persistent_gpu, "SIZES", (Size(256, 32, 32),))
    problem = problem_of(*CASES["three blocks, each sum in two parts"].shape, "none")
    emulated = emulator(2)
    with pytest.warns(RuntimeWarning, match="'persistent-ieee' cannot run, and a slower one does: H = 70 takes 3"):
        check(problem, engine(emulated), "ieee")
    assert set(emulated.launches) == {"pointwise_forward", "pointwise_backward"}
