"""Case files that cannot be: a line that says what is wrong with them, and exit code 2."""

import signal

import numpy as np
import pytest
from command import here_and_now

import lstmcore as lc


@pytest.fixture(autouse=True)
def same_signals():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def case_of(cell):
    """The arrays of the case of a small layer."""
    rng = np.random.default_rng(0)
    layer = cell(2, 3, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2, 3))
    grads = layer.backward(dy, layer.forward(x)[2])[2]
    arrays = {f"weights.{name}": w for name, w in layer.params.items()}
    return {"x": x, "dy": dy, **arrays, **{f"grads.{name}": g for name, g in grads.items()}}


@pytest.fixture
def case():
    return case_of(lc.LSTM)


def renamed(arrays, old, new):
    return {name.replace(old, new): a for name, a in arrays.items()}


@pytest.mark.parametrize("verb", ["diagnose", "debug"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda c: renamed(c, "weights.W_ih", "weights.kernel"),
            "lstmcore: `grads` should have keys of kernel, W_hh, b",
        ),
        (
            lambda c: renamed(c, "grads.W_ih", "grads.kernel"),
            "lstmcore: `grads` should have keys of W_ih, W_hh, b, x, ",
        ),
        (lambda c: c | {"state.hidden": c["x"][0]}, "lstmcore: `state` should hold h0, c0; got 'hidden'"),
        (lambda c: c | {"layout": np.array("rot13")}, "lstmcore: `layout` should be one of"),
        (lambda c: c | {"cell": np.array("mgu")}, "lstmcore: `cell` should be one of lstm, gru, rnn"),
        (lambda c: c | {"dropout.z": c["x"]}, "lstmcore: `dropout` should hold masks of x or y; got 'z'"),
        (lambda c: c | {"x": c["x"][:0], "dy": c["dy"][:0]}, "lstmcore: `x` should have no empty axis; got (0, 2, 2)"),
        (lambda c: {name: a for name, a in c.items() if name != "dy"}, "dy should be there"),
    ],
)
def test_what_is_wrong_with_a_case_is_said(tmp_path, case, verb, spoil, message):
    np.savez(tmp_path / "case.npz", **spoil(case))
    code, told = here_and_now([verb, str(tmp_path / "case.npz")])
    assert code == 2, told
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("verb", ["diagnose", "debug"])
def test_a_case_that_is_not_there(tmp_path, verb):
    assert here_and_now([verb, str(tmp_path / "case.npz")]) == (
        2,
        f"lstmcore: {tmp_path / 'case.npz'}: No such file or directory\n",
    )


def test_numbers_without_bounds_are_an_answer_and_no_warning(tmp_path):
    """Warnings are errors here. A GRU: for an LSTM three times as many mistakes are tried, in the same way."""
    case = case_of(lc.GRU)
    np.savez(tmp_path / "case.npz", **(case | {"x": case["x"] * 1e200}))
    assert here_and_now(["diagnose", str(tmp_path / "case.npz")])[0] == 1
    words = "train alphabet --engine reference --hidden 2 --epochs 1 --as-posted --noise 1e308"
    code, told = here_and_now(words.split())
    assert code == 1, told
    assert "lstmcore: the training diverged: the loss is nan in step 2" in told
