"""A whole LSTM in one file: forward, backpropagation through time, Adam, and a text to learn. NumPy, nothing else.

    python lstm_in_one_file.py [TEXT]        TEXT: any text file; without one it learns the derivation beside this file

The numbers in brackets are the equations of derivation.md, where each is derived; "undoes" names the forward line. The
names are those of that page: T steps, B rows, H units, V letters; `dname` is the gradient of the loss by `name`. This
file is held to the engine of lstmcore, number by number, by tests/test_one_file.py.
"""

import sys
from pathlib import Path

import numpy as np

T, B, H = 50, 16, 96  # steps of a batch, rows, units


def sigmoid(a):
    e = np.exp(-np.abs(a))  # never too large
    return np.where(a >= 0, 1, e) / (1 + e)


def forward(w, x, h, c):
    """Letters x (T, B) from the state h, c (B, H): logits (T, B, V), the last state, and what backward needs."""
    hs, cs, gates = [h], [c], []
    for x_t in x:
        a = w["W_ih"][x_t] + h @ w["W_hh"] + w["b"]  # (1) a row of W_ih is one-hot(x_t) @ W_ih: (58)      (B, 4H)
        a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)  # (2) (3) (4) (5)
        c = f * c + i * g  # (6)
        h = o * np.tanh(c)  # (7)
        hs.append(h)
        cs.append(c)
        gates.append((i, f, g, o))
    return np.array(hs[1:]) @ w["W"] + w["b_out"], (h, c), (x, hs, cs, gates)  # (50) one head for all steps


def loss_of(logits, target):
    """The mean cross-entropy of target (T, B), and its gradient by the logits (T, B, V)."""
    l = logits - logits.max(axis=-1, keepdims=True)
    p = np.exp(l) / np.exp(l).sum(axis=-1, keepdims=True)  # (60)
    onehot = np.eye(l.shape[-1])[target]
    loss = np.mean(np.log(np.exp(l).sum(axis=-1)) - (l * onehot).sum(axis=-1))  # (61)
    return loss, (p - onehot) / target.size  # (62) undoes (61)


def backward(w, dlogits, cache):
    """The gradient of every weight. Each line undoes one line of forward, the last one first."""
    x, hs, cs, gates = cache
    d = {name: np.zeros_like(value) for name, value in w.items()}
    d["b_out"] = dlogits.sum(axis=(0, 1))  # (51) undoes (50)
    d["W"] = np.einsum("tbh,tbv->hv", np.array(hs[1:]), dlogits)  # (52)
    dy = dlogits @ w["W"].T  # (53)  (T, B, H)
    dh, dc = np.zeros_like(hs[0]), np.zeros_like(cs[0])  # nothing comes from beyond the last step
    for t in reversed(range(len(x))):
        i, f, g, o = gates[t]
        dh = dh + dy[t]  # (43) h_t is output and state: its two gradients add up
        dc = dc + dh * o * (1 - np.tanh(cs[t + 1]) ** 2)  # (8) undoes (7)
        do = dh * np.tanh(cs[t + 1])  # (9) undoes (7)
        dg, di, df = dc * i, dc * g, dc * cs[t]  # (10) (11) (13) undo (6): cs[t] is the state before the step
        da_o, da_g = do * o * (1 - o), dg * (1 - g * g)  # (14) (15) undo (5) (4)
        da_f, da_i = df * f * (1 - f), di * i * (1 - i)  # (16) (17) undo (3) (2)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)  # (B, 4H)
        d["b"] += da.sum(axis=0)  # (19) undoes (1); the same weights at every step: their gradients add up
        d["W_hh"] += hs[t].T @ da  # (20)
        np.add.at(d["W_ih"], x[t], da)  # (21), which for one-hot rows is (59)
        dc, dh = dc * f, da @ w["W_hh"].T  # (12) undoes (6), (18) undoes (1): the two ways back to the step before
    return d


def adam(w, d, memory, step, lr=0.005):
    """Kingma & Ba 2015, algorithm 1: in place. step counts from 1; memory holds two running means of each weight."""
    for name in w:
        mean, square = memory.get(name, (0, 0))
        mean, square = 0.9 * mean + 0.1 * d[name], 0.999 * square + 0.001 * d[name] ** 2
        memory[name] = mean, square
        w[name] -= lr * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)


def clip(d, limit=1.0):
    """Scales all gradients together, so that their common norm is at most the limit (Pascanu et al. 2013)."""
    norm = np.sqrt(sum((g**2).sum() for g in d.values()))
    for g in d.values():
        g *= min(1, limit / norm)


def start(V, rng):
    w = {"W_ih": rng.normal(size=(V, 4 * H)) * 0.1, "W_hh": rng.normal(size=(H, 4 * H)) / np.sqrt(H)}
    w |= {"b": np.repeat([0.0, 1, 0, 0], H), "W": rng.normal(size=(H, V)) * 0.1, "b_out": np.zeros(V)}
    return w  # the forget gate begins open: b_f = 1


def train(text, updates=300, tell=print):
    """Learns the next letter, T letters at a time; the state goes on from batch to batch, the gradient does not."""
    letters, index = np.unique(list(text), return_inverse=True)
    rows = index[: index.size // B * B].reshape(B, -1).T  # (all steps, B): B places in the text, read side by side
    w, memory = start(letters.size, np.random.default_rng(0)), {}
    h = c = np.zeros((B, H))
    for step in range(1, updates + 1):
        at = (step - 1) * T % (len(rows) - T)
        logits, (h, c), cache = forward(w, rows[at : at + T], h, c)
        loss, dlogits = loss_of(logits, rows[at + 1 : at + T + 1])
        d = backward(w, dlogits, cache)
        clip(d)
        adam(w, d, memory, step)
        if step % 50 == 0 or step == 1:
            tell(f"update {step:4}: {loss:.3f} nats a letter (a blind guess: {np.log(letters.size):.3f})")
    return w, letters


if __name__ == "__main__":
    train(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("derivation.md")).read_text("utf-8"))
