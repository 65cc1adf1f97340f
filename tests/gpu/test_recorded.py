"""A recorded training step, on a stand-in for CuPy that records as strictly as a GPU does: the same bits as without."""

import math

import numpy as np
import pytest
from gpu import graphs
from gpu.stand_in import installed

import lstmcore as lc
from lstmcore.train import Cosine, WarmUp

T, B, I, H, V = 6, 5, 1, 24, 12
STEPS = 20


@pytest.fixture
def cupy(emulator):
    with installed() as module:
        yield module


def counting():
    """The demo's model: one LSTM, dropout, and a head on its last state."""
    return lc.Stack([lc.LSTM(I, H, seed=0, return_sequences=False), lc.Dropout(0.3), lc.Linear(H, V, seed=1)])


def reading():
    """Letters, both directions, a head at every step; wider than the small kernel's own inputs."""
    both = lc.Bidirectional(lc.LSTM(9, 7, seed=1), lc.LSTM(9, 7, seed=2))
    return lc.Stack([lc.Embedding(V, 9, seed=0), both, lc.Dropout(0.2), lc.Linear(14, V, seed=3)])


def batches(cupy, count=STEPS, letters=False, per_step=False, mask=False, rows=B):
    rng = np.random.default_rng(4)
    for _ in range(count):
        x = rng.integers(0, V, (T, rows)) if letters else rng.normal(size=(T, rows, I)).astype("float32")
        targets = rng.integers(0, V, (T, rows) if per_step else rows)
        lengths = rng.integers(1, T + 1, rows) if mask else None
        real = None if lengths is None else cupy.asarray(lc.mask_from_lengths(lengths, T))
        yield cupy.asarray(x), cupy.asarray(targets), real


def by_hand(model, loss, opt, clip, rng, batch):
    x, targets, mask = batch
    y, _, cache = model.forward(x, None, mask, rng)
    value, dy = loss(y, targets, mask if y.ndim > 2 else None)
    _, _, grads = model.backward(dy, cache)
    if clip is not None:
        lc.clip_by_global_norm(grads, clip)
    opt.step(model.params, grads)
    return value


def assert_same(model, opt, twin, twin_opt):
    for name, w in model.params.items():
        assert np.array_equal(w.get(), twin.params[name].get()), name
        assert opt.state[name]["t"] == twin_opt.state[name]["t"]
        for slot in opt.slots:
            assert np.array_equal(opt.state[name][slot].get(), twin_opt.state[name][slot].get()), (name, slot)


def assert_twenty_steps(cupy, build, loss, make_opt, clip, **kind):
    """Recorded and by hand, each with its own model and generator: every loss and every bit of what is left."""
    model, twin, opt, twin_opt = lc.to_gpu(build()), lc.to_gpu(build()), make_opt(), make_opt()
    schedule, rng = WarmUp(4, Cosine(0.05, STEPS)), np.random.default_rng(7)
    step = lc.RecordedStep(model, loss, opt, clip=clip, rng=7)
    values, wanted = [], []
    for k, batch in enumerate(batches(cupy, **kind)):
        opt.lr = twin_opt.lr = schedule(k)
        values.append(step(*batch))
        wanted.append(by_hand(twin, loss, twin_opt, clip, rng, batch))
    assert [float(v) for v in values] == [float(v) for v in wanted]  # read at the end: no step wrote over another's
    assert all(map(math.isfinite, map(float, values)))
    assert_same(model, opt, twin, twin_opt)
    return step


@pytest.mark.parametrize("clip", [None, 0.5])
def test_counting(cupy, clip):
    step = assert_twenty_steps(cupy, counting, lc.softmax_cross_entropy, lambda: lc.AdamW(weight_decay=0.1), clip)
    ours = [kernel for kernel in launches(step) if not kernel.startswith("matmul")]
    norm = [] if clip is None else ["clip_squares", "clip_norm", "clip_scale"]
    loss = ["cross_entropy", "mean_loss"]
    assert ours == ["small_forward", *loss, "small_backward", "small_sum", *norm, "update"]


@pytest.mark.parametrize("mask", [False, True])
def test_reading(cupy, mask):
    """At each step a target; with a mask, another number of valid ones in every batch."""
    kind = {"letters": True, "per_step": True, "mask": mask, "count": 5}
    assert_twenty_steps(cupy, reading, lc.softmax_cross_entropy, lc.Adam, 1.0, **kind)


@pytest.mark.parametrize("opt", [lambda: lc.SGD(0.1), lambda: lc.Nesterov(0.1), lambda: lc.Adadelta(1.0)])
def test_values_under_a_mask(cupy, opt):
    """squared_error, whose mean is over another number of values in every batch."""

    def loss(y, classes, mask):
        return lc.squared_error(y, classes[..., None].astype("float32") / V, mask)

    def build():
        return lc.Stack([lc.LSTM(I, 5, seed=0), lc.Linear(5, 1, seed=1), lc.Tanh()])

    assert_twenty_steps(cupy, build, loss, opt, 0.5, per_step=True, mask=True, count=5)


@pytest.mark.parametrize(
    ("build", "engine", "kernels"),
    [
        (lambda: lc.LSTM(9, 33, seed=0), None, ["small_forward", "small_backward"]),
        (lambda: lc.LSTM(9, 50, seed=0), None, ["persistent_forward", "persistent_backward"]),
        (lambda: lc.LSTM(9, 50, seed=0), "fused-gpu-tf32", ["persistent_forward", "persistent_backward"]),
        (lambda: lc.LSTM(9, 5, seed=0, dtype="float64"), None, ["pointwise_forward"] * 3 + ["pointwise_backward"] * 3),
        (lambda: lc.GRU(9, 5, seed=0), None, []),
        (lambda: lc.RNN(9, 5, seed=0), None, []),
    ],
    ids=["small", "persistent", "tf32", "pointwise", "GRU", "RNN"],
)
def test_every_kernel_family(cupy, build, engine, kernels):
    """Three steps; those that the host asks for step by step, too."""
    pair = [build().to(engine=engine, array="cupy") for _ in range(2)]
    opts, rng = [lc.Momentum(0.1) for _ in range(2)], np.random.default_rng(0)
    dtype, shape = pair[0].params["b"].dtype, (3, 2, pair[0].hidden_size)
    step = lc.RecordedStep(pair[0], lc.squared_error, opts[0])
    for _ in range(3):
        x, targets = (cupy.asarray(rng.normal(size=s).astype(dtype)) for s in ((3, 2, 9), shape))
        mask = cupy.asarray(np.arange(3)[:, None] < rng.integers(1, 4, 2))
        value = step(x, targets, mask)
        assert float(value) == float(by_hand(pair[1], lc.squared_error, opts[1], None, None, (x, targets, mask)))
    assert_same(pair[0], opts[0], pair[1], opts[1])
    assert [k for k in launches(step) if not k.startswith(("matmul", "update"))] == kernels


def launches(step):
    """The kernels of ours in the graph."""
    return step._graph._graph.launches


def a_step(cupy, model=None, **options):
    model = lc.to_gpu(counting()) if model is None else model
    opt = lc.AdamW(0.01)
    return model, opt, lc.RecordedStep(model, lc.softmax_cross_entropy, opt, **{"rng": 3} | options)


def test_two_recorded_steps_do_not_meet(cupy):
    """Of two models and two sizes of batches, in turn: each as if it were alone."""
    alone = []
    for rows in (B, 3):
        model, _, step = a_step(cupy)
        alone.append(([float(step(*batch)) for batch in batches(cupy, 6, rows=rows)], model))
    pair = [a_step(cupy) for _ in range(2)]
    values = [[], []]
    for both in zip(batches(cupy, 6), batches(cupy, 6, rows=3)):
        for k, batch in enumerate(both):
            values[k].append(pair[k][2](*batch))
    for k, (wanted, model) in enumerate(alone):
        assert [float(v) for v in values[k]] == wanted
        assert all(np.array_equal(w.get(), pair[k][0].params[name].get()) for name, w in model.params.items())


def test_two_recordings_of_one_model(cupy):
    """Two sizes of batches, one optimizer: as the steps by hand."""
    model, twin = lc.to_gpu(counting()), lc.to_gpu(counting())
    opt, twin_opt, rng, twin_rng = lc.Adam(0.01), lc.Adam(0.01), *(np.random.default_rng(1) for _ in range(2))
    steps = [lc.RecordedStep(model, lc.softmax_cross_entropy, opt, 0.5, rng) for _ in range(2)]
    for both in zip(batches(cupy, 4), batches(cupy, 4, rows=3)):
        for step, batch in zip(steps, both):
            step(*batch)
            by_hand(twin, lc.softmax_cross_entropy, twin_opt, 0.5, twin_rng, batch)
        by_hand(model, lc.softmax_cross_entropy, opt, 0.5, rng, both[0])  # and one in between
        by_hand(twin, lc.softmax_cross_entropy, twin_opt, 0.5, twin_rng, both[0])
    assert_same(model, opt, twin, twin_opt)


def test_the_callers_arrays_are_its_own(cupy):
    """What was given to one step may be written over before the next."""
    (x, targets, _), (x2, targets2, _) = batches(cupy, 2)
    model, _, step = a_step(cupy)
    twin, _, other = a_step(cupy)
    step(x, targets), step(x2, targets2)
    held, marks = cupy.asarray(x, copy=True), cupy.asarray(targets, copy=True)
    other(held, marks)
    held[...], marks[...] = x2, targets2
    other(held, marks)
    del held, marks
    other(x, targets), step(x, targets)
    assert all(np.array_equal(w.get(), twin.params[name].get()) for name, w in model.params.items())


# ---- what is refused, with nothing changed --------------------------------------------------------------------------


def everything(model, opt, step):
    state = {
        name: {key: np.array(v.get() if key != "t" else v) for key, v in m.items()} for name, m in opt.state.items()
    }
    return {name: w.get() for name, w in model.params.items()}, state, step._draws._rng.bit_generator.state


@pytest.fixture
def unchanged():
    """Call it with model, opt and step: at the end of the test all must be as it was."""
    held = []

    def hold(*things):
        held.append((things, everything(*things)))

    yield hold
    for things, before in held:
        np.testing.assert_equal(everything(*things), before)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("x", lambda x: x[:, :-1], r"`x` should be float32 \(6, 5, 1\) of cupy, as this step was recorded; got float32"
         r" \(6, 4, 1\) of cupy \(batches of another shape: make another RecordedStep for them\)"),
        ("x", lambda x: x.astype("float64"), r"got float64 \(6, 5, 1\) of cupy"),
        ("x", lambda x: x.get(), r"got float32 \(6, 5, 1\) of numpy"),
        ("targets", lambda t: t[:4], r"`targets` should be int64 \(5,\) of cupy.*got int64 \(4,\) of cupy"),
        ("targets", lambda t: [1, 2], r"got list"),
        ("mask", lambda m: 1, r"`mask` should be NoneType, as this step was recorded; got int"),
    ],
)  # fmt: skip
def test_another_shape(cupy, unchanged, name, change, words):
    (batch,) = batches(cupy, 1)
    model, opt, step = a_step(cupy)
    step(*batch)
    unchanged(model, opt, step)
    given = dict(zip(("x", "targets", "mask"), batch))
    with pytest.raises(ValueError, match=words):
        step(**given | {name: change(given[name])})


def test_what_the_lines_refuse(cupy, unchanged):
    (x, targets, _) = next(batches(cupy, 1))
    model, opt, step = a_step(cupy)
    unchanged(model, opt, step)
    for wrong, error, words in (
        (
            (x.get(), targets),
            TypeError,
            r"`x` should be an array of cupy, since steps are recorded on a GPU; got numpy",
        ),
        ((x[..., :0], targets), ValueError, r"`x` should be \(T, B, I\) with I = 1"),
        ((x, targets + V), ValueError, r"`targets` should lie in 0 .. 11"),
    ):
        with pytest.raises(error, match=words):
            step(*wrong)
    with pytest.raises(ValueError, match="`clip` should be a number above zero; got 0"):
        a_step(cupy, clip=0)


@pytest.mark.parametrize("look", [float, bool, lambda v: v.get()])
def test_a_loss_that_looks(cupy, unchanged, look):
    def loss(y, targets, mask):
        value, dy = lc.softmax_cross_entropy(y, targets, mask)
        look(value)
        return value, dy

    (batch,) = batches(cupy, 1)
    model, opt = lc.to_gpu(counting()), lc.Adam(0.1)
    step = lc.RecordedStep(model, loss, opt, rng=2)
    unchanged(model, opt, step)
    with pytest.raises(RuntimeError, match=r"this step cannot be recorded, and nothing was changed: .*not permitted"):
        step(*batch)
    by_hand(lc.to_gpu(counting()), loss, lc.Adam(0.1), None, None, batch)  # which it is, by hand


def test_a_kernel_that_gave_up_in_an_earlier_step(cupy, unchanged):
    """As every call of the engine says it."""
    from lstmcore.ops.gpu.cupy_machine import current_machine

    (batch,) = batches(cupy, 1)
    things = a_step(cupy)
    step = things[-1]
    step(*batch)
    unchanged(*things)
    current_machine()._alarm[:] = 1
    with pytest.raises(RuntimeError, match="an LSTM kernel that ran before gave up"):
        step(*batch)


def test_a_state_that_was_replaced(cupy, unchanged):
    (batch,) = batches(cupy, 1)
    model, opt, step = a_step(cupy)
    step(*batch)
    opt.state = opt.state
    unchanged(model, opt, step)
    with pytest.raises(ValueError, match=r"`opt.state` was replaced after this step was recorded"):
        step(*batch)


# ---- the stand-in is as strict as it says --------------------------------------------------------------------------


@pytest.fixture
def stream(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc), stream:
        yield stream


def test_nothing_runs_while_a_stream_records(cupy, stream):
    a, b = cupy.ones(3), cupy.zeros(3)
    stream.begin_capture()
    c = a + 1
    b[...] = 2 * c
    b += 1
    d = b[1:]
    graph = stream.end_capture()
    assert np.isnan(c.get()).all()
    assert not b.get().any()
    a[...] = 4
    graph.launch()
    assert (c.get()[0], b.get()[0], d.get()[0]) == (5, 11, 11)


def test_it_refuses_what_cupy_refuses(cupy, stream):
    a = cupy.ones((3, 3))
    stream.begin_capture()
    for ask in (float, bool, lambda a: a.get(), lambda a: a[a > 0], lambda a: a.nonzero(), lambda a: cupy.asarray([1])):
        with pytest.raises(graphs.CUDARuntimeError, match="not permitted when stream is capturing"):
            ask(a)
    for product in (lambda: a @ a, lambda: cupy.matmul(a, a), lambda: a.dot(a)):
        with pytest.raises(NotImplementedError, match="cuBLAS"):
            product()
    with pytest.raises(graphs.CUDARuntimeError):
        stream.synchronize()
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.Stream.null.begin_capture()


def test_memory_of_others_must_stay(cupy, stream):
    a, b = cupy.ones(3), cupy.zeros(3)
    stream.begin_capture()
    b[...] = a
    graph = stream.end_capture()
    del a
    with pytest.raises(AssertionError, match="memory that was given back"):
        graph.launch()


def test_memory_that_all_share_is_no_place_for_temporaries(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    a = cupy.ones(3)
    with stream:
        stream.begin_capture()
        with pytest.raises(AssertionError, match="memory that others use as well"):
            a + 1
