"""Products of bfloat16 numbers change what they must, and nothing else: every step, computed anew from what the engine
itself began it with (as in gpu/steps.py), may be off by the rounding of this one step.

Two bounds hold. Given factors that are rounded to bfloat16 as the engine rounds them, only float32's rounding is left.
And from the unrounded factors each product of n terms may be off by

    (2 u + u^2 + 2 n eps/2) sum |a b|,    u = 2^-8, half the distance of 1 from the next number of 8 bits

which is Bounded's rule for factors that lose u of themselves. One step back is a call of its own, of one step, that
begins with the states of the whole sequence and with the gradients that the step after it gave.
"""

import functools
import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from cases import CELLS, Problem
from gpu.bounded import Bounded, assert_inside, bounded, product, sigmoid, tanh, to_bfloat16, where
from gpu.steps import wide

import lstmcore as lc
from lstmcore.ops.cells import CELLS as ALL_CELLS
from lstmcore.ops.cells.cell import Maths
from lstmcore.ops.recurrence.products import bias_of

NAME = "fused-cpu-bf16"
SHAPES = [(5, 3, 3, 4), (1, 1, 1, 1), (4, 9, 5, 37), (3, 40, 21, 64), (2, 5, 9, 129)]  # T, B, I, H
ROUNDED = functools.partial(product, v=0.0)


def exactly(a, b):
    return ROUNDED(to_bfloat16(a), to_bfloat16(b))


def nearly(a, b):
    return product(a, b, 2.0**-8)


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_step(cell, shape, mask):
    T, B, I, H = shape
    problem = Problem((cell, I, H), T, B, mask, seed=T, dtype="float32")
    layer = problem.layer().to(engine=NAME)
    y, _, cache = layer.forward(problem.x, problem.state, mask=problem.mask)
    assert cache.engine == NAME
    dx, dstate0, grads = layer.backward(problem.dy, cache, problem.dstate)
    assert all(a.dtype == np.float32 for a in (y, dx, *dstate0, *grads.values()))
    dstate, sums, sizes = problem.dstate, dict.fromkeys(grads, 0.0), dict.fromkeys(grads, 0.0)
    for t in reversed(range(T)):
        one = slice(t, t + 1)
        step = Step(problem, t, tuple(s[t] for s in cache.states), dstate)
        _, last, kept = layer.forward(problem.x[one], step.state, None if mask == "none" else problem.mask[one])
        results = layer.backward(problem.dy[one], kept, dstate)
        for multiply in (exactly, nearly):
            step.check_forward(last, kept.gates[0], multiply)
            of_step = step.check_backward(last, kept.gates[0], results, multiply)
        # A step by itself is the step of the sequence.
        assert all(np.array_equal(s[t + 1], state) for s, state in zip(cache.states, last))
        assert np.array_equal(cache.gates[t], kept.gates[0])
        dx_here, dstate, grads_here = results
        assert np.array_equal(dx[t], dx_here[0])
        for name in grads:
            sums[name], sizes[name] = sums[name] + wide(grads_here[name]), sizes[name] + of_step[name]
    assert all(map(np.array_equal, dstate0, dstate))
    for name, gradient in grads.items():  # the same terms in another order
        assert (np.abs(gradient - sums[name]) <= 2 * T * B * 2.0**-24 * sizes[name]).all(), name


class Step:
    """Step t of a problem, from the state before it and the gradients of the state after it, as the engine has them."""

    def __init__(self, problem: Problem, t: int, state: tuple, dstate: tuple):
        self.cell, self.state, self.dstate = ALL_CELLS[problem.spec[0]], state, dstate
        self.params = {name: wide(value) for name, value in problem.params.items()}
        self.x, self.dy, self.real = wide(problem.x[t]), wide(problem.dy[t]), ~problem.padding()[t][:, None]
        self.forward, self.backward = self.cell.make_step(Maths(sigmoid, tanh, 1.0))
        self.previous = len(self.cell.states) - len(self.cell.previous)  # the first state that the step reads

    def check_forward(self, last: tuple, gates: np.ndarray, multiply) -> None:
        cell, p, K = self.cell, self.params, len(self.cell.gates)
        a = blocks(bounded(bias_of(cell, p)), K)
        for fed, product_of in (
            (cell.input_blocks, multiply(self.x, p["W_ih"])),
            (cell.recurrent_blocks, multiply(wide(self.state[0]), p["W_hh"])),
        ):
            for k, part in zip(fed, blocks(product_of, len(fed))):
                a[k] = a[k] + part
        results = self.forward(*a, *map(wide, self.state[self.previous :]))
        for k, name in enumerate(cell.gates):
            assert_inside(name, gates[:, k], where(self.real, results[k], 0.0))
        for name, got, want, before in zip(cell.states, last, results[K:], self.state):
            assert_inside(name, got, where(self.real, want, wide(before)))

    def check_backward(self, last: tuple, gates: np.ndarray, results: tuple, multiply) -> dict[str, np.ndarray]:
        """The size of all terms of each parameter's gradient."""
        cell, p, K = self.cell, self.params, len(self.cell.gates)
        dx, before, grads = results
        dh, *others = exact(self.dstate)
        current = last[len(last) - len(cell.current) :]
        kept = (bounded(wide(gates[:, k])) for k in range(K))
        of_step = self.backward(dh + self.dy, *others, *kept, *exact(self.state[self.previous :]), *exact(current))
        da = [where(self.real, block, 0.0) for block in of_step[:K]]
        direct, of_others = (of_step[K], of_step[K + 1 :]) if "h" in cell.previous else (0.0, of_step[K:])
        da_x, da_h = (joined([da[k] for k in fed]) for fed in (cell.input_blocks, cell.recurrent_blocks))
        dh_prev = multiply(da_h, p["W_hh"].T) + direct
        for name, got, want, after in zip(cell.states, before, (dh_prev, *of_others), (dh, *others)):
            assert_inside(f"d{name}", got, where(self.real, want, after))
        assert_inside("dx", dx[0], multiply(da_x, p["W_ih"].T))
        x, h, ones = self.x * self.real, wide(self.state[0]), np.ones((len(self.x), 1))
        factors = {"W_ih": (x, da_x), "W_hh": (h, da_h)} | {
            name: (ones, joined([da[k] for k in fed])) for name, fed in cell.biases.items()
        }
        for name, (left, right) in factors.items():
            assert_inside(f"d{name}", np.atleast_2d(grads[name]), multiply(left.T, right))
        return {
            name: ((1 + 2**-8) ** 2 * np.abs(left.T) @ (np.abs(right.value) + right.error)).reshape(grads[name].shape)
            for name, (left, right) in factors.items()
        }


def exact(arrays: tuple) -> list[Bounded]:
    return [bounded(wide(a)) for a in arrays]


def blocks(a: Bounded, count: int) -> list[Bounded]:
    return [*map(Bounded, np.split(a.value, count, axis=-1), np.split(a.error, count, axis=-1))]


def joined(parts: list[Bounded]) -> Bounded:
    parts = [*map(bounded, parts)]
    return Bounded(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in ("value", "error")))


def test_rounding_to_bfloat16_is_seen():
    """The bound of exact rounding would not hold for float32: it tells the engines apart."""
    problem = Problem(("lstm", 21, 64), 2, 9, dtype="float32")
    layer = problem.layer()
    _, last, cache = layer.forward(problem.x[:1], problem.state)
    step = Step(problem, 0, problem.state, problem.dstate)
    step.check_forward(last, cache.gates[0], ROUNDED)
    step.check_forward(last, cache.gates[0], nearly)
    with pytest.raises(AssertionError, match="more than rounding explains"):
        step.check_forward(last, cache.gates[0], exactly)


@pytest.mark.parametrize("masked", [False, True])
def test_every_way_to_run_it_gives_the_same_bits(masked):
    """In both directions, in a stack, without a cache, frozen, step by step, and with states computed again."""
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(7, 4, 5)).astype("float32"), rng.random((7, 4)) < 0.7 if masked else None
    both = lc.Bidirectional(lc.LSTM(5, 9, seed=0), lc.LSTM(5, 9, seed=1))
    model = lc.Stack([both, lc.GRU(18, 24, seed=2)]).to(engine=NAME)
    y, _, cache = model.forward(x, mask=mask)
    plain, _ = model.to(engine="fused-cpu").predict(x, mask=mask)
    assert not np.array_equal(y, plain)  # it did round
    frozen = lc.freeze(model)
    for _ in range(3):
        for whose in (model, frozen):
            assert np.array_equal(whose.predict(x, mask=mask)[0], y)
    again = lc.Stack([both, lc.GRU(18, 24, seed=2, recompute=2)]).to(engine=NAME)
    _, _, pieces = again.forward(x, mask=mask)
    for got, want in zip(again.backward(y, pieces)[2].values(), model.backward(y, cache)[2].values()):
        assert np.array_equal(got, want)
    lstm = lc.LSTM(5, 9, seed=0, engine=NAME)
    outputs, _, _ = lstm.forward(x)
    for whose in (lstm, lc.freeze(lstm)):
        state = None
        for t in range(len(x)):
            h, state = whose.step(x[t], state)
            assert np.array_equal(h, outputs[t])


OPTIONS = ({"peepholes": True}, {"coupled": "f"}, {"coupled": "i", "clip_c": 0.5}, {"bias": False, "peepholes": True})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_the_cell(options):
    """Where x, h and the weights are bfloat16 numbers already, one step forward gives what "fused-cpu" gives, and on
    the way back da alone is rounded, by 2^-8 of itself; float32's own rounding is given 2^-14, 1024 of its units. da is
    the gradient of the weights of an input that is 1."""
    rng, I, H = np.random.default_rng(0), 5, 19
    coarse = lc.LSTM(I, H, seed=0, engine=NAME, **options)
    for w in coarse.params.values():
        w[...] = to_bfloat16(rng.normal(size=w.shape) / 2).value
    plain = coarse.to(engine="fused-cpu")
    numbers = (to_bfloat16(rng.normal(size=(1, n))).value for n in (I, H, H, H, H, H))  # B = 1
    x, h, c, dy, dh, dc = (a.astype("float32") for a in numbers)
    x[0, 0] = 1
    runs = []
    for layer in (coarse, plain):
        y, state, cache = layer.forward(x[None], (h, c))
        assert cache.engine == layer.engine
        runs.append((y, state, cache.gates, layer.backward(dy[None], cache, (dh, dc))))
    (y, state, gates, (dx, dstate0, grads)), (*forward, (dx_plain, dstate0_plain, grads_plain)) = runs
    for got, want in ((y, forward[0]), *zip(state, forward[1]), (gates, forward[2]), (dstate0[1], dstate0_plain[1])):
        assert np.allclose(got, want, rtol=2**-14, atol=2**-14)
    assert not np.array_equal(grads["W_ih"], grads_plain["W_ih"])  # it did round
    da = np.abs(grads_plain["W_ih"][0])
    judged = {name: (grads[name], want, np.abs(want)) for name, want in grads_plain.items()}  # of one term each
    judged["x"] = dx[0], dx_plain[0], da @ np.abs(plain.params["W_ih"]).T
    judged["h0"] = dstate0[0], dstate0_plain[0], da @ np.abs(plain.params["W_hh"]).T
    for name, (got, want, size) in judged.items():
        assert (np.abs(got - want) <= (2**-8 + 2**-14) * size + 2**-14 * da.max()).all(), name


def test_processors_without_the_instruction_give_the_same_bits(tmp_path):
    """A process that compiles for one of them (AVX2), and this one, which has it or not."""
    environment = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma", "XDG_CACHE_HOME": str(tmp_path)}
    native = "from lstmcore.ops.cpu.target import multiplies_bfloat16 as native"
    command = [sys.executable, "-c", f"{native}\n{inspect.getsource(digest)}\nprint(digest(), native())"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)
    assert done.stdout == f"{digest()} False\n", done.stderr


def digest():
    """Of all results of a small layer."""
    import hashlib

    import numpy as np

    import lstmcore as lc

    layer, rng = lc.LSTM(5, 19, seed=0, engine="fused-cpu-bf16"), np.random.default_rng(0)
    x, dy = (rng.standard_normal((4, 3, n), dtype="float32") for n in (5, 19))
    y, state, cache = layer.forward(x)
    dx, dstate0, grads = layer.backward(dy, cache)
    results = (y, *state, cache.gates, dx, *dstate0, *grads.values())
    return hashlib.sha256(b"".join(a.tobytes() for a in results)).hexdigest()


def test_it_has_to_be_asked_for():
    x = np.zeros((1, 1, 2), "float32")
    assert lc.LSTM(2, 3, seed=0).forward(x)[2].engine == "fused-cpu"
    assert lc.LSTM(2, 3, seed=0, engine=NAME).forward(x)[2].engine == NAME


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_only_in_float32(dtype):
    """Nothing is silently computed otherwise."""
    with pytest.raises(ValueError, match=f"engine '{NAME}' cannot run the cell 'lstm' in {dtype}.*'reference'"):
        lc.LSTM(2, 3, dtype=dtype, engine=NAME)
    layer = lc.LSTM(2, 3, seed=0, engine=NAME)
    with pytest.raises(ValueError, match=r"cannot run the cell 'lstm' in float64 .*'reference' and 'fused-cpu' can"):
        lc.debug.gradcheck(layer, np.zeros((2, 1, 2)))
