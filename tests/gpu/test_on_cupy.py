"""Everything on CuPy's arrays, as far as a machine without a GPU can show it: on the stand-in of stand_in.py.

The engines by their names, through cupy_machine.py; layers, losses, optimizers, clipping, gradcheck, debug tools.
"""

import math
import sys

import numpy as np
import pytest
import test_poison
import test_same_for_all
import test_truth
from cases import LAYERS, MASKS, Problem, assert_identical, run
from engines import Engine
from gpu.stand_in import CompileException, RawModule, installed, machine
from rounding import SECOND_ORDER

import lstmcore as lc
from lstmcore.debug.gradcheck.gradcheck import ROUNDINGS
from lstmcore.ops.gpu.launch import LaunchError
from lstmcore.ops.recurrence import choose
from lstmcore.ops.recurrence.directions import both

REFERENCE_THERE = Engine("reference on CuPy", "reference", "cupy")
FUSED = Engine("fused-gpu", "fused-gpu", "cupy")
T, B, I, H = 5, 3, 4, 6
OPTIMIZERS = (
    lc.SGD(0.1),
    lc.Momentum(0.1),
    lc.Nesterov(0.1),
    lc.Adam(0.1, weight_decay=0.1, l1=0.01),
    lc.AdamW(0.1, weight_decay=0.1),
    lc.RMSProp(0.1),
    lc.Adagrad(0.1),
    lc.Adadelta(1.0),
)


@pytest.fixture(scope="module")
def cupy():
    with installed() as module:
        yield module


@pytest.fixture
def model(cupy, emulator):
    return lc.to_gpu(lc.Stack([lc.LSTM(I, H, seed=0), lc.Linear(H, 2, seed=1)]))


def arrays(cupy, *shapes):
    rng = np.random.default_rng(0)
    return [cupy.asarray(rng.normal(size=shape).astype("float32")) for shape in shapes]


def some_mask(cupy):
    return cupy.asarray(np.random.default_rng(1).random((T, B)) < 0.7)


@pytest.mark.parametrize("name", LAYERS)
def test_the_reference_engine(cupy, name):
    test_truth.check(REFERENCE_THERE, LAYERS[name], 4, 3, "gaps")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", MASKS)
def test_the_fused_engine(cupy, emulator, mask, dtype):
    test_truth.check(FUSED, LAYERS["lstm"], 4, 3, mask, dtype)


@pytest.mark.parametrize("engine", ["fused-gpu", "fused-gpu-tf32"])
def test_engines_by_name(cupy, emulator, engine):
    """A small layer is IEEE float32 on both; the cache says what ran."""
    problem = Problem(("lstm", I, H), T, B, "gaps", dtype="float32")
    place = Engine(engine, engine, "cupy")
    x, state, mask = map(place.array, (problem.x, problem.state, problem.mask))
    _, _, cache = place.place(problem.layer()).forward(x, state, mask=mask)
    assert (cache.engine, cache.private) == (engine, "small")
    for name, want in run(problem, FUSED).items():
        assert np.array_equal(run(problem, place)[name], want), name


def test_unasked_the_exact_engine_runs(cupy, model):
    lstm = model.layers[0]
    assert choose(None, lstm.cell, lstm.params["W_hh"]).NAME == "fused-gpu"
    assert choose(None, lstm.cell, np.zeros(1, "float32")).NAME == "fused-cpu"
    assert choose(None, lc.GRU(1, 1).cell, lstm.params["W_hh"]).NAME == "reference"


@pytest.mark.parametrize(("units", "forward", "backward"), [
    (H, ["small_forward"], ["small_backward", "small_sum"]),
    (50, ["persistent_forward"], ["persistent_backward"]),
])  # fmt: skip
def test_both_directions_in_one_launch(cupy, emulator, units, forward, backward):
    machine.launches.clear()
    test_same_for_all.check_float32(FUSED, ("bidirectional", ("lstm", I, units), ("lstm", I, units)), T, B, "gaps")
    loops = [entry for entry in machine.launches if not entry.startswith("matmul")]  # the products around are more
    assert loops == forward + backward


@pytest.mark.parametrize("loss", ["cross-entropy", "squared error"])
def test_a_whole_training_step(cupy, emulator, loss):
    """Embedding, both directions, dropout, head and loss, with poison in the padding."""
    test_poison.test_a_whole_training_step(FUSED, "gaps", loss)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_optimizers_and_clipping(cupy, optimizer):
    """Three steps, as on NumPy, in float64. With u = 2^-53: each norm is the root of a sum of n = 40 squares, in an
    order of its own, which rounds by n u at most (n - 1 sums, and the squares), the root by half of that and u. The
    factor and the product round once more each: two norms differ by (n + 2) u, two clipped gradients by (n + 6) u. From
    the same gradients on there is nothing but a rule, number by number: the same bits, if it is array code on the host,
    as it is for parameters that do not lie in a row (compiled, a multiplication may fuse with an addition).
    """
    rng, n, u = np.random.default_rng(2), 40, 2.0**-53 * SECOND_ORDER
    values = {"W": rng.normal(size=(7, 5)), "b": rng.normal(size=5)}
    here, there = {name: np.repeat(v, 2, axis=-1)[..., ::2] for name, v in values.items()}, cupy_of(cupy, values)
    opt, opt_there = (type(optimizer)(**_numbers(optimizer)) for _ in range(2))
    for _ in range(3):
        grads = {name: rng.normal(size=value.shape) for name, value in values.items()}
        grads_there = cupy_of(cupy, grads)
        norm, norm_there = (lc.clip_by_global_norm(each, 0.5) for each in (grads, grads_there))
        assert abs(norm_there - norm) <= (n + 2) * u * norm
        for name, g in grads.items():
            assert np.all(np.abs(grads_there[name].get() - g) <= (n + 6) * u * np.abs(g)), name
        grads_there = cupy_of(cupy, grads)
        lc.clip_by_value(grads, 0.1), lc.clip_by_value(grads_there, 0.1)
        opt.step(here, grads), opt_there.step(there, grads_there)
    assert_identical(REFERENCE_THERE.host(there), here)


def cupy_of(cupy, values):
    return {name: cupy.asarray(value) for name, value in values.items()}


def _numbers(optimizer):
    return {"lr": optimizer.lr} | {k: v for k, v in vars(optimizer).items() if not k.startswith("_")}


def test_gradcheck(cupy, model):
    (x,) = arrays(cupy, (T, B, I))
    check = lc.debug.gradcheck(model, x, mask=some_mask(cupy), seed=0)
    assert check.ok, str(check)
    assert 0 < check.worst <= ROUNDINGS * np.finfo(float).eps
    assert lc.debug.gradcheck(model.layers[0], x, seed=0, method="central", directions=2).ok


def test_gradcheck_finds_a_mistake_there(cupy, model):
    (x,) = arrays(cupy, (T, B, I))
    lstm = model.layers[0].to(dtype="float64")
    right = type(lstm).backward

    class Wrong(type(lstm)):
        def backward(self, dy, cache, dstate=None):
            dx, dstate0, grads = right(self, dy, cache, dstate)
            return dx, dstate0, grads | {"b": grads["b"] * 1.001}

    lstm.__class__ = Wrong
    check = lc.debug.gradcheck(lstm, x, seed=0)
    assert not check.ok
    assert check.worst_at.startswith("b")


def test_debug_tools_look_at_arrays_there(cupy, model):
    """The same call on both sides: the same answers, to the float32 rounding of either."""
    x, dy = arrays(cupy, (T, B, I), (T, B, 2))
    mask, home = some_mask(cupy), lc.to_cpu(model)
    there, here = (x, dy, mask), (x.get(), dy.get(), mask.get())
    for tool in (lc.debug.ledger, lc.debug.flow, lc.debug.memory):
        texts = [str(tool(m, x, dy, mask=mask)) for m, (x, dy, mask) in ((model, there), (home, here))]
        assert len(texts[0].splitlines()) == len(texts[1].splitlines()) > 3, tool
    assert "no NaN" in str(lc.debug.tripwire(model, x, dy, mask=mask)) or lc.debug.tripwire(model, x, dy, mask=mask).ok
    assert lc.debug.padding(model, x, mask=mask).ok
    assert lc.debug.compare(model, model.to(engine="reference"), x, dy, mask=mask)


def test_a_nan_there_is_found(cupy, model):
    x, dy = arrays(cupy, (T, B, I), (T, B, 2))
    x[2, 1, 0] = math.nan
    found = str(lc.debug.tripwire(model, x, dy))
    assert "step 2" in found
    assert "row 1" in found


@pytest.mark.parametrize("mixed", ["x", "mask", "state", "dy", "grads"])
def test_mixing_libraries_is_refused(cupy, model, mixed):
    x, dy = arrays(cupy, (T, B, I), (T, B, H))
    mask, lstm = some_mask(cupy), model.layers[0]
    state = tuple(arrays(cupy, (B, H), (B, H)))
    _, _, cache = lstm.forward(x, state, mask=mask)
    calls = {
        "x": lambda: lstm.forward(x.get()),
        "mask": lambda: lstm.forward(x, mask=mask.get()),
        "state": lambda: lstm.forward(x, tuple(s.get() for s in state)),
        "dy": lambda: lstm.backward(dy.get(), cache),
        "grads": lambda: lc.SGD(0.1).step(lstm.params, {"b": np.zeros(4 * H, "float32")}),
    }
    with pytest.raises(TypeError, match=r"array of cupy.*got .*numpy"):
        calls[mixed]()


def test_a_mask_from_lengths_lies_where_they_lie(cupy):
    mask = lc.mask_from_lengths(cupy.asarray([0, 1, 3]), 3)
    assert isinstance(mask, cupy.ndarray)
    assert np.array_equal(mask.get(), lc.mask_from_lengths([0, 1, 3], 3))


# ---- cupy_machine.py -------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(cupy, emulator):
    from lstmcore.ops.gpu.cupy_machine import Gpu

    return Gpu(0)


def test_text_that_does_not_compile_raises(gpu, monkeypatch):
    def broken(self, name):
        raise CompileException("nonsense")

    monkeypatch.setattr(RawModule, "get_function", broken)
    with pytest.raises(LaunchError, match="small_forward could not be compiled for this GPU: nonsense"):
        gpu.compile("small.cu", "small_forward", (("H", 2), ("I", 1), ("ROWS", 1)))


def test_kernels_are_compiled_once_each(gpu):
    constants = (("H", 2), ("I", 1), ("ROWS", 1))
    kernel = gpu.compile("small.cu", "small_forward", constants)
    assert gpu.compile("small.cu", "small_forward", constants) is kernel
    assert gpu.compile("small.cu", "small_predict", constants) is not kernel


def test_blocks_that_talk_must_fit(gpu, cupy):
    """Checked before the launch: nothing runs."""
    kernel = gpu.compile("small.cu", "small_sum", (("H", 2), ("I", 1), ("ROWS", 1)), together=True)
    sums, out = cupy.zeros(1, dtype="float32"), cupy.ones(100, dtype="float32")
    with pytest.raises(LaunchError, match="small_sum: 5 blocks cannot be resident at once"):
        kernel((5, 1), 32, 0, both([(sums, out, out, out)]), 1)
    assert out.get().all()


def test_shared_memory_is_asked_for(gpu):
    kernel = gpu.compile("small.cu", "small_sum", (("H", 2), ("I", 1), ("ROWS", 1)))
    assert kernel.resident_blocks(32, 100 * 1024) == gpu.multiprocessors
    assert kernel.function.max_dynamic_shared_size_bytes == 100 * 1024
    with pytest.raises(LaunchError, match="small_sum: 300000 bytes of shared memory; 232448 are there"):
        kernel.resident_blocks(32, 300_000)


def test_products_in_tf32_end_where_they_should(gpu, cupy):
    """CuPy's switch is put back, whatever happens in between."""
    from cupy._core import _routines_linalg as linalg

    linalg.asked[:] = [0]
    with pytest.raises(ZeroDivisionError), gpu.tf32_products():
        raise ZeroDivisionError
    assert linalg.asked == [0, linalg.COMPUTE_TYPE_TF32, 0]


def test_a_cupy_without_that_switch_computes_in_ieee(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy._core", None)
    with gpu.tf32_products():
        pass


def test_without_cooperative_launches_kernels_that_talk_are_refused(gpu):
    gpu.talks_between_blocks = False
    with pytest.raises(LaunchError, match="this GPU has no cooperative launches"):
        gpu.compile("persistent.cu", "persistent_forward", (), together=True)
