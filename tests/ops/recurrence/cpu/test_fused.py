"""What the compiled engine promises beyond the suites that run on every engine: the same bits from any number of
threads and from every plan of work, sums that stay exact at full size, buffers, forks, neighbours, first use."""

import os
import signal
import subprocess
import sys
import threading
from copy import copy
from dataclasses import replace

import numba
import numpy as np
import pytest
from children import forked, in_threads

from lstmcore.ops.cells import CELLS
from lstmcore.ops.cpu import threads as threads_cpu
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.cpu import fused
from lstmcore.ops.recurrence.cpu import plan as plan_cpu
from lstmcore.ops.recurrence.cpu.fused import fused_cpu, fused_cpu_bf16

ROWS, UNITS, BOTH, ONE = "rows", "units", "units of tiles", "one task"


@pytest.fixture(params=[ROWS, UNITS, BOTH, ONE])
def cut(request, monkeypatch):
    """Every way of cutting the work, forced on shapes that are too small for it."""
    monkeypatch.setattr(plan_cpu, "SMALL", 10**12 if request.param == ONE else 0)
    monkeypatch.setattr(plan_cpu, "FEW", 10**6 if request.param == UNITS else 1)
    monkeypatch.setattr(plan_cpu, "STEP", 10**12 if request.param == ROWS else 1)
    monkeypatch.setattr(plan_cpu, "TILE", 5)
    monkeypatch.setattr(plan_cpu, "TASK", 0)
    if request.param == BOTH:  # however few threads there are
        monkeypatch.setattr(plan_cpu, "parts_of", lambda tiles, most, vectors, threads, masked: min(most, threads))
    plan_cpu.plan.cache_clear()
    yield request.param
    plan_cpu.plan.cache_clear()


@pytest.fixture
def threads():
    """Sets how many threads work; puts the setting back."""
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


class Call:
    """Everything one forward and backward call needs, random."""

    def __init__(self, cell, T, B, I, H, dtype="float32", mask=None, seed=0):
        rng = np.random.default_rng(seed)
        self.cell, self.mask = CELLS[cell], mask

        def normal(*shape):
            return rng.normal(size=shape).astype(dtype)

        self.params = {k: normal(*s) / np.sqrt(s[0]).astype(dtype) for k, s in self.cell.shapes(I, H).items()}
        self.x, self.dy = normal(T, B, I), normal(T, B, H)
        self.state0, self.dstate = ([normal(B, H) for _ in self.cell.states] for _ in range(2))

    def run(self, engine=fused_cpu, reuse=None):
        """All results of forward, predict and backward, as a flat dict; and the cache."""
        cache = engine.forward(self.cell, self.x, self.params, self.state0, self.mask, reuse)
        y, last = engine.predict(self.cell, self.x, self.params, self.state0, self.mask)
        dx, dstate0, dparams = engine.backward(self.cell, self.dy, self.dstate, self.params, cache)
        named = {"y": y, "dx": dx, "gates": cache.gates, **{f"d{name}": value for name, value in dparams.items()}}
        for k, name in enumerate(self.cell.states):
            named |= {name: cache.states[k], f"{name}_last": last[k], f"d{name}0": dstate0[k]}
        return named, cache


def same_bits(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


def some_mask(T, B, seed=0):
    return np.random.default_rng(seed).random((T, B)) < 0.7


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
def test_every_cut_is_right_and_threads_change_no_bit(cut, threads, cell, dtype, masked):
    """The bound: no sum here has more than 200 terms, and each rounds by half an eps of a value below some tens."""
    call = Call(cell, 6, 17, 9, 37, dtype, some_mask(6, 17) if masked else None)
    want, _ = call.run(reference)
    results = []
    for count in {1, numba.config.NUMBA_NUM_THREADS}:
        threads(count)
        results += [call.run()[0], call.run()[0]]
    plan = plan_cpu.plan(call.cell, 6, 17, 9, 37, dtype, masked, numba.get_num_threads())
    assert (len(plan.edges) > 2) == (cut in (ROWS, BOTH))
    assert (plan.parts > 1) == (cut in (UNITS, BOTH) and numba.get_num_threads() > 1)
    for result in results:
        assert same_bits(result, results[0])
        for name in want:
            error = np.abs(result[name] - want[name]).max() / np.abs(want[name]).max()
            assert error < 100 * np.finfo(dtype).eps, name


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("masked", [False, True])
def test_cuts_and_threads_change_no_bit_of_products_in_bfloat16(cut, threads, cell, masked):
    """All but the weights' gradients are the same for every cut; those are sums of the same terms in another order, at
    most 102 of them: each is off by 102 u of the sum of their sizes, u = 2^-24. Factors are da, as it is rounded, and
    x, h and ones; da itself is the gradient of inputs that are one at a single row and step, and have no weights. (The
    GRU's da of hn is smaller than that of n.)"""
    call = Call(cell, 6, 17, 9, 37, mask=some_mask(6, 17) if masked else None)
    many, _ = call.run(fused_cpu_bf16)
    threads(1)
    assert same_bits(call.run(fused_cpu_bf16)[0], many)
    pieces = fused_cpu_bf16.in_pieces(call.cell, call.x.shape, 37, call.x.dtype, masked)
    assert len(pieces.plan.edges) > 2 or cut in (UNITS, ONE)
    plan_cpu.plan.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_cpu, "SMALL", 10**12)
        alone, _ = call.run(fused_cpu_bf16)
    told, h_prev, ones = copy(call), alone["h"][:-1].reshape(102, 37), np.ones((102, 1))
    told.x = np.concatenate([call.x, np.eye(102, dtype="float32").reshape(6, 17, 102)], axis=-1)
    told.params = call.params | {"W_ih": np.pad(call.params["W_ih"], ((0, 102), (0, 0)))}
    da = np.abs(told.run(fused_cpu_bf16)[0]["dW_ih"][9:]).astype(float)
    for name, want in alone.items():
        if name in [f"d{weight}" for weight in call.params]:
            factor = {"dW_ih": call.x.reshape(102, 9), "dW_hh": h_prev}.get(name, ones)
            sizes = (1 + 2**-8) * np.abs(factor).T.astype(float) @ da
            sizes = sizes[:, -want.shape[-1] :].reshape(want.shape)  # all blocks, or the last one: b_hn
            assert (np.abs(many[name] - want) <= 2 * 102 * 2.0**-24 * sizes).all(), name
        else:
            assert np.array_equal(many[name], want), name


@pytest.mark.parametrize("cell", CELLS)
def test_accuracy_at_full_size(cell):
    """T B = 20,000 rows go into one weight gradient. float32 may be four times as far from the float64 truth as the
    float32 reference (a blocked library product), plus 8 eps of the largest value."""
    call, truth = Call(cell, 20, 1000, 3, 24), Call(cell, 20, 1000, 3, 24)
    for name in ("x", "dy"):
        setattr(truth, name, getattr(call, name).astype("float64"))
    truth.params = {name: value.astype("float64") for name, value in call.params.items()}
    truth.state0, truth.dstate = ([v.astype("float64") for v in values] for values in (call.state0, call.dstate))
    want, ours, plain = truth.run(reference)[0], call.run()[0], call.run(reference)[0]
    for name, exact in want.items():
        own, others = (np.abs(result[name] - exact).max() for result in (ours, plain))
        assert own <= 4 * others + 8 * np.finfo("float32").eps * np.abs(exact).max(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_sum_is_exact_to_a_few_roundings(dtype):
    """db of constant terms that a running sum would lose: 20,000 terms, one much larger than the rest."""
    call = Call("rnn", 20, 1000, 1, 8, dtype)
    call.params = {name: np.zeros_like(value) for name, value in call.params.items()}  # h = 0, so da = dy
    call.dy[...] = 1e-3
    call.dy[-1, 0] = 1e3
    call.dstate = [np.zeros((1000, 8), dtype)]
    db = call.run()[0]["db"]
    assert np.allclose(db, 1e3 + 19_999e-3, rtol=20 * np.finfo(dtype).eps, atol=0)


def test_buffers_come_back(monkeypatch):
    call = Call("lstm", 7, 5, 3, 11, mask=some_mask(7, 5))
    first, cache = call.run()
    first = {name: value.copy() for name, value in first.items()}
    call.x[...] = call.x[::-1].copy()
    fresh, _ = call.run()
    again, reused = call.run(reuse=cache)
    assert reused.gates is cache.gates
    assert np.shares_memory(reused.states[0], cache.states[0])
    assert same_bits(again, fresh)
    assert not same_bits(again, first)
    other = Call("lstm", 8, 5, 3, 11)
    assert same_bits(other.run(reuse=cache)[0], other.run()[0])  # one that does not fit is left alone


def test_buffers_hold_nothing_of_another_mask(cut):
    """What a mask left as zeros may be real in the next call, and the other way round."""
    call, cache = Call("lstm", 6, 17, 9, 37), None
    for seed in range(4):
        call.mask = some_mask(6, 17, seed)
        want, fresh = call.run()
        got, cache = call.run(reuse=cache)
        assert same_bits(got, want)
        for name in ("x", "y"):
            assert np.array_equal(getattr(cache, name), getattr(fresh, name))
        assert not cache.gates[~call.mask].any()
        assert not cache.x[~call.mask].any()
        assert not cache.y[~call.mask].any()


def test_a_call_broken_off_leaves_nothing_that_looks_clean(monkeypatch):
    call = Call("lstm", 6, 17, 9, 37, mask=some_mask(6, 17))
    want, cache = call.run()
    kernels = fused.run

    def interrupted(*arguments):
        kernels(*arguments)
        raise KeyboardInterrupt

    call.mask = ~call.mask
    monkeypatch.setattr(fused, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call.run(reuse=cache)
    monkeypatch.undo()
    call.mask = ~call.mask
    again, cache = call.run(reuse=cache)
    assert same_bits(again, want)
    assert not cache.gates[~call.mask].any()
    assert not cache.x[~call.mask].any()


def test_neighbours_do_not_disturb_each_other(cut):
    """Two threads of Python, two models, at the same time."""
    calls = [Call("lstm", 9, 40, 5, 33, seed=1), Call("gru", 5, 30, 7, 20, seed=2)]
    want = [call.run()[0] for call in calls]
    wrong = []

    def work(call, expected):
        for _ in range(10):
            if not same_bits(call.run()[0], expected):
                wrong.append(call.cell.name)

    in_threads(work, list(zip(calls, want)))
    assert wrong == []


def test_a_fork_after_use(cut):
    call = Call("lstm", 6, 17, 9, 37)
    want, _ = call.run()
    assert same_bits(forked(lambda: call.run()[0]), want)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")
def test_a_call_from_a_signals_handler(cut):
    """It comes while a call of the same thread is under way, most often in the kernel, and needs more memory. In a
    handler's fork nobody helps."""
    outer, inner = Call("lstm", 40, 17, 9, 37), Call("lstm", 6, 17, 9, 45)
    want, wanted, seen = outer.run()[0], inner.run()[0], []

    def handler(number, frame):
        seen.append(same_bits(inner.run()[0], wanted) and same_bits(outer.run()[0], want))
        if len(seen) == 5:
            assert same_bits(forked(lambda: outer.run()[0]), want)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for k in range(40):
            signal.setitimer(signal.ITIMER_REAL, 0.0002 * (k % 10 + 1))
            assert same_bits(outer.run()[0], want)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) > 10
    assert all(seen)


def test_one_thread_while_meeting_does_not_pay(cut, monkeypatch):
    call, runs = Call("lstm", 6, 17, 9, 37), []
    want, _ = call.run()
    machine = fused._machine()

    def run(kernel, arguments, tasks, scratch, meeting):
        runs.append((tasks, meeting))
        machine.run(kernel, arguments, tasks, scratch, meeting)

    monkeypatch.setattr(threads_cpu._crew.sharing, "pays", lambda: False)
    monkeypatch.setattr(fused, "_machine", lambda: machine._replace(run=run))
    assert same_bits(call.run()[0], want)
    assert {meeting for _, meeting in runs} == {1}
    assert (cut in (ROWS, BOTH)) == (max(runs)[0] > 1)  # rows need nobody to wait


def test_many_more_threads_than_processors(nightly):
    """No deadlock, and the same bits; threads that meet are made to, however long they stall. 15 rows are one tile, and
    17 are two."""
    code = """
import sys, numba, numpy as np, lstmcore as lc
from lstmcore.ops.cpu import threads
calls = int(sys.argv[1])
threads._crew.sharing.pays = lambda: True
layer, rng = lc.LSTM(8, 256, seed=0), np.random.default_rng(0)
batches = [rng.normal(size=(4, B, 8)).astype("float32") for B in (15, 17)]
def call(x):
    y, _, cache = layer.forward(x)
    dx, _, grads = layer.backward(y, cache)
    return [y.tobytes(), dx.tobytes(), *[grad.tobytes() for grad in grads.values()]]
numba.set_num_threads(1)
want = [call(x) for x in batches]
for count in (8, 16):
    numba.set_num_threads(count)
    print(count, sum([call(x) for x in batches] == want for _ in range(calls)), threads._crew.size)
"""
    environment, calls = {**os.environ, "NUMBA_NUM_THREADS": "16"}, 10_000 if nightly else 60
    command = [sys.executable, "-c", code, str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == f"8 {calls} 7\n16 {calls} 15\n"


def test_a_thread_that_cannot_be_started(cut):
    """One thread does all. A limit on memory refuses it to root as well: a stack of a gigabyte is too much for it."""
    resource = pytest.importorskip("resource")
    call = Call("lstm", 6, 17, 9, 37)
    want, _ = call.run()

    def without():
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        threading.stack_size(2**30)
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**29, size + 2**29))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        return [call.run()[0] for _ in range(2)]

    assert all(same_bits(got, want) for got in forked(without))


def test_a_call_when_the_interpreter_ends():
    """Helpers that sleep can no longer be woken then, and none can be started."""
    code = """
import atexit, os, hashlib
import numpy as np
import lstmcore as lc
layer, x = lc.LSTM(64, 256, seed=0), np.random.default_rng(0).normal(size=(100, 1, 64)).astype("float32")
def call(where):
    y, _, cache = layer.forward(x)
    dx, _, grads = layer.backward(np.ones_like(y), cache)
    content = b"".join(a.tobytes() for a in (y, dx, *grads.values()))
    os.write(1, f"{where} {hashlib.sha256(content).hexdigest()}\\n".encode())
class Last:
    def __init__(self, where): self.where = where
    def __del__(self, call=call): call(self.where)
call("before")
atexit.register(call, "atexit")
last, loop = Last("module"), [Last("cycle")]
loop.append(loop)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not ended.stderr
    places, results = zip(*(line.split() for line in ended.stdout.splitlines()))
    assert places == ("before", "atexit", "module", "cycle")
    assert len(set(results)) == 1


def test_any_strides(cut):
    """Flipped in time, every other row, columns of a wider array: views, no copies needed, the same bits."""
    call = Call("lstm", 6, 17, 9, 37, mask=some_mask(6, 17))
    want, _ = call.run()
    wide = np.full((6, 34, 20), np.nan, np.float32)
    wide[::-1, ::2, 3:12] = call.x
    call.x = wide[::-1, ::2, 3:12]
    wide = np.full((17, 6, 37), np.nan, np.float32).transpose(1, 0, 2)
    wide[...] = call.dy
    call.dy = wide
    call.x.flags.writeable = call.dy.flags.writeable = False
    assert same_bits(call.run()[0], want)
    call.x = np.asfortranarray(call.x)
    assert same_bits(call.run()[0], want)


def test_no_output_gradient_is_zero_output_gradient(cut):
    call = Call("gru", 6, 17, 9, 37)
    call.dy[...] = 0
    want, _ = call.run()
    call.dy = None
    assert same_bits(call.run()[0], want)


def test_what_it_supports():
    assert all(fused_cpu.supports(cell, dtype) for cell in CELLS.values() for dtype in ("float32", np.dtype("float64")))
    assert not fused_cpu.supports(CELLS["lstm"], "complex128")
    assert all(fused_cpu_bf16.supports(cell, "float32") for cell in CELLS.values())
    assert not fused_cpu_bf16.supports(CELLS["lstm"], "float64")

    def only_on_arrays(maths):
        """As the plain RNN's, but with a function of NumPy's."""
        return lambda a_n: (np.tanh(a_n), np.tanh(a_n)), lambda dh, n: (dh * (1 - n * n),)

    assert not fused_cpu.supports(replace(CELLS["rnn"], make_step=only_on_arrays), "float32")


def test_numba_waits_for_the_first_call():
    code = (
        "import sys; from lstmcore.ops.recurrence import fused_cpu; from lstmcore.ops.cells import CELLS;"
        "assert fused_cpu.supports(CELLS['lstm'], 'float32'); print('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_predict_compiles_no_backward():
    code = (
        "import numpy as np, lstmcore as lc\n"
        "from lstmcore.ops.cpu import kernel\n"
        "names, real = [], kernel.compile_kernel\n"
        "def noted(function, name, *rest, **options):\n"
        "    names.append(name)\n"
        "    return real(function, name, *rest, **options)\n"
        "kernel.compile_kernel = noted\n"
        "lc.LSTM(3, 4).predict(np.zeros((2, 1, 3), 'float32'))\n"
        "print(*names)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["product-float32", "lstm-forward-float32-task", "lstm-forward-float32-tasks"]
