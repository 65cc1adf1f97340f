"""Classes and modules that know nothing of lstmcore: what is found in them, and what is said of it."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.diagnose.forward import Forward
from lstmcore.debug.record.names import gradient_of

T, B, I, H = 5, 2, 3, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Fused:
    """Batch rows, fused weights, gradients as attributes; `squash` of the candidate."""

    def __init__(self, squash=np.tanh, slope=lambda g: 1 - g * g, bug=""):
        rng = np.random.default_rng(0)
        self.Wx, self.Wh, self.b = rng.normal(size=(I, 4 * H)), rng.normal(size=(H, 4 * H)), rng.normal(size=4 * H)
        self.mWx = np.zeros_like(self.Wx)  # an optimizer's
        self.squash, self.slope, self.bug, self.lr = squash, slope, bug, 0.1

    def forward(self, x):
        h = c = np.zeros((x.shape[1], H))
        self.tape, hs = [], []
        for t in range(len(x)):
            i, f, g, o = np.split(x[t] @ self.Wx + h @ self.Wh + self.b, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), self.squash(g), sigmoid(o)
            new = f * c + i * g
            self.tape.append((x[t], h, c, i, f, g, o, new))
            h, c = o * np.tanh(new), new
            hs.append(h)
        return np.array(hs)

    def backward(self, dout):
        self.dWx, self.dWh, self.db = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.b)
        dx, dh, dc = [], 0, 0
        for t in reversed(range(len(dout))):
            x, h, c, i, f, g, o, new = self.tape[t]
            dh = dh + dout[t]
            dn = dc + dh * o * (1 - np.tanh(new) ** 2)
            df = dn * (new if self.bug else c)
            da = np.concatenate(
                [dn * g * i * (1 - i), df * f * (1 - f), dn * i * self.slope(g), dh * np.tanh(new) * o * (1 - o)],
                axis=1,
            )
            self.dWx += x.T @ da
            self.dWh += h.T @ da
            self.db += da.sum(axis=0)
            dh, dc = da @ self.Wh.T, dn * f
            dx.append(da @ self.Wx.T)
        self.Wx -= self.lr * self.dWx  # it learns before anybody looks
        return np.array(dx[::-1])


class PerGate:
    """One sample, column vectors, a matrix per gate in a dict; gradients come back as a tuple."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.params = {f"W_{k}": rng.normal(size=(H, H + I)) for k in "fico"}
        self.params |= {f"b_{k}": rng.normal(size=(H, 1)) for k in "fico"}

    def fprop(self, xs):
        h = c = np.zeros((H, 1))
        self.kept, out = {}, []
        for t, x in enumerate(xs):
            z = np.vstack((h, x))
            a = {
                k: (np.tanh if k == "c" else sigmoid)(self.params[f"W_{k}"] @ z + self.params[f"b_{k}"]) for k in "fico"
            }
            new = a["f"] * c + a["i"] * a["c"]
            self.kept[t] = (z, a, c, new)
            h, c = a["o"] * np.tanh(new), new
            out.append(h)
        return out, c

    def bprop(self, dhs):
        grads = {name: np.zeros_like(p) for name, p in self.params.items()}
        dxs, dh_next, dc_next = [None] * len(dhs), 0, 0
        for t in reversed(range(len(dhs))):
            z, a, c, new = self.kept[t]
            dh = dhs[t] + dh_next
            dc = dc_next + dh * a["o"] * (1 - np.tanh(new) ** 2)
            d = {
                "o": dh * np.tanh(new) * a["o"] * (1 - a["o"]),
                "c": dc * a["i"] * (1 - a["c"] ** 2),
                "i": dc * a["c"] * a["i"] * (1 - a["i"]),
                "f": dc * c * a["f"] * (1 - a["f"]),
            }
            for k in d:
                grads[f"W_{k}"] += d[k] @ z.T
                grads[f"b_{k}"] += d[k]
            dz = sum(self.params[f"W_{k}"].T @ d[k] for k in d)
            dh_next, dxs[t], dc_next = dz[:H], dz[H:], dc * a["f"]
        return grads, dxs


rng = np.random.default_rng(5)
X, DY = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))


def seen_of(net, x=X, dy=DY):
    with lc.debug.record(net) as seen:
        net.forward(x)
        net.backward(dy)
    return seen


def test_a_class_with_attributes():
    seen = seen_of(Fused())
    answer = seen.diagnose()
    assert answer.ok, str(answer)
    assert answer.forward == "right"
    assert set(seen.found.weights) == {"Wx", "Wh", "b"}
    assert set(seen.found.grads) == {"Wx", "Wh", "b", "x"}
    assert "not used: mWx" in str(seen)
    assert seen_of(Fused(bug="c")).diagnose().names == ("c_t for c_{t-1} in the forget gate",)


def test_the_case_holds_the_outputs(tmp_path):
    """So the file says as much of the forward pass as the record does."""
    for bug in ("", "c"):
        seen = seen_of(Fused(bug=bug))
        lc.debug.save_case(tmp_path / "case.npz", seen.case())
        answer = lc.debug.diagnose_case(lc.debug.load_case(tmp_path / "case.npz"), search=False)
        assert (answer.ok, answer.forward) == (not bug, "right")


def test_columns_and_a_matrix_per_gate():
    net = PerGate()
    with lc.debug.record(net) as seen:
        net.fprop(list(X[:, 0, :, None]))
        net.bprop(list(DY[:, 0, :, None]))
    answer = seen.diagnose()
    assert answer.ok, f"{answer}\n{seen}"
    assert answer.forward == "right"
    assert "x" in seen.found.grads


def test_another_forward_is_judged_by_itself(monkeypatch):
    """x/(1 + |x|) in place of tanh is nothing known; the gradients are held to the program's own forward."""

    monkeypatch.setattr(Forward, "found", lambda *_: None)  # no long search for what is not known

    def soft(a):
        return a / (1 + abs(a))

    answer = seen_of(Fused(soft, lambda g: (1 - abs(g)) ** 2)).diagnose()
    assert not answer.ok
    assert "your forward leaves this function at step 0" in answer.forward
    assert "the gradients are right for it, by central differences" in str(answer)
    wrong = seen_of(Fused(soft, lambda g: 1 - g * g))
    assert "the gradients are wrong for it too, by central differences" in wrong.found.own()


def twice(net):
    with lc.debug.record(net):
        net.forward(X)
        net.backward(np.zeros_like(net.forward(X)))


def test_what_cannot_be_found_is_said():
    class Silent:
        def forward(self, x):
            return x

        def backward(self, dy):
            return dy

    with pytest.raises(TypeError, match="an object with methods forward and backward; got dict with clear"):
        lc.debug.record({}).__enter__()
    with pytest.raises(RuntimeError, match="no gradients of weights were found after backward"):
        seen_of(Silent())
    net = Fused()
    with pytest.raises(RuntimeError, match="backward was not called inside the with block"), lc.debug.record(net):
        net.forward(X)
    with pytest.raises(RuntimeError, match="forward was called 2 times: record one call over all steps"):
        twice(net)
    assert "forward" not in vars(net)  # nothing is left behind
    with lc.debug.record(net) as seen:
        net.forward(X)
        net.backward([DY[t] for t in range(T)])
    assert seen.diagnose().ok
    with pytest.raises(ValueError, match=r"dy could not be found: hand it to seen.diagnose\(dy=...\), or the loss"):
        seen.diagnose(dy=None)


def test_a_class_over_tensors(torch):
    """torch used as NumPy is: the truth of its own forward comes by autograd."""

    class Rnn:
        def __init__(self, bug):
            self.Wxh, self.Whh, self.bh = (torch.randn(s, dtype=torch.float64) for s in ((I, H), (H, H), (H,)))
            self.bug = bug

        def forward(self, x):
            self.x, self.h = x, [x.new_zeros(B, H)]
            for x_t in x:
                self.h.append(torch.relu(x_t @ self.Wxh + self.h[-1] @ self.Whh + self.bh) ** 2)
            return torch.stack(self.h[1:])

        def backward(self, dh):
            dWxh, dWhh, dbh, d = 0 * self.Wxh, 0 * self.Whh, 0 * self.bh, 0
            for t in reversed(range(T)):
                a = self.x[t] @ self.Wxh + self.h[t] @ self.Whh + self.bh
                da = (dh[t] + d) * (1 if self.bug else 2) * torch.relu(a)
                dWxh, dWhh, dbh = dWxh + self.x[t].T @ da, dWhh + self.h[t].T @ da, dbh + da.sum(0)
                d = da @ self.Whh.T
            return {"dWxh": dWxh, "dWhh": dWhh, "dbh": dbh}

    torch.manual_seed(0)
    for bug, words in ((False, "are right for it, by autograd"), (True, "are wrong for it too, by autograd")):
        seen = seen_of(Rnn(bug), 0.1 * torch.as_tensor(X), torch.as_tensor(DY))
        assert words in seen.found.own()


def test_a_head_by_the_names_of_its_weights():
    """A loss in place of dy, its head among the weights that were found."""

    class Whole(Fused):
        def __init__(self):
            super().__init__()
            self.Wy, self.by = rng.normal(size=(H, 2)), np.zeros(2)

        def backward(self, targets):
            hs = np.array([step[6] * np.tanh(step[7]) for step in self.tape])
            dz = 2 * (hs @ self.Wy + self.by - targets) / targets.size
            self.dWy, self.dby = np.einsum("tbh,tbv->hv", hs, dz), dz.sum((0, 1))
            return super().backward(dz @ self.Wy.T)

    targets = rng.normal(size=(T, B, 2))
    seen = seen_of(Whole(), X, targets)
    loss = {"kind": "mse", "targets": targets, "W": "Wy", "b": "by"}
    answer = seen.diagnose(loss=loss)
    assert answer.ok, f"{answer}\n{seen}"
    with pytest.raises(KeyError, match=r"`loss\['W'\]` should be one of the weights, Wx, Wh, b, Wy, by; got 'V'"):
        seen.diagnose(loss=loss | {"W": "V"})


SHELF = Path(__file__).parents[1] / "strangers" / "shelf.py"


class OverTime:
    """Weights and gradients in lists, a cell for every step: what books in this style call TimeLSTM."""

    def __init__(self, cell, *params):
        self.cell, self.params, self.grads = cell, list(params), [np.zeros_like(p) for p in params]

    def forward(self, xs):
        self.h = self.c = np.zeros((len(xs), self.params[1].shape[0]))
        self.layers, hs = [], []
        for t in range(xs.shape[1]):
            self.layers.append(self.cell(*self.params))
            self.h, self.c = self.layers[-1].forward(xs[:, t], self.h, self.c)
            hs.append(self.h)
        return np.stack(hs, 1)

    def backward(self, dhs):
        dh, dc, dxs = 0, 0, []
        for t in reversed(range(dhs.shape[1])):
            dx, dh, dc = self.layers[t].backward(dhs[:, t] + dh, dc)
            dxs.insert(0, dx)
            for kept, grad in zip(self.grads, self.layers[t].grads):
                kept += grad
        return np.stack(dxs, 1)


@pytest.mark.parametrize("I", [3, 4])
def test_lists_of_weights_and_gradients(I):
    """Their names are numbers: they tell neither what a weight is nor, where I = H = 4, which of two meets h."""
    cell = runpy.run_path(str(SHELF))["LSTM"]
    rng = np.random.default_rng(I)
    net = OverTime(cell, rng.normal(size=(I, 16)), rng.normal(size=(4, 16)), rng.normal(size=16))
    x, dy = rng.normal(size=(2, 5, I)), rng.normal(size=(2, 5, 4))
    with lc.debug.record(net) as seen:
        net.forward(x)
        net.backward(dy)
    answer = seen.diagnose()
    assert answer.ok, str(answer)
    assert "gate blocks read in the order f g i o" in answer.notes


def test_a_gradient_is_not_the_weight_of_a_name_like_its_own():
    weights = {"reader.W": np.zeros(2), "writer.W": np.zeros(2)}
    assert gradient_of("reader.W", weights) is None
    assert gradient_of("W", {"params.W": np.zeros(2)}, result=True) == "params.W"
    assert gradient_of("reader.dW", weights) == "reader.W"
    assert gradient_of("grads.W", {"W": np.zeros(2)}) == "W"
