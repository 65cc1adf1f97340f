"""Every tool over outputs of four axes, (T, B, 2, H): it says what it says of the same numbers as (T, B, 2H)."""

import re

import numpy as np
import pytest

import lstmcore as lc

T, B, I, H = 3, 4, 2, 3
debug = lc.debug
rng = np.random.default_rng(0)
X, DY = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 2, H))
MASK = np.arange(T)[:, None] < np.array([3, 1, 2, 3])


class Shifted(lc.layers.Layer):
    """y = x + b, for x and b of any number of axes: over padding too."""

    def __init__(self, b):
        self.params = lc.layers.Params({"b": b})

    def forward(self, x, state=None, mask=None, rng=None, reuse=None):
        return x + self.params["b"], None, mask

    def backward(self, dy, cache, dstate=None):
        dy = dy if cache is None else np.where(cache.reshape(*cache.shape, *(1,) * (dy.ndim - 2)), dy, 0)
        return dy, None, {"b": dy.sum((0, 1))}


def both(merge):
    return lc.Bidirectional(*(lc.LSTM(I, H, dtype="float64", seed=k) for k in (1, 2)), merge=merge)


def shifted(merge, b=0.0):
    """Its shift b is that of unit 1, forward."""
    shift = np.zeros((2, H))
    shift[0, 1] = b
    return lc.Stack([both(merge), Shifted(shift if merge == "none" else shift.ravel())])


def words(answer):
    """What it prints, whatever the widths of its columns."""
    return re.sub(r"-{2,}|─+", "", str(answer)).split()


def flat(named):
    return {name: np.asarray(a).reshape(T, B, -1) if np.ndim(a) == 4 else np.asarray(a) for name, a in named.items()}


def first_difference(merge, around, x, dy, mask):
    found = debug.compare(around(shifted(merge)), around(shifted(merge, 0.1)), x, dy, mask=mask)
    return found.first._replace(ulps=0), set(found.curves)


def first_nan(merge, around, x, dy, mask, at):
    """Upstream gradients that are NaN there."""
    dy = np.where(at.reshape(*at.shape, *(1,) * (dy.ndim - 2)), np.nan, dy)
    return words(debug.tripwire(around(shifted(merge)), x, dy, mask=mask))


def proof(model, x, dy, mask):
    found = debug.padding(model, x, dy, mask=mask)
    return words(found.rules), found.wrong.tolist()


TOOLS = {  # of the way to merge, what stands around the model, and arrays in the order of axes that it wants
    "padding": lambda merge, around, *step: proof(around(both(merge)), *step),
    "padding, broken": lambda merge, around, *step: proof(around(shifted(merge, 0.1)), *step),
    "report": lambda merge, around, x, dy, mask: words(debug.report(around(both(merge)), x, dy, mask=mask).findings),
    "ledger": lambda merge, around, x, dy, mask: words(debug.ledger(around(both(merge)), x, dy, mask=mask)),
    "flow": lambda merge, around, x, dy, mask: words(debug.flow(around(both(merge)), x, dy, mask=mask)),
    "explain_step": lambda merge, around, x, dy, mask: list(
        debug.explain_step(around(both(merge)), x, dy, mask=mask, row=2).steps
    ),
    "trace": lambda merge, around, x, dy, mask: debug.trace(around(shifted(merge)), x, dy, mask=mask),
    "compare": first_difference,
    "tripwire, padding": lambda merge, around, x, dy, mask: first_nan(merge, around, x, dy, mask, ~mask),
    "tripwire": lambda merge, around, x, dy, mask: first_nan(merge, around, x, dy, mask, mask),
    "jvp": lambda merge, around, x, _, mask: {"y": debug.jvp(around(both(merge)), x, {"x": x**2}, mask=mask).y_dot},
    "hvp": lambda merge, around, x, dy, mask: debug.hvp(around(both(merge)), x, dy, {"x": x**2}, mask=mask),
}


@pytest.mark.parametrize("around", ["alone", "Reversed", "BatchFirst"])
@pytest.mark.parametrize("tool", TOOLS)
def test_it_says_the_same_of_three_axes(tool, around):
    wrap = (lambda layer: layer) if around == "alone" else getattr(lc, around)
    x, dy, mask = (a.swapaxes(0, 1) if around == "BatchFirst" else a for a in (X, DY, MASK))
    got, want = (
        TOOLS[tool](merge, wrap, x, dy.reshape(*dy.shape[:2], *last), mask)
        for merge, last in (("none", (2, H)), ("concat", (2 * H,)))
    )
    if isinstance(want, dict):
        got, want = flat(got), flat(want)
        assert got.keys() == want.keys()
        for name, a in want.items():
            np.testing.assert_allclose(got[name].reshape(a.shape), a, rtol=0, atol=1e-14 * max(1, abs(a).max()))
    else:
        assert got == want
