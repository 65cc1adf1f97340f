"""Clipping and the optimizers' steps on a GPU: one launch for many arrays, the same numbers as on the host."""

import functools
import inspect
import math
import re

import numpy as np
import pytest
from gpu.stand_in import installed
from rounding import SECOND_ORDER, UNIT_ROUNDOFF

import lstmcore as lc
from lstmcore.ops.gpu import clip as clip_gpu
from lstmcore.ops.gpu import table as table_gpu
from lstmcore.ops.gpu.update import as_cuda, update
from lstmcore.train.update import optimizer, optimizers
from lstmcore.train.update.optimizer import Optimizer

RULES = [
    c for _, c in inspect.getmembers(optimizers, inspect.isclass) if issubclass(c, Optimizer) and c is not Optimizer
]
SHAPES = ((3, 5), (2000,), (1,), (40, 70))
U = UNIT_ROUNDOFF["float64"] * SECOND_ORDER


def draw(dtype, seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {str(k): rng.normal(size=shape).astype(dtype) for k, shape in enumerate(shapes)}


def test_all_rules_are_tried():
    assert len(RULES) == 8


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, "float32") for kind in RULES] + [(lc.AdamW, "float64")],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_a_rule_in_c_is_the_rule_in_python(emulator, kind, dtype):
    """Bit for bit, in array code over NumPy: the emulation fuses no multiplication with an addition."""
    opt, w, dw = kind(weight_decay=0.1, l1=0.01), draw(dtype), draw(dtype, 1)
    slots = {name: [np.abs(a) for _, a in zip(opt.slots, (dw[name], w[name]))] for name in w}
    numbers = (0.9, 0.1, 0.01, *opt.numbers(0.1, 3))
    want = {}
    for name in w:
        keep, decay, l1, *own = numbers
        g = dw[name] + decay * w[name] + l1 * np.sign(w[name])
        want[name] = opt.rule(np.sqrt, keep * w[name], g, *slots[name], *own)
    update(emulator(), opt.rule, [(w[n], *slots[n], dw[n]) for n in w], np.array([numbers] * len(w)))
    for name in w:
        for got, array in zip((w[name], *slots[name]), want[name], strict=True):
            assert np.array_equal(got, array), name


def test_more_arrays_than_a_table_holds_and_both_dtypes(emulator):
    """Each array gets the numbers of its own row."""
    arrays = [np.ones(3, "float64" if k % 5 == 0 else "float32") for k in range(2 * table_gpu.ENTRIES)]
    numbers = np.array([(1, 0, 0, k) for k in range(len(arrays))], float)
    machine = emulator()
    update(machine, lc.SGD.rule, [(w, np.ones_like(w)) for w in arrays], numbers)
    assert [w[0] for w in arrays] == [1 - k for k in range(len(arrays))]
    assert machine.launches == ["update"] * 3


def lion(sqrt, w, dw, m, lr, keep):
    """Chen et al. 2023, algorithm 2: the sign of a mean."""
    step = keep * m + (1 - keep) * dw
    return w - lr * ((step > 0) * 1.0 - (step < 0) * 1.0), step


scale = 3.0


def scaled(sqrt, w, dw, m, lr, keep):
    return w - lr * scale * dw, m


def stepwise(sqrt, w, dw, m, lr, keep):
    if True:
        w = w - lr * dw
    return w, m


ODD = {
    "made of + - * / and sqrt alone; got keep * m + (1 - keep) * dw": lion,
    "made of its arguments alone; got scale": scaled,
    "assignments and `return w, ...`; got if True:": stepwise,
    "its text cannot be read": functools.partial(lion),
}


@pytest.mark.parametrize("message", ODD)
def test_a_rule_that_is_more_than_arithmetic_runs_as_array_code(message, caplog):
    """And moves as on the host."""
    optimizer._told.clear()
    kind = type("Own", (Optimizer,), {
        "slots": ("m",), "numbers": lambda self, lr, t: (lr, 0.9), "rule": staticmethod(ODD[message]),
    })  # fmt: skip
    with pytest.raises(TypeError, match=re.escape(message)):
        as_cuda(ODD[message], 1)
    w, dw = draw("float64")["0"], draw("float64", 1)["0"]
    want, _ = ODD[message](np.sqrt, w.copy(), dw, np.zeros_like(w), 0.1, 0.9)
    with installed() as xp:
        params = {"w": xp.asarray(w)}
        kind(0.1, 0.0, 0.0).step(params, {"w": xp.asarray(dw)})
        assert np.array_equal(params["w"].get(), want)
    assert "cannot be compiled for a GPU" in caplog.text


def norm_of(machine, grads):
    return clip_gpu.clip_by_global_norm(machine, grads, math.inf)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_the_norm(emulator, dtype, size):
    """A sum of n squares, in any order, is off by n u of it at most (n - 1 sums, and each square), the root by half of
    that and u. Squares of float32 are exact in float64; float64 is scaled by powers of two, which rounds nothing."""
    size = size if dtype == "float32" else size**6  # 1e-180, 1e180: squares beyond what a float64 holds
    grads = {name: g * g.dtype.type(size) for name, g in draw(dtype).items()}
    want = math.sqrt(sum(np.sum((g.astype("longdouble") / size) ** 2) for g in grads.values())) * size
    n = sum(g.size for g in grads.values())
    assert norm_of(emulator(), grads) == pytest.approx(want, rel=(n / 2 + 1) * U, abs=0)


def test_large_and_small_numbers_together(emulator):
    """Three squares and two sums round by 3 u at most, the root by half of that and u, hypot by a unit in the last
    place, 2 u: 4.5 u in all."""
    for values in ([3e200, 4e200, 1e-200], [3e-200, 4e-200, 0.0], [1e-160, 3.0, 4.0], [0.0, 0.0]):
        want = math.hypot(*values)
        assert norm_of(emulator(), {"g": np.array(values)}) == pytest.approx(want, rel=4.5 * U, abs=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_touches_nothing(emulator, bad):
    grads = draw("float32")
    grads["1"][7] = bad
    before = {name: g.copy() for name, g in grads.items()}
    norm = clip_gpu.clip_by_global_norm(emulator(), grads, 0.1)
    assert np.isnan(norm) if np.isnan(bad) else norm == np.inf
    assert all(np.array_equal(grads[name], before[name], equal_nan=True) for name in grads)


@pytest.mark.parametrize("limit", [0.5, 1e9])
def test_clipping_is_the_hosts(emulator, limit):
    """Each norm is off by n / 2 + 1 roundings at most, as in `test_the_norm`; factor and product round once each."""
    grads, there = draw("float64"), draw("float64")
    n = sum(g.size for g in grads.values())
    norm = lc.clip_by_global_norm(grads, limit)
    assert float(clip_gpu.clip_by_global_norm(emulator(), there, limit)) == pytest.approx(norm, rel=(n + 2) * U, abs=0)
    for name, g in grads.items():
        assert np.allclose(there[name], g, rtol=(n + 6) * U if norm > limit else 0, atol=0), name


def test_launches_on_the_stand_in(emulator):
    """Three for clipping, one for the step of all parameters."""
    from gpu.stand_in import machine

    with installed() as cupy:
        params, grads = ({n: cupy.asarray(a) for n, a in draw("float32", seed).items()} for seed in (0, 1))
        before = len(machine.launches)
        assert lc.clip_by_global_norm(grads, 1e-3) > 1
        lc.AdamW(0.1).step(params, grads)
        assert machine.launches[before:] == ["clip_squares", "clip_norm", "clip_scale", "update"]
        assert not np.array_equal(params["1"].get(), draw("float32")["1"])


def test_what_does_not_lie_in_a_row_goes_by_array_code(emulator):
    with installed() as cupy:
        params = {"w": cupy.asarray(draw("float32")["3"]).T}
        lc.SGD(0.5).step(params, {"w": cupy.ones(params["w"].shape, dtype="float32")})
        assert np.array_equal(params["w"].get(), draw("float32")["3"].T - np.float32(0.5))


def test_gradients_that_do_not_lie_in_a_row_are_clipped_where_they_are(emulator):
    grads, there = draw("float64"), {name: np.asfortranarray(g) for name, g in draw("float64").items()}
    for g in (grads, there):
        clip_gpu.clip_by_global_norm(emulator(), g, 0.5)
    assert all(np.array_equal(there[name], g) for name, g in grads.items())
