"""Other people's programs, in other styles, with mistakes of their own: nothing of them comes from lstmcore's text."""

import numpy as np
import pytest

import lstmcore as lc

T, B, I, H = 6, 3, 3, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def numbers(seed):
    rng = np.random.default_rng(seed)
    return lambda *shape: (0.7 * rng.standard_normal(shape)).astype("float32")


def concatenated(bug=""):
    """TensorFlow 1: batch first, one kernel for [x, h], blocks i j f o, a forget bias added at run time."""
    draw = numbers(1)
    kernel, bias, x, dy = draw(I + H, 4 * H), draw(4 * H), draw(B, T, I), draw(B, T, H)
    h = c = np.zeros((B, H), "float32")
    tape = []
    for t in range(T):
        xh = np.concatenate([x[:, t], h], axis=1)
        i, j, f, o = np.split(xh @ kernel + bias, 4, axis=1)
        i, j, f, o = sigmoid(i), np.tanh(j), sigmoid(f + (bug != "no forget bias")), sigmoid(o)
        new = c * f + i * j
        if bug == "cell clip":
            new = np.clip(new, -0.5, 0.5)
        tape.append((xh, i, j, f, o, c, new))
        h, c = o * np.tanh(new), new
    dkernel, dbias, dx = np.zeros_like(kernel), np.zeros_like(bias), np.zeros_like(x)
    dh = dc = np.zeros((B, H), "float32")
    for t in reversed(range(T)):
        xh, i, j, f, o, c, new = tape[t]
        dh = dh + dy[:, t]
        dnew = dh * o * (1 - np.tanh(new) ** 2) + (0 if bug == "dc overwritten" else dc)
        da = np.concatenate(
            [dnew * j * i * (1 - i), dnew * i * (1 - j**2), dnew * c * f * (1 - f), dh * np.tanh(new) * o * (1 - o)],
            axis=1,
        )
        dkernel += xh.T @ da
        dbias += da.sum(axis=0)
        dxh = da @ kernel.T
        dx[:, t], dh, dc = dxh[:, :I], dxh[:, I:], dnew * f
    if bug == "mean over the batch":
        dkernel, dbias = dkernel / B, dbias / B
    grads = {"kernel": dkernel, "bias": dbias, "x": dx.swapaxes(0, 1)}
    return {"kernel": kernel, "bias": bias}, x.swapaxes(0, 1), dy.swapaxes(0, 1), grads, "tf1"


def columns(bug=""):
    """A textbook: one sample at a time, column vectors, a matrix per gate for [h; x]."""
    draw = numbers(2)
    W, b = {k: draw(H, H + I) for k in "figo"}, {k: draw(H, 1) for k in "figo"}
    x, dy = draw(T, B, I), draw(T, B, H)
    dW, db, dx = {k: np.zeros_like(W[k]) for k in W}, {k: np.zeros_like(b[k]) for k in b}, np.zeros_like(x)
    for n in range(B):
        h = c = np.zeros((H, 1), "float32")
        tape = []
        for t in range(T):
            z = np.vstack([h, x[t, n][:, None]])
            a = {k: (np.tanh if k == "g" else sigmoid)(W[k] @ z + b[k]) for k in W}
            new = a["f"] * c + a["i"] * a["g"]
            tape.append((z, a, c, new))
            h, c = a["o"] * np.tanh(new), new
        dh_next = dc_next = np.zeros((H, 1), "float32")
        for t in reversed(range(T)):
            z, a, c, new = tape[t]
            dh = dh_next + dy[t, n][:, None]
            if bug == "dh overwritten":
                dh = dy[t, n][:, None]
            shown = np.tanh(np.tanh(new)) if bug == "tanh of tanh" else np.tanh(new)
            dc = dc_next + dh * a["o"] * (1 - shown**2)
            d = {
                "o": dh * np.tanh(new) * a["o"] * (1 - a["o"]),
                "g": dc * a["i"] * (1 - a["g"] ** 2),
                "i": dc * a["g"] * a["i"] * (1 - a["i"]),
                "f": dc * (new if bug == "new cell" else c) * a["f"] * (1 - a["f"]),
            }
            for k in d:
                dW[k] += d[k] @ z.T
                db[k] += d[k]
            dz = sum(W[k].T @ d[k] for k in ("fig" if bug == "a gate is forgotten" else "figo"))
            dh_next, dx[t, n] = dz[:H], dz[H:, 0]
            dc_next = dc if bug == "no forget gate" else a["f"] * dc

    def joined(W, b):
        rows = {"W_ih": slice(H, None), "W_hh": slice(0, H)}
        matrices = {name: np.concatenate([W[k].T[r] for k in "ifgo"], axis=1) for name, r in rows.items()}
        return matrices | {"b": np.concatenate([b[k][:, 0] for k in "ifgo"])}

    return joined(W, b), x, dy, joined(dW, db) | {"x": dx}, "lstmcore"


BUGS = [
    (concatenated, "no forget bias", "the forget bias of 1 is not added"),
    (concatenated, "cell clip", "the cell state, going forward, is clipped to 0.5"),
    (concatenated, "dc overwritten", "what came along c is dropped"),
    (concatenated, "mean over the batch", "the gradients of weights and biases, not dx, are averaged over the batch"),
    (columns, "dh overwritten", "the carry of dh is dropped"),
    (columns, "tanh of tanh", "tanh(tanh(c)) in tanh' only"),
    (columns, "new cell", "c_t for c_{t-1} in the forget gate"),
    (columns, "a gate is forgotten", "dh_{t-1} and dx miss what comes through the output gate"),
    (columns, "no forget gate", "the carry of dc forgets the forget gate"),
]


@pytest.mark.parametrize("program", [concatenated, columns])
def test_right_programs_are_right(program):
    weights, x, dy, grads, layout = program()
    answer = lc.debug.diagnose(weights, x, dy, grads, layout=layout)
    assert answer.ok, str(answer)


@pytest.mark.parametrize(("program", "bug", "name"), BUGS)
def test_their_mistakes_are_named(program, bug, name):
    weights, x, dy, grads, layout = program(bug)
    answer = lc.debug.diagnose(weights, x, dy, grads, layout=layout)
    assert not answer.ok
    assert name in answer.names, str(answer)
