"""A loss in place of dy: a program that keeps dy to itself, with a head and a loss of its own."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug import Case, diagnose_case, load_case, save_case

T, B, I, H, V = 5, 3, 4, 6, 5
FORGET = "c_t for c_{t-1} in the forget gate"


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def program(kind="cross-entropy", over="mean", lengths=None, final=False, bug=""):
    """An LSTM with a head, as many write it: what it saves, with neither dy nor y."""
    rng = np.random.default_rng(3)
    W, U, b = 0.6 * rng.standard_normal((4 * H, I)), 0.6 * rng.standard_normal((4 * H, H)), rng.standard_normal(4 * H)
    Wy, by = rng.standard_normal((V, H)), rng.standard_normal(V)
    x = rng.standard_normal((T, B, I))
    real = np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < np.array(lengths)
    h, c, tape = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        i, f, g, o = np.split(x[t] @ W.T + h @ U.T + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        m = real[t][:, None]
        new_c = np.where(m, f * c + i * g, c)
        new_h = np.where(m, o * np.tanh(new_c), h)
        tape.append((h, c, i, f, g, o, new_c, new_h))
        h, c = new_h, new_c
    hs = np.array([step[-1] for step in tape])
    out = hs[-1] if final else hs
    z = out @ Wy.T + by
    counted = np.ones(z.shape[:-1], bool) if final else real
    if kind == "cross-entropy":
        targets = rng.integers(V, size=z.shape[:-1])
        p = softmax(z)
        value = -np.log(np.take_along_axis(p, targets[..., None], -1))[..., 0][counted].sum()
        dz, n = p - np.eye(V)[targets], counted.sum()
    elif kind == "binary cross-entropy":
        targets = rng.integers(2, size=z.shape).astype(float)
        p = sigmoid(z)
        value = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))[counted].sum()
        dz, n = p - targets, counted.sum() * V
    else:
        targets = rng.standard_normal(z.shape)
        half = 2 if "half" in kind else 1
        value, dz, n = ((z - targets) ** 2)[counted].sum() / half, 2 * (z - targets) / half, counted.sum() * V
    n = {"mean": n, "sum": 1, "rows": B, "steps": T, "items": counted.sum()}[over]
    dz = np.where(counted[..., None], dz, 0) / n
    seen = {"late": np.concatenate([0 * out[:1], out[:-1]])}.get(bug, out)
    dWy, dby, dout = dz.reshape(-1, V).T @ seen.reshape(-1, H), dz.reshape(-1, V).sum(0), dz @ Wy
    if bug == "twice":
        dWy = 2 * dWy
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b)
    dh, dc = (dout if final else 0) + np.zeros((B, H)), np.zeros((B, H))
    for t in reversed(range(T)):
        h, c, i, f, g, o, new, _ = tape[t]
        m = real[t][:, None]
        dh = dh if final else dh + dout[t]
        dn = dc + dh * o * (1 - np.tanh(new) ** 2)
        a = [dn * g * i * (1 - i), dn * (new if bug == "forget" else c) * f * (1 - f), dn * i * (1 - g * g),
             dh * np.tanh(new) * o * (1 - o)]  # fmt: skip
        da = np.where(m, np.concatenate(a, axis=1), 0)
        dW, dU, db = dW + da.T @ x[t], dU + da.T @ h, db + da.sum(0)
        dh, dc = np.where(m, da @ U, dh), np.where(m, dn * f, dc)
    loss = {"kind": kind, "targets": targets, "over": over, "W": Wy, "b": by, "dW": dWy, "db": dby}
    weights, grads = {"W": W, "U": U, "b": b}, {"dW": dW, "dU": dU, "db": db}
    return weights, x, grads, loss, None if lengths is None else real, value / n, hs


@pytest.mark.parametrize(
    ("kind", "over", "lengths", "final"),
    [
        ("cross-entropy", "mean", None, False),
        ("cross-entropy", "sum", (5, 3, 2), False),
        ("cross-entropy", "mean", (5, 3, 2), True),
        ("squared error", "mean", (5, 3, 2), False),
        ("squared error", "rows", None, False),
        ("half squared error", "steps", None, True),
        ("half squared error", "items", (5, 3, 2), False),
        ("binary cross-entropy", "mean", None, False),
    ],
)
def test_right_gradients_of_a_loss_are_right(kind, over, lengths, final):
    """As they were computed, and with six digits; also with the value of the loss in place of a word."""
    over = "sum" if (final and over == "steps") else over
    weights, x, grads, loss, mask, value, _ = program(kind, over, lengths, final)
    answer = lc.debug.diagnose(weights, x, None, grads, loss=loss, mask=mask)
    assert answer.ok, str(answer)
    told = {name: a for name, a in loss.items() if name != "over"} | {"value": round(value, 4)}
    answer = lc.debug.diagnose(weights, x, None, grads, loss=told, mask=mask)
    assert answer.ok, str(answer)
    printed = {name: np.round(a, 6) for name, a in grads.items()}
    loss |= {"dW": np.round(loss["dW"], 6), "db": np.round(loss["db"], 6)}
    answer = lc.debug.diagnose(weights, x, None, printed, loss=loss, mask=mask)
    assert answer.ok, str(answer)


def test_a_mistake_in_the_loop_is_named():
    weights, x, grads, loss, mask, _, hs = program(lengths=(5, 3, 2), bug="forget")
    for more in ({}, {"y": np.where(mask[..., None], hs, 0)}):
        answer = lc.debug.diagnose(weights, x, None, grads, loss=loss, mask=mask, **more)
        assert answer.names == (FORGET,), str(answer)


@pytest.mark.parametrize(
    ("bug", "words"),
    [("twice", "the head's dW is 2 times the right one"), ("late", "the head's dW is made with h_{t-1}")],
)
def test_a_mistake_in_the_head_is_said(bug, words):
    weights, x, grads, loss, *_ = program(bug=bug)
    answer = lc.debug.diagnose(weights, x, None, grads, loss=loss)
    assert not answer.ok
    assert answer.names[-1].startswith(words)
    assert f"WRONG above the layer: {words}" in str(answer)
    assert "right: the largest relative error" in str(answer)


def test_another_divisor_is_a_factor():
    weights, x, grads, loss, *_ = program(over="sum")
    answer = lc.debug.diagnose(weights, x, None, grads, loss=loss | {"over": "rows"})
    assert any("3 times" in name for name in answer.names), str(answer)


def test_a_value_that_is_not_that_of_the_outputs_is_said():
    weights, x, grads, loss, *_ = program()
    answer = lc.debug.diagnose(weights, x, None, grads, loss=loss | {"value": 1e3})
    assert "the loss of these outputs is not 1000 but " in str(answer)


def test_batch_first_one_hot_and_turned(tmp_path):
    """In a file: axes as the program has them, one-hot targets, the head the other way round."""
    weights, x, grads, loss, *_ = program()
    loss |= {"targets": np.eye(V)[loss["targets"]].swapaxes(0, 1), "W": loss["W"].T, "dW": loss["dW"].T}
    case = Case(weights, x.swapaxes(0, 1), np.zeros(0), grads, {}, None, {}, loss=loss)
    save_case(tmp_path / "case.npz", case)
    again = load_case(tmp_path / "case.npz")
    assert again.loss["kind"] == "cross-entropy"
    answer = diagnose_case(again)
    assert answer.ok, str(answer)
    assert "x is (B, T, I)" in answer.notes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "hinge"}, "`loss['kind']` should be one of squared error, half squared error, cross-entropy, binary"),
        ({"over": "batch"}, "`loss['over']` should be one of mean, sum, rows, steps, items; got 'batch'"),
        ({"target": 1}, "`loss` should hold any of kind, targets, over, W, b, dW, db, value; got 'target'"),
        ({"targets": None}, "`loss` should hold kind and targets; got kind, over, W, b, dW, db"),
        ({"targets": ["a"]}, "`loss['targets']` should be an array of numbers; got <U1"),
        ({"targets": np.full((T, B), V)}, "of a cross-entropy should be classes, integers from 0 to 4; got 5 to 5"),
        ({"targets": np.zeros((T, B, V))}, "should be classes, or zeros and a single 1 for each item"),
        ({"W": np.zeros((V, H + 1))}, "`W` should|`loss['W']` should be (6, 5), or that transposed"),
        ({"W": np.zeros(V)}, "`loss['W']` should be (H, V) or (V, H); got (5,)"),
        ({"dW": np.zeros((2, 2))}, "`loss['dW']` should be (5, 6), as W is; got (2, 2)"),
        ({"db": np.zeros(2)}, "`loss['db']` should be (V,) = (5,); got (2,)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(change, complaint):
    weights, x, grads, loss, *_, hs = program()
    with pytest.raises((KeyError, TypeError, ValueError)) as caught:
        lc.debug.diagnose(weights, x, None, grads, loss=loss | change, y=hs)
    assert any(part in str(caught.value) for part in complaint.split("|")), caught.value


def test_dy_and_a_loss_are_one_too_many():
    weights, x, grads, loss, *_, hs = program()
    with pytest.raises(ValueError, match="`dy` or a `loss` should be given; got both"):
        lc.debug.diagnose(weights, x, hs, grads, loss=loss)
    with pytest.raises(ValueError, match="`dy` or a `loss` should be given; got neither"):
        lc.debug.diagnose(weights, x, None, grads)
