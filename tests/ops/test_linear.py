"""The linear map: the row formula in plain Python, and the gradients of its sum with dy."""

import numpy as np
import pytest

from lstmcore.ops.linear import SMALL, WIDEST, linear_backward, linear_forward


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (2, 3, 5), (1, 1, 1)])
def test_values_and_gradients(shape):
    """Sums of at most 6 terms near 1: 20 eps."""
    rng = np.random.default_rng(0)
    I, O = shape[-1], 4
    x, W, b, dy = rng.normal(size=shape), rng.normal(size=(I, O)), rng.normal(size=O), rng.normal(size=(*shape[:-1], O))
    y = linear_forward(x, W, b)
    dx, dW, db = linear_backward(dy, x, W)
    want = {"y": np.zeros_like(y), "dx": np.zeros_like(x), "dW": np.zeros_like(W), "db": np.zeros_like(b)}
    for place in np.ndindex(shape[:-1]):
        for o in range(O):
            want["y"][(*place, o)] = b[o] + sum(x[(*place, i)] * W[i, o] for i in range(I))
            want["db"][o] += dy[(*place, o)]
            for i in range(I):
                want["dx"][(*place, i)] += dy[(*place, o)] * W[i, o]
                want["dW"][i, o] += dy[(*place, o)] * x[(*place, i)]
    for name, value in {"y": y, "dx": dx, "dW": dW, "db": db}.items():
        assert value.shape == want[name].shape
        assert np.max(np.abs(value - want[name])) <= 20 * np.finfo(float).eps * np.max(np.abs(want[name])), name


def test_without_bias():
    x, W = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    assert linear_forward(x, W, None).tolist() == [[11.0]]


SHAPES = [(1, 1, 1), (50, 24, 21), (1000, 24, 21), (97, 65, 130), (600, 5, 256), (3, 256, 17), (200, 16, 64)]
LARGE = [(SMALL // 16 + 1, 4, 4), (5, WIDEST + 1, 3)]  # these go the array code's way


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("N", "I", "O"), SHAPES + LARGE)
def test_every_size(N, I, O, dtype):
    """A sum of n products rounds at most n + 1 times on the way of any term, in any order (Higham 2002, eq. 3.5)."""
    rng = np.random.default_rng(N)
    x, W, b, dy = (rng.standard_normal(shape).astype(dtype) for shape in ((N, I), (I, O), (O,), (N, O)))
    X, w, bias, d = (a.astype(np.longdouble) for a in (x, W, b, dy))
    dx, dW, db = linear_backward(dy, x, W)
    for got, exact, size, n in (
        (linear_forward(x, W, b), X @ w + bias, abs(X) @ abs(w) + abs(bias), I + 1),
        (linear_forward(x, W, None), X @ w, abs(X) @ abs(w), I),
        (dx, d @ w.T, abs(d) @ abs(w.T), O),
        (dW, X.T @ d, abs(X.T) @ abs(d), N),
        (db, d.sum(axis=0), abs(d).sum(axis=0), N),
    ):
        assert got.dtype == dtype
        assert (abs(got - exact) <= (n + 1) * np.finfo(dtype).eps / 2 * size * 1.01).all()


def test_what_does_not_lie_in_rows_goes_the_way_of_array_code():
    """The same numbers up to the rounding of sums of at most 50 terms, from any layout."""
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(shape) for shape in ((50, 24), (24, 21), (21,), (50, 21)))
    want = (linear_forward(x, W, b), *linear_backward(dy, x, W))
    turned = np.asfortranarray
    for got in (
        (linear_forward(turned(x), W, b), *linear_backward(turned(dy), x, W)),
        (linear_forward(x, turned(W), b), *linear_backward(dy, turned(x), W)),
    ):
        for a, exact in zip(got, want, strict=True):
            np.testing.assert_allclose(a, exact, rtol=0, atol=51 * np.finfo(float).eps * 50 * 16)  # numbers below 4


def test_nan_stays_in_its_row():
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(shape).astype("float32") for shape in ((50, 24), (24, 21), (21,), (50, 21)))
    y, (dx, _, _) = linear_forward(x, W, b), linear_backward(dy, x, W)
    others = np.arange(50) != 7
    x[7, 3] = dy[7, 20] = np.nan
    y_, (dx_, dW, db) = linear_forward(x, W, b), linear_backward(dy, x, W)
    np.testing.assert_array_equal(y_[others], y[others])
    np.testing.assert_array_equal(dx_[others], dx[others])
    assert np.isnan(y_[7]).all()
    assert np.isnan(dx_[7]).all()
    assert np.isnan(dW[3]).all()
    assert np.isnan(db).tolist() == [False] * 20 + [True]
