"""Arrays as people hand them over: each is read, said in the notes, and right gradients of it are right."""

import importlib
from collections import Counter

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.diagnose.read_case import readings
from lstmcore.debug.mistakes import MISTAKES, mutant
from lstmcore.interop import Layout, from_lstmcore
from lstmcore.interop.layouts import Part

T, B, I, H = 5, 2, 3, 4
LSTM = lc.LSTM(I, H, dtype="float64", seed=0)
rng = np.random.default_rng(1)
X, DY = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
Y, _, CACHE = LSTM.forward(X)
DX, _, GRADS = LSTM.backward(DY, CACHE)
WEIGHTS = dict(LSTM.params)
NAMELESS = {"Bm": "W_hh", "A": "W_ih", "s": "b"}


def parted(arrays, order="ifgo", rows="hx"):
    """A matrix and a bias per gate, over [h, x] or [x, h], or both by themselves."""
    blocks = {name: dict(zip("ifgo", np.split(a, 4, axis=-1))) for name, a in arrays.items()}
    found = {}
    for gate, theirs in zip("ifgo", order):
        W_ih, W_hh, b = (blocks[name][gate] for name in ("W_ih", "W_hh", "b"))
        if rows == "apart":
            found |= {f"W{theirs}": W_ih.T, f"U{theirs}": W_hh.T, f"b{theirs}": b[:, None]}
        else:
            both = (W_hh, W_ih) if rows == "hx" else (W_ih, W_hh)
            found |= {f"W{theirs}": np.concatenate(both).T, f"b{theirs}": b[:, None]}
    return found


@pytest.mark.parametrize("rows", ["hx", "xh", "apart"])
def test_a_matrix_per_gate(rows):
    """Wi Wf Wc Wo, biases as columns; layout "gates" says no more than the names do."""
    weights, grads = (parted(a, "ifco", rows) for a in (WEIGHTS, GRADS))
    grads = {f"d{name}": g for name, g in grads.items()}
    for layout in ("lstmcore", "gates"):
        answer = lc.debug.diagnose(weights, X, DY, grads, y=Y, layout=layout)
        assert answer.ok, str(answer)
    if rows == "hx":
        answer = lc.debug.diagnose(weights, X, DY, grads | {"dbf": grads["dbi"]}, y=Y)
        assert "db: gate f holds a copy of gate i" in answer.names, str(answer)


def test_batch_first():
    x, dy, y, dx = (a.swapaxes(0, 1) for a in (X, DY, Y, DX))
    answer = lc.debug.diagnose(WEIGHTS, x, dy, GRADS | {"x": dx}, y=y)
    assert answer.ok, str(answer)
    assert {"x is (B, T, I)", "dy is (B, T, H)"} <= set(answer.notes)


def test_matrices_the_other_way_round_and_a_bias_as_a_column():
    weights, grads = ({k: a.T if a.ndim == 2 else a[:, None] for k, a in arrays.items()} for arrays in (WEIGHTS, GRADS))
    answer = lc.debug.diagnose(weights, X, DY, grads, y=Y)
    assert answer.ok, str(answer)
    assert "matrices are (out, in)" in answer.notes


def test_pytorch_is_torch():
    weights = from_lstmcore(WEIGHTS, "torch")
    grads = from_lstmcore(GRADS, "torch", gradients=True)
    assert lc.debug.diagnose(weights, X, DY, grads, layout="pytorch").ok


def test_an_order_of_gates_that_no_name_tells_is_proved_by_the_outputs():
    order = [3, 0, 2, 1]  # o i g f
    weights, grads = (
        {name: np.concatenate([np.split(arrays[k], 4, -1)[n] for n in order], -1) for k, name in zip(arrays, "WUb")}
        for arrays in (WEIGHTS, GRADS)
    )
    answer = lc.debug.diagnose(weights, X, DY, grads, y=Y)
    assert answer.ok, str(answer)
    assert any("o i g f" in note for note in answer.notes)


def test_a_layout_of_ones_own():
    parts = (Part("kernel", "x", "ofig", out_first=True), Part("again", "h", "ofig"), Part("shift", "b", "ofig"))
    layout = Layout("a page in a drawer", {"lstm": parts})
    weights = from_lstmcore(WEIGHTS, layout)
    answer = lc.debug.diagnose(weights, X, DY, from_lstmcore(GRADS, layout, gradients=True), y=Y, layout=layout)
    assert answer.ok, str(answer)


def test_square_matrices_leave_a_question_not_a_wrong_verdict():
    """I = H, one matrix per gate over [h, x] or [x, h]: the outputs tell, and without them the gradients."""
    lstm = lc.LSTM(H, H, dtype="float64", seed=2)
    x = rng.standard_normal((T, B, H))
    y, _, cache = lstm.forward(x)
    _, _, right = lstm.backward(DY, cache)
    for rows in ("hx", "xh"):
        weights, grads = (parted(a, "ifco", rows) for a in (dict(lstm.params), right))
        for seen in (y, None):
            answer = lc.debug.diagnose(weights, x, DY, grads, y=seen)
            assert answer.ok, f"{rows}: {answer}"
            assert f"matrices over [{', '.join(rows)}]" in answer.notes


def nameless_gru(T, B, H, *mistakes):
    """Weights, x, dy, gradients and y, the recurrent matrix first, the blocks not in r z n; I = H."""
    order, of_h = "rnz", "rmz"
    parts = (Part("Bm", "h", of_h, out_first=True), Part("A", "x", order, out_first=True))
    layout = Layout("no words", {"gru": (*parts, Part("b1", "b", order), Part("b2", "b", of_h))})
    draw = np.random.default_rng(6).standard_normal
    gru, x, dy = lc.GRU(H, H, dtype="float64", seed=3, engine="reference"), draw((T, B, H)), draw((T, B, H))
    zeros = {"h0": np.zeros((B, H))}
    found = mutant(*mistakes).run(gru, dict(gru.params), x, None, zeros, dy, zeros)
    grads = from_lstmcore({name: found[name] for name in gru.params}, layout, "gru", gradients=True)
    return from_lstmcore(dict(gru.params), layout, "gru"), x, dy, grads, gru.predict(x)[0]


def test_a_gru_whose_recurrent_matrix_comes_first_under_names_that_tell_nothing():
    """I = H, and the blocks not in r z n: the outputs tell which matrix meets x, and without them the gradients."""
    weights, x, dy, grads, y = nameless_gru(T, B, H)
    for seen in (y, None):
        answer = lc.debug.diagnose(weights, x, dy, grads, y=seen)
        assert answer.ok, str(answer)
        assert "gate blocks in the order r n z, A is what meets x" in answer.notes


def test_what_many_readings_share_is_found_once(monkeypatch):
    """T = B = I = H: both x and dy in six orders of axes, and each of these with 24 ways to read the weights."""
    counts = Counter()

    def counted(file, name):
        module = importlib.import_module(f"lstmcore.debug.diagnose.{file}")
        inner = getattr(module, name)

        def call(*args):
            counts[name] += 1
            return inner(*args)

        monkeypatch.setattr(module, name, call)

    counted("precision", "_format")
    counted("read_case", "_told_apart")
    weights, x, dy, grads, y = nameless_gru(4, 4, 4)
    assert len(readings(weights, x, dy, grads, y=y)) == 24 * 36
    assert counts == {"_told_apart": 24, "_format": 7}  # four gradients, all of them, y, and all of these
    assert lc.debug.diagnose(weights, x, dy, grads).ok


@pytest.mark.parametrize("key", ["A", "Bm"])
def test_a_wrong_gradient_of_a_gru_that_nothing_tells_apart(key):
    """Without outputs the way to read it is that whose gradients are nearest: here most are right in it."""
    weights, x, dy, grads, _ = nameless_gru(T, 3, H)
    answer = lc.debug.diagnose(weights, x, dy, grads | {key: 2 * grads[key]})
    assert answer.names == (f"dW_{'ih' if key == 'A' else 'hh'} is counted twice",)
    assert answer.where.arrays == (key,)
    assert "gate blocks in the order r n z, A is what meets x" in answer.notes


@pytest.mark.parametrize("name", ["z is left out of the direct path to h_{t-1}", "h_{t-1} is left out of dz"])
def test_a_mistake_in_the_loop_of_a_gru_that_nothing_tells_apart(name):
    """No gradient is right, and in one way to read it they are nearest all the same."""
    weights, x, dy, grads, _ = nameless_gru(T, 3, H, next(m for m in MISTAKES if m.name == f"GRU: {name}"))
    answer = lc.debug.diagnose(weights, x, dy, grads)
    assert answer.names == (f"GRU: {name}",)
    assert "gate blocks in the order r n z, A is what meets x" in answer.notes


def test_what_nobody_knows_in_a_gru_that_resets_before_the_product_is_placed():
    """Its W_hn stands apart, so W_ih and W_hh are not equally wide."""
    gru = lc.GRU(I, H, reset="before", dtype="float64", seed=5)
    y, _, cache = gru.forward(X)
    weights, grads = (
        {"W": of["W_ih"], "U": np.concatenate([of["W_hh"], of["W_hn"]], axis=1), "b": of["b"]}
        for of in (gru.params, gru.backward(DY, cache)[2])
    )
    grads["U"] = grads["U"] + rng.standard_normal(grads["U"].shape)
    answer = lc.debug.diagnose(weights, X, DY, grads, y=y, search=False)
    assert answer.place.arrays == ("U",), str(answer)


def test_layers_of_which_one_tells_what_meets_x():
    """Two layers, the recurrent matrix first; in the upper one, where I = H, the shapes do not tell which it is."""
    layers = [lc.LSTM(n, H, dtype="float64", seed=4) for n in (I, H)]
    h, _, below = layers[0].forward(X)
    y, _, above = layers[1].forward(h)
    dh, _, second = layers[1].backward(DY, above)
    both = (layers[0].backward(dh, below)[2], second)
    weights, grads = (
        {f"layer{k}.{name}": of[key] for k, of in enumerate(arrays) for name, key in NAMELESS.items()}
        for arrays in ([dict(layer.params) for layer in layers], both)
    )
    answer = lc.debug.diagnose(weights, X, DY, grads, y=y)
    assert answer.ok, str(answer)


def test_states_and_masks_are_turned_as_x_and_dy_are():
    """Samples as columns, states (H, B) with them; and dropout masks batch first, as x and dy are."""
    h0, c0 = (rng.standard_normal((B, H)) for _ in "hc")
    y, _, cache = LSTM.forward(X, (h0, c0))
    dx, (dh0, dc0), grads = LSTM.backward(DY, cache)
    names = {"W_ih": "W", "W_hh": "U", "b": "b"}
    weights, theirs = ({names[k]: a for k, a in arrays.items()} for arrays in (WEIGHTS, grads))
    theirs |= {"x": dx.swapaxes(1, 2), "h0": dh0.T, "c0": dc0.T}
    x, dy, y = (a.swapaxes(1, 2) for a in (X, DY, y))
    answer = lc.debug.diagnose(weights, x, dy, theirs, state=(h0.T, c0.T), y=y)
    assert answer.ok, str(answer)

    mask = (rng.random((T, B, H)) < 0.7) / 0.7
    _, _, grads = LSTM.backward(DY * mask, CACHE)
    dropout = {"y": mask.swapaxes(0, 1)}
    answer = lc.debug.diagnose(WEIGHTS, X.swapaxes(0, 1), DY.swapaxes(0, 1), grads, dropout=dropout, y=Y.swapaxes(0, 1))
    assert answer.ok, str(answer)
