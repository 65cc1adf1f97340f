"""Cells in NumPy that are called for each step, as most people write them: a class, and two functions."""

import numpy as np
import pytest

import lstmcore as lc

T, B, I, H = 5, 2, 3, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Cell:
    """Rows, one fused matrix over [h, x]; gradients add up in attributes, caches are kept in a list."""

    def __init__(self, bug=""):
        rng = np.random.default_rng(3)
        self.W, self.b = rng.normal(0, 0.6, (H + I, 4 * H)), rng.normal(0, 0.3, 4 * H)
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)
        self.caches, self.bug = [], bug

    def forward(self, x_t, h_prev, c_prev):
        z = np.hstack([h_prev, x_t])
        i, f, g, o = np.split(z @ self.W + self.b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c_prev + i * g
        h = o * np.tanh(c)
        self.caches.append((z, i, f, g, o, c_prev, c))
        return h, c

    def backward(self, dh, dc):
        z, i, f, g, o, c_prev, c = self.caches.pop()
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        old = c if self.bug == "c" else c_prev
        da = [dc * g * i * (1 - i), dc * old * f * (1 - f), dc * i * (1 - g**2), dh * np.tanh(c) * o * (1 - o)]
        da = np.hstack(da)
        self.dW = z.T @ da + (0 if self.bug == "=" else self.dW)
        self.db = da.sum(0) + (0 if self.bug == "=" else self.db)
        dz = da @ self.W.T
        return dz[:, H:], dz[:, :H], dc if self.bug == "f" else dc * f


class Keeps(Cell):
    """The same, that keeps its states and what it carries back itself, and takes dy alone."""

    h = c = dh = dc = np.zeros((B, H))

    def forward(self, x):
        self.h, self.c = super().forward(x, self.h, self.c)
        return self.h

    def backward(self, dout):
        dx, self.dh, self.dc = super().backward(dout + self.dh, self.dc)
        return dx


class Apart(Cell):
    """The same, that takes dy and what is carried apart."""

    def backward(self, dout, dh_next, dc_next):
        dx, dh_prev, dc_prev = super().backward(dout + dh_next, dc_next)
        return dx, dh_prev, dc_prev


rng = np.random.default_rng(4)
X, DY = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))


def recorded(cell):
    h, c = (cell.h, cell.c) if isinstance(cell, Keeps) else rng.normal(size=(2, B, H))
    with lc.debug.record(cell) as seen:
        for x in X:
            if isinstance(cell, Keeps):
                cell.forward(x)
            else:
                h, c = cell.forward(x, h, c)
        dh = dc = np.zeros((B, H))
        for dy in DY[::-1]:
            if isinstance(cell, Keeps):
                cell.backward(dy)
            elif isinstance(cell, Apart):
                _, dh, dc = cell.backward(dy, dh, dc)
            else:
                _, dh, dc = cell.backward(dh + dy, dc)
    return seen


@pytest.mark.parametrize("kind", [Cell, Keeps, Apart])
def test_a_class(kind):
    seen = recorded(kind())
    answer = seen.diagnose()
    assert answer.ok, f"{answer}\n{seen}"
    assert answer.forward == "right"
    assert f"called {T} times" in str(seen)
    np.testing.assert_allclose(seen.found.dy, DY, rtol=1e-12)
    assert seen.found.x.shape == X.shape
    assert "forward" not in vars(seen._thing)  # nothing is left behind
    for bug, name in (("c", "c_t for c_{t-1} in the forget gate"), ("f", "the carry of dc forgets the forget gate")):
        assert name in recorded(kind(bug)).diagnose().names


def test_gradients_that_each_call_writes_anew_are_added_up():
    seen = recorded(Cell("="))
    assert seen.diagnose().ok
    assert "W        with its gradient dW, added up" in str(seen)
    seen.found = seen.found._replace(said=())  # it is no matter of what is printed
    assert "each call back gave W, b anew: added up here, as the loop around it has to" in str(seen.diagnose())


@pytest.mark.parametrize("bug", ["", "="])
@pytest.mark.parametrize("rows", [2, 9])
def test_whether_gradients_are_written_anew_is_tried(monkeypatch, rows, bug):
    """With as many rows as inputs and units one call's dW has full rank; a dy of zero leaves the first ones zero."""
    wide, late = np.random.default_rng(7), np.random.default_rng(8).normal(size=(T, rows, H))
    late[-2:] = 0
    monkeypatch.setitem(globals(), "B", rows)
    monkeypatch.setitem(globals(), "X", wide.normal(size=(T, rows, I)))
    for dy in (late, late + 1):
        monkeypatch.setitem(globals(), "DY", dy)
        seen = recorded(Cell(bug))
        assert seen.diagnose().ok, f"{seen.diagnose()}\n{seen}"
        assert ("added up" in str(seen)) == (bug == "=")


def test_results_that_nothing_tells_apart_are_asked_for():
    """As many inputs as units: what comes back for x and for h is alike, and neither has a name."""
    cell, g = Cell(), np.random.default_rng(6)
    cell.W = g.normal(0, 0.6, (2 * H, 4 * H))
    cell.dW = np.zeros_like(cell.W)
    h = c = dh = dc = np.zeros((B, H))
    x, dy = g.normal(size=(2, T, B, H))
    with lc.debug.record(cell) as seen:
        for x_t in x:
            h, c = cell.forward(x_t, h, c)
        for d in dy[::-1]:
            _, dh, dc = cell.backward(dh + d, dc)
    with pytest.raises(ValueError, match="dy"):
        seen.diagnose()


def forward_step(xt, a_prev, c_prev, parameters):
    """Columns are samples, a matrix per gate over [a; x]."""
    z = np.vstack([a_prev, xt])
    gate = {k: sigmoid(parameters["W" + k] @ z + parameters["b" + k]) for k in "fio"}
    cct = np.tanh(parameters["Wc"] @ z + parameters["bc"])
    c_next = gate["f"] * c_prev + gate["i"] * cct
    a_next = gate["o"] * np.tanh(c_next)
    return a_next, c_next, (z, gate, cct, c_prev, c_next, parameters)


def backward_step(da_next, dc_next, cache):
    z, gate, cct, c_prev, c_next, parameters = cache
    ds = dc_next + da_next * gate["o"] * (1 - np.tanh(c_next) ** 2)
    d = {"f": ds * c_prev, "i": ds * cct, "o": da_next * np.tanh(c_next)}
    d = {k: v * gate[k] * (1 - gate[k]) for k, v in d.items()} | {"c": ds * gate["i"] * (1 - cct**2)}
    grads = {f"dW{k}": v @ z.T for k, v in d.items()} | {f"db{k}": v.sum(1, keepdims=True) for k, v in d.items()}
    dz = sum(parameters["W" + k].T @ v for k, v in d.items())
    return {"dxt": dz[H:], "da_prev": dz[:H], "dc_prev": ds * gate["f"], **grads}


def test_two_functions():
    parameters = {"W" + k: rng.normal(0, 0.6, (H, H + I)) for k in "fico"}
    parameters |= {"b" + k: rng.normal(0, 0.3, (H, 1)) for k in "fico"}
    a = c = np.zeros((H, B))
    caches, da, dc = [], np.zeros((H, B)), np.zeros((H, B))
    with lc.debug.record((forward_step, backward_step)) as seen:
        for x in X:
            a, c, cache = seen.forward(x.T, a, c, parameters)
            caches.append(cache)
        for dy in DY[::-1]:
            back = seen.backward(dy.T + da, dc, caches.pop())
            da, dc = back["da_prev"], back["dc_prev"]
    answer = seen.diagnose()
    assert answer.ok, f"{answer}\n{seen}"
    assert answer.forward == "right"
    assert "da_next of each call, less the da_prev that the call before gave" in str(seen)
    assert {"Wf", "bo"} < {name.split(".")[-1] for name in seen.found.weights}
