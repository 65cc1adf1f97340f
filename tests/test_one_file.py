"""docs/lstm_in_one_file.py is the engine, written once more: the same numbers, and it learns."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc

FILE = Path(__file__).parents[1] / "docs" / "lstm_in_one_file.py"


@pytest.fixture
def one(monkeypatch):
    """The file as a module, smaller."""
    spec = importlib.util.spec_from_file_location("lstm_in_one_file", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, size in {"T": 20, "B": 8, "H": 32}.items():
        monkeypatch.setattr(module, name, size)
    return module


def test_it_is_short_and_stands_alone():
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert not [line for line in lines if "import" in line and "lstmcore" in line]


def test_its_numbers_are_those_of_the_engine(one):
    """Outputs, loss, all gradients, clipping and two updates of Adam, in float64.

    No number comes out of more than some thousand operations on numbers of size 1 (20 steps of 32 terms), which round
    by half an eps each: 2^14 eps (4e-12) of the largest entry is room enough, and no wrong term fits in.
    """
    V, rng = 7, np.random.default_rng(1)
    w = one.start(V, rng)
    x, targets = rng.integers(0, V, (one.T, one.B)), rng.integers(0, V, (one.T, one.B))
    h0, c0 = rng.normal(size=(2, one.B, one.H)) / 2
    lstm, head = lc.LSTM(V, one.H, dtype="float64", engine="reference"), lc.Linear(one.H, V, dtype="float64")
    ours = {"W_ih": lstm.params["W_ih"], "W_hh": lstm.params["W_hh"], "b": lstm.params["b"]}
    ours |= {"W": head.params["W"], "b_out": head.params["b"]}
    for name, value in ours.items():
        value[...] = w[name]
    opt, memory = lc.Adam(lr=0.005), {}
    for step in (1, 2):
        logits, (h, c), cache = one.forward(w, x, h0, c0)
        loss, dlogits = one.loss_of(logits, targets)
        d = one.backward(w, dlogits, cache)

        y, state, lstm_cache = lstm.forward(np.eye(V)[x], (h0, c0))
        scores, _, head_cache = head.forward(y)
        their_loss, dscores = lc.softmax_cross_entropy(scores, targets)
        dy, _, head_grads = head.backward(dscores, head_cache)
        grads = lstm.backward(dy, lstm_cache)[2] | {"W": head_grads["W"], "b_out": head_grads["b"]}
        for got, want in [(logits, scores), (h, state[0]), (c, state[1]), (loss, their_loss), (dlogits, dscores)]:
            close(got, want)
        assert d.keys() == grads.keys()
        for name in d:
            close(d[name], grads[name])
        one.clip(d, 0.02)
        norm = lc.clip_by_global_norm(grads, 0.02)
        assert norm > 0.02  # it does clip
        for name in d:
            close(d[name], grads[name])
        one.adam(w, d, memory, step)
        opt.step(ours, grads)
        for name in w:
            close(w[name], ours[name])


def close(got, want):
    assert np.shape(got) == np.shape(want)
    assert np.max(np.abs(got - want)) <= 2**14 * np.finfo(float).eps * np.max(np.abs(want))


def test_it_learns_what_can_be_known(one):
    """A text of one sentence over and over: every next letter follows from those before it."""
    said = []
    one.train("the cell state is kept from step to step. " * 300, updates=300, tell=said.append)
    losses = [float(line.split()[2]) for line in said]
    assert losses[0] > 2.5
    assert losses[-1] < 0.3  # near zero nats: it knows the sentence; the frequencies of letters alone leave 2.6


def test_it_runs_as_a_program(tmp_path):
    (tmp_path / "text.txt").write_text("abcabd" * 500, encoding="utf-8")
    small = FILE.read_text(encoding="utf-8").replace("T, B, H = 50, 16, 96", "T, B, H = 20, 8, 32")
    (tmp_path / "small.py").write_text(small, encoding="utf-8")
    command = [sys.executable, tmp_path / "small.py", tmp_path / "text.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [int(line.split()[1].rstrip(":")) for line in lines] == [1, 50, 100, 150, 200, 250, 300]
