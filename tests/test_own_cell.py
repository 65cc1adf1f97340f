"""A cell and a container that the package has never seen, through every tool.

The cell is a minimal gated unit (Zhou et al. 2016) with its gate applied after the recurrent product, as in the GRU:

    f = sigmoid(a_f)                         how much is new
    n = tanh(a_n + f m)                      the candidate; m = h_prev W_hm + b_m, a block that W_ih does not feed
    h = (1 - f) h_prev + f n

Undone from the last line to the first, with f m and f n by the product rule:

    dh_prev = dh (1 - f)      dn = dh f      da_n = dn (1 - n^2)      dm = da_n f
    df = dh (n - h_prev) + da_n m            da_f = df f (1 - f)

`Leaky` has two states beside h, of which the step reads h too: c_t = f c + (1 - f) a, s_t = (s + c_t) / 2 - its paths
are what none of the package's cells has. Its derivation stands beside the lines.
"""

import copy
import json
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.arrays import namespace
from lstmcore.debug.step.paths import paths, reached
from lstmcore.debug.step.step_back import steps_back
from lstmcore.debug.step.visits import run_step
from lstmcore.layers import Layer, Recurrent, kinds
from lstmcore.layers.params import Params, joined
from lstmcore.ops.cells import CELLS, Cell, Maths
from lstmcore.recipes import check as checking
from lstmcore.recipes import count as counting

T, B, I, H = 6, 3, 4, 5
EPS = np.finfo(float).eps


def make_mgu(maths: Maths):
    sigmoid, tanh, one = maths

    def step_forward(a_f, a_n, m, h_prev):
        f = sigmoid(a_f)
        n = tanh(a_n + f * m)
        h = (one - f) * h_prev + f * n
        return f, n, m, h

    def step_backward(dh, f, n, m, h_prev):
        dn = dh * f  # undoes h, from its last factor to its first
        dh_prev = dh * (one - f)
        da_n = dn * (one - n * n)  # undoes n
        dm = da_n * f
        df = dh * (n - h_prev) + da_n * m  # f is used twice: its gradients add up
        da_f = df * f * (one - f)  # undoes f
        return da_f, da_n, dm, dh_prev

    return step_forward, step_backward


mgu = Cell(
    name="mgu",
    states=("h",),
    gates=("f", "n", "m"),
    input_blocks=(0, 1),
    recurrent_blocks=(0, 2),
    biases={"b": (0, 1), "b_m": (2,)},
    previous=("h",),
    current=(),
    make_step=make_mgu,
    words={"f": "update gate", "n": "candidate"},
    initial_biases={"f": -1.0},
)


def make_leaky(maths: Maths):
    sigmoid, tanh, one = maths

    def step_forward(a_f, a_g, h_prev, c_prev, s_prev):
        f = sigmoid(a_f)
        g = tanh(a_g)
        c = f * c_prev + (one - f) * g
        s = (s_prev + c) / (one + one)
        h = tanh(s) + g * h_prev
        return f, g, h, c, s

    def step_backward(dh, dc, ds, f, g, h_prev, c_prev, s_prev, s):
        tanh_s = tanh(s)
        ds = ds + dh * (one - tanh_s * tanh_s)
        dg = dh * h_prev
        dh_prev = dh * g
        ds_prev = ds / (one + one)
        dc = dc + ds / (one + one)
        df = dc * (c_prev - g)
        dg = dg + dc * (one - f)
        dc_prev = dc * f
        return df * f * (one - f), dg * (one - g * g), dh_prev, dc_prev, ds_prev

    return step_forward, step_backward


leaky = Cell(
    name="leaky",
    states=("h", "c", "s"),
    gates=("f", "g"),
    input_blocks=(0, 1),
    recurrent_blocks=(0, 1),
    biases={"b": (0, 1)},
    previous=("h", "c", "s"),
    current=("s",),
    make_step=make_leaky,
)


class MGU(Recurrent):
    cell = mgu


class Leaky(Recurrent):
    cell = leaky


class ScaledCache(NamedTuple):
    parts: tuple
    inner: np.ndarray  # what the part gave
    x: np.ndarray
    owner: "Scaled"


class Scaled(Layer):
    """y = x + scale * part(x), with one scale per column."""

    def __init__(self, part: Layer, width: int):
        self.part, self.width = part, width
        self.parts = {"part": part}
        self.params = joined(self.parts, {"scale": np.full(width, 0.5, next(iter(part.params.values())).dtype)})

    def forward(self, x, state=None, mask=None, rng=None, reuse=None):
        y, s, cache = self.part.forward(x, state and state[0], mask, rng, reuse and reuse.parts[0])
        xp = namespace(x)
        x = x if mask is None else xp.where(mask[..., None], x, xp.zeros_like(x))
        return x + self.params["scale"] * y, (s,), ScaledCache((cache,), y, x, self)

    def backward(self, dy, cache, dstate=None):
        mask, xp = cache.parts[0].mask, namespace(dy)
        dy = dy if mask is None else xp.where(mask[..., None], dy, xp.zeros_like(dy))
        dx, ds, grads = self.part.backward(dy * self.params["scale"], cache.parts[0], dstate and dstate[0])
        dscale = xp.sum(xp.sum(dy * cache.inner, axis=0), axis=0)
        return dy + dx, (ds,), {f"part.{name}": g for name, g in grads.items()} | {"scale": dscale}


KINDS = (MGU, Leaky)


def problem(seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(T)[:, None] < np.array([T, 4, 1])
    return rng.standard_normal((T, B, H)), mask


def model(kind, engine=None, dtype="float64"):
    """The container around the cell, both directions over it, and a head."""
    inner = Scaled(kind(H, H, dtype=dtype, seed=1, engine=engine), H)
    both = lc.Bidirectional(
        kind(H, H, dtype=dtype, seed=2, engine=engine), kind(H, H, dtype=dtype, seed=3, engine=engine)
    )
    return lc.Stack([inner, both, lc.Linear(2 * H, 3, dtype=dtype, seed=4)])


# ---- what the cell says ------------------------------------------------------------------------------------


def test_paths_are_read_off_the_text():
    assert [path.name for path in paths(mgu)] == ["through h", "along f"]
    assert reached(mgu, True) == ((0, 1, 2), (0, 1, 2))
    assert mgu.ends == {"f": (0.0, 1.0), "n": (-1.0, 1.0)}
    assert [(path.name, path.state) for path in paths(leaky)] == [
        ("through h", 0), ("along g", 0), ("along c", 1), ("along s", 2)
    ]  # fmt: skip
    assert reached(leaky, True) == ((0, 1), (0, 1), (0, 1), (0, 1))


def test_initial_biases():
    layer = MGU(I, H, seed=0)
    np.testing.assert_array_equal(layer.params["b"], [-1] * H + [0] * H)
    assert not layer.params["b_m"].any()


# ---- engines and containers --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_everywhere(kind):
    """Complex step on the reference's twin, gradients by the compiled engine, through a mask."""
    x, mask = problem()
    net = model(kind, "fused-cpu")
    cache = net.forward(x, mask=mask)[2]
    assert lc.layers.tree.engine(cache) == "fused-cpu"
    found = lc.debug.gradcheck(net, x, mask=mask, seed=0)
    assert found.ok, found
    assert {"0.scale", "0.part.h0", "1.fw.h0", "x"} <= {row.name for row in found.table}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_engines_agree(kind, dtype, nightly):
    """Each engine's error is at most that of sums of H + I terms through T steps, which gains of about 1 do not grow:
    4 sqrt(T (H + I)) roundings of numbers of size 1, on both sides, is 60; a factor of 4 is left for the gains."""
    if dtype == "float32" and not nightly:
        pytest.skip("with --nightly: both cells are compiled anew for it, 25 s")
    x, mask = (a.astype(dtype) if a.dtype == float else a for a in problem())
    answers = []
    for engine in ("reference", "fused-cpu"):
        layer = kind(H, H, dtype=dtype, seed=1, engine=engine)
        y, state, cache = layer.forward(x, mask=mask)
        assert cache.engine == engine
        quick, _ = layer.predict(x, mask=mask)
        dx, dstate0, grads = layer.backward(np.ones_like(y), cache)
        answers.append(
            {"y": y, "quick": quick, "dx": dx, **grads} | {f"s{k}": s for k, s in enumerate((*state, *dstate0))}
        )
    for name, want in answers[0].items():
        allowed = 240 * np.finfo(dtype).eps * max(1, np.abs(want).max())
        assert np.abs(answers[1][name] - want).max() <= allowed, name
    assert np.abs(answers[0]["dx"][0]).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_masks_change_nothing(kind):
    x, mask = problem()
    proof = lc.debug.padding(model(kind), x, mask=mask)
    assert proof.ok, proof


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_streams(kind):
    x, _ = problem()
    layer = copy.deepcopy(kind(H, H, dtype="float64", seed=0))
    y, last = layer.predict(x)
    state = None
    for t in range(T):
        y_t, state = layer.step(x[t], state)
        np.testing.assert_allclose(y_t, y[t], rtol=0, atol=100 * EPS)  # as above
    assert len(state) == len(last) == len(kind.cell.states)


# ---- the tools ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "fused-cpu"])
@pytest.mark.parametrize("kind", KINDS)
def test_ledger(kind, engine):
    x, mask = problem()
    book = lc.debug.ledger(model(kind, engine), x, mask=mask, parts=True)
    assert book.ok, book
    assert book.not_split == ("0.scale",)
    assert any("not split" in line and "0.scale" in line for line in book.findings)
    entry = book["0.part.W_hh"]
    assert entry.paths == tuple(path.name for path in paths(kind.cell))
    run = run_step(model(kind, engine), x, mask=mask)
    whole = run.grads["0.part.W_hh"]
    np.testing.assert_allclose(entry.parts.sum((0, 1)), whole, rtol=0, atol=entry.allowed)
    assert np.abs(entry.parts[1:, 1]).max() > 1e-4
    with pytest.raises(KeyError, match=r"'0\.scale' is not split: its layer is neither recurrent nor a Linear"):
        book["0.scale"]
    str(book)


@pytest.mark.parametrize("kind", KINDS)
def test_the_paths_are_the_jacobian(kind):
    """What is handed on to the initial state is the Jacobian's transpose times what arrives, for each step: 1e-12 is
    4,500 roundings."""
    x, _ = problem()
    layer = kind(H, H, dtype="float64", seed=1)
    visit = run_step(layer, x, np.zeros((T, B, H)), dstate=tuple(np.ones((B, H)) for _ in kind.cell.states)).visits[0]
    J = lc.debug.step_jacobians(layer, visit.cache)
    for step in steps_back(visit):
        arrives, goes = (np.concatenate(d, axis=1) for d in (step.dstates, step.dstates_prev))
        np.testing.assert_allclose(goes, np.einsum("bsn,bs->bn", J[step.t], arrives), rtol=0, atol=1e-12)
    product = lc.debug.jacobian(layer, visit.cache)
    dstate0 = np.concatenate(visit.dstate0, axis=1)
    np.testing.assert_allclose(product.sum(1), dstate0, rtol=0, atol=1e-12)
    assert np.abs(dstate0).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_flow(kind):
    x, mask = problem()
    net = model(kind)
    found = lc.debug.flow(net, x, mask=mask, optimizer=lc.Adam())
    assert [layer.name for layer in found.layers] == ["0.part", "1.fw", "1.bw"]
    assert all(set(layer.dstates) == {f"d{name}" for name in kind.cell.states} for layer in found.layers)
    gate = {"mgu": "update gate", "leaky": "gate f"}[kind.cell.name]
    assert gate in str(found)
    net.params["0.part.b"][:H] = 50
    assert f"0.part: {gate} open: 100.0 % of its values are above 0.95" in lc.debug.flow(net, x, mask=mask).findings


@pytest.mark.parametrize("kind", KINDS)
def test_tripwire(kind):
    x, mask = problem()
    assert lc.debug.tripwire(model(kind), x, mask=mask).ok
    x[2, 1, 0] = np.inf
    trip = lc.debug.tripwire(model(kind), x, mask=mask).trip
    assert (trip.phase, trip.layer, trip.what, trip.step, trip.row) == ("forward", "0.part", "x", 2, 1)
    net, (x, mask) = model(kind), problem()
    state = (tuple(np.zeros((B, H)) for _ in kind.cell.states),), (None, None), None
    last = kind.cell.states[-1]
    state[0][0][-1][1, 2] = np.nan
    trip = lc.debug.tripwire(net, x, state=state, mask=mask).trip
    assert (trip.layer, trip.what, trip.row, trip.unit) == ("0.part", f"{last}0", 1, 2)
    net.params["0.scale"][1] = np.nan
    trip = lc.debug.tripwire(net, *problem()[:1]).trip
    assert (trip.layer, trip.what, trip.why) == ("0", "0.scale", "the weight itself is not finite")
    dstate = (tuple(np.zeros((B, H)) for _ in kind.cell.states),), (None, None), None
    dstate[0][0][-1][0, 3] = np.inf
    trip = lc.debug.tripwire(model(kind), problem()[0], dstate=dstate).trip
    assert (trip.phase, trip.what, trip.row, trip.unit) == ("backward", f"d{last}_last", 0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_memory(kind):
    x, mask = problem()
    found = lc.debug.memory(model(kind), x, mask=mask)
    assert [layer.name for layer in found.layers] == ["0.part", "1.fw", "1.bw"]
    assert all(layer.singular.shape == (T + 1, B, H * len(kind.cell.states)) for layer in found.layers)
    assert str(found)


@pytest.mark.parametrize("kind", KINDS)
def test_report(kind, tmp_path):
    x, mask = problem()
    found = lc.debug.report(model(kind), x, mask=mask, optimizer=lc.SGD(0.1))
    assert found.tripwire.ok
    assert found.ledger.ok
    assert found.padding.ok
    page = found.save(tmp_path / "page.html").read_text()
    assert paths(kind.cell)[1].name in page


@pytest.mark.parametrize("kind", KINDS)
def test_compare(kind):
    x, mask = problem()
    net = model(kind, "reference")
    assert lc.debug.compare(net, "fused-cpu", x, mask=mask).ok
    other = model(kind, "reference")
    other.params["1.bw.b"][0] += 1e-3
    first = lc.debug.compare(net, other, x, mask=mask).first
    assert (first.name, first.gate) == ("1.bw.gates", "f")
    names = lc.debug.trace(net, x, mask=mask)
    assert {"0.part.gates", f"0.part.{kind.cell.states[-1]}", "1.fw.da", "0.dscale"} <= set(names)
    doubled = {"0.dscale": 2 * names["0.dscale"]}
    assert lc.debug.compare(net, doubled, x, mask=mask).first.name == "0.dscale"


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind):
    """Forward mode against backward: <J v, u> = <v, J^T u>; the Hessian is symmetric; recurrent learning is the same.

    All are sums of about 1,000 products of numbers of size 1: 1e-11 is 45,000 roundings."""
    x, mask = problem()
    net, rng = model(kind), np.random.default_rng(5)
    u = rng.standard_normal((T, B, 3))
    run = run_step(net, x, u, mask=mask)
    direction = {name: rng.standard_normal(g.shape) for name, g in run.grads.items()} | {
        "x": rng.standard_normal(x.shape)
    }
    y_dot = lc.debug.jvp(net, x, direction, mask=mask).y_dot
    back = sum(np.vdot(direction[name], g) for name, g in (run.grads | {"x": run.dx}).items())
    assert abs(np.vdot(y_dot, u) - back) < 1e-11 * max(1, abs(back))

    def loss(y):
        return (y * y).sum() / 2, y

    other = {name: rng.standard_normal(d.shape) for name, d in direction.items()}
    one, two = lc.debug.hvp(net, x, loss, direction, mask=mask), lc.debug.hvp(net, x, loss, other, mask=mask)
    a, b = (sum(np.vdot(v[name], h[name]) for name in v) for v, h in ((other, one), (direction, two)))
    assert abs(a - b) < 1e-11 * max(1, abs(a))

    layer, dy = kind(H, H, dtype="float64", seed=1), rng.standard_normal((T, B, H))
    dstate0, grads = lc.debug.rtrl(layer, x, dy, mask=mask)
    visit = run_step(layer, x, dy, mask=mask).visits[0]
    for name, want in visit.grads.items():
        np.testing.assert_allclose(grads[name], want, rtol=0, atol=1e-11 * max(1, np.abs(want).max()))
    for got, want in zip(dstate0, visit.dstate0, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load(kind, tmp_path, monkeypatch):
    x, mask = problem()
    net = model(kind)
    with pytest.raises(TypeError, match=r"0 \(Scaled\) cannot be saved, .* call lc.register\(Scaled\)"):
        lc.save(tmp_path / "model.safetensors", net)
    for own in (kind, Scaled):
        monkeypatch.setitem(kinds.KINDS, own.__name__, own)  # taken away again behind the test
        assert lc.register(own) is own
    lc.save(tmp_path / "model.safetensors", net)
    for engine in ("reference", "fused-cpu"):
        twin = lc.load(tmp_path / "model.safetensors", engine=engine)
        assert isinstance(twin.layers[0].part, kind)
        want = model(kind, engine).predict(x, mask=mask)[0]
        assert twin.predict(x, mask=mask)[0].tobytes() == want.tobytes()


# ---- recipes: one line of a table --------------------------------------------------------------------------


def test_recipes_take_it_from_the_table(monkeypatch):
    monkeypatch.setitem(CELLS, "mgu", mgu)
    net = checking.model("mgu", 3, 4, 2, "interleaved", 0.0, 0, 0, None)
    assert checking.check(net, 5, 3, 3, "gaps").ok
    net = counting.model(counting.Options(cell="mgu", hidden=4), np.random.default_rng(0))
    assert net.layers[0].cell is mgu
    assert "mgu" in repr(net).lower()


def test_the_command_line_takes_it_from_the_table():
    code = (
        "from test_own_cell import mgu; from lstmcore.ops.cells import CELLS; CELLS['mgu'] = mgu;"
        "from lstmcore.cli import main; main()"
    )
    words = ["check", "--cell", "mgu", "--mask", "gaps", "--json"]
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=__file__[:-17])
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ok"]


# ---- what a tool cannot see through is named ---------------------------------------------------------------


class Smoothed(Layer):
    """A recurrent layer without a cell: y_t = (y_{t-1} + w x_t) / 2."""

    states = ("y",)

    def __init__(self, width: int):
        self.params = Params({"w": np.ones(width)})

    def forward(self, x, state=None, mask=None, rng=None, reuse=None):
        y = [np.zeros(x.shape[1:]) if state is None else state[0]]
        for x_t in x:
            y.append((y[-1] + self.params["w"] * x_t) / 2)
        return np.stack(y[1:]), (y[-1],), (x, self)

    def backward(self, dy, cache, dstate=None):
        x, d, dx = cache[0], np.zeros_like(dy[0]) if dstate is None else dstate[0], []
        for dy_t in dy[::-1]:
            d = (d + dy_t) / 2
            dx.append(d)
        dx = np.stack(dx[::-1])
        return dx * self.params["w"], (d,), {"w": (dx * x).sum((0, 1))}


def test_a_layer_without_a_cell_is_named():
    x, _ = problem()
    net = lc.Stack([Smoothed(H), MGU(H, H, dtype="float64", seed=0)])
    assert lc.debug.gradcheck(net, x, seed=0, method="central").ok
    words = "its steps are not seen, for it is no Recurrent with a cell"
    assert any(words in line and line.startswith("0, ") for line in lc.debug.flow(net, x).findings)
    assert any(words in line for line in lc.debug.memory(net, x).findings)
    assert lc.debug.ledger(net, x).not_split == ("0.w",)
    assert lc.debug.tripwire(net, x).ok
    assert lc.debug.compare(net, net, x).ok
    assert "0.w" in str(lc.debug.report(net, x))
