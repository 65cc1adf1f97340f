"""Twenty training steps: the same losses on every engine, and both falling and ending where they should.

Small differences grow along a trajectory, so the tolerance is measured, not guessed: the reference runs a second time
from parameters moved by 1e-9 of their size. What this does to the losses, divided by 1e-9, is the growth of a relative
difference. Each engine's gradients are within 1e-12 of the reference's (test_truth.py), 20 steps bring 20 such
differences, and each grows by at most the largest growth seen: 20 * 1e-12 * growth.
"""

from functools import cache

import numpy as np
import pytest
from engines import REFERENCE

import lstmcore as lc

STEPS = 20
RATE = 0.2


def models():
    both = lc.Bidirectional(lc.LSTM(3, 4, dtype="float64", seed=1), lc.LSTM(3, 4, dtype="float64", seed=2))
    return {
        "lstm": lc.Stack([lc.LSTM(3, 6, dtype="float64", seed=3), lc.Linear(6, 4, dtype="float64", seed=4)]),
        "gru": lc.Stack([lc.GRU(3, 6, dtype="float64", seed=5), lc.Linear(6, 4, dtype="float64", seed=6)]),
        "rnn": lc.Stack([lc.RNN(3, 6, dtype="float64", seed=7), lc.Linear(6, 4, dtype="float64", seed=8)]),
        "bidirectional": lc.Stack([both, lc.Dropout(0.2), lc.Linear(8, 4, dtype="float64", seed=9)]),
    }


def train(engine, name: str, moved: float = 0.0) -> np.ndarray:
    """The losses of 20 steps of gradient descent on a batch with padding."""
    rng = np.random.default_rng(10)
    T, B = 9, 8
    x = engine.array(rng.normal(size=(T, B, 3)))
    targets = engine.array(rng.integers(0, 4, size=(T, B)))
    mask = engine.array(np.arange(T)[:, None] < rng.integers(1, T + 1, size=B))
    model = models()[name]
    for value in model.params.values():
        value[...] *= 1 + moved * rng.choice([-1, 1], size=value.shape)
    model = engine.place(model)
    dropout = np.random.default_rng(11)
    losses, cache = [], None
    for _ in range(STEPS):
        logits, _, cache = model.forward(x, mask=mask, rng=dropout, reuse=cache)
        loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask=mask)
        losses.append(float(loss))
        _, _, grads = model.backward(dlogits, cache)
        for key, gradient in grads.items():
            model.params[key][...] -= RATE * gradient
    return np.array(losses)


@cache
def expected(name: str) -> tuple[np.ndarray, float]:
    """The reference's losses, and the growth of relative differences along its way."""
    losses = train(REFERENCE, name)
    return losses, float(np.max(np.abs(train(REFERENCE, name, moved=1e-9) - losses))) / 1e-9


@pytest.mark.parametrize("name", models())
def test_the_same_losses(other_engine, name):
    other_engine.skip_if_unsupported("lstm" if name == "bidirectional" else name)
    losses, growth = expected(name)
    assert np.max(np.abs(train(other_engine, name) - losses)) <= STEPS * 1e-12 * max(growth, 1.0)


@pytest.mark.parametrize("name", models())
def test_the_reference_learns(name):
    """From log 4 = 1.386, the loss of knowing nothing, downwards; the same numbers again in a second run."""
    losses, growth = expected(name)
    assert abs(losses[0] - np.log(4)) < 0.5
    assert losses[-1] < losses[0] - 0.02
    assert len(set(losses)) == STEPS
    assert 0 < growth < 1e3  # or the tolerance above would allow anything
    assert np.array_equal(train(REFERENCE, name), losses)
