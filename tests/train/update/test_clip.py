"""Clipping: the norm, at every magnitude, and what happens to the gradients."""

import math

import numpy as np
import pytest

from lstmcore.train import clip_by_global_norm, clip_by_value, global_norm


def grads(dtype: str = "float64", scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: (scale * rng.standard_normal(shape)).astype(dtype) for name, shape in (("W", (30, 40)), ("b", (40,)))}


def exact_norm(arrays: dict[str, np.ndarray]) -> float:
    return math.hypot(*(float(v) for g in arrays.values() for v in g.ravel()))


SCALES = {
    "float32": (1.0, 1e-18, 1e-22, 2e-23, 1e-37, 1e18, 1e25, 5e37),
    "float64": (1.0, 1e-160, 1e-300, 1e160, 1e300),
}


@pytest.mark.parametrize(("dtype", "scale"), [(dtype, scale) for dtype in SCALES for scale in SCALES[dtype]])
def test_norm_at_every_magnitude(dtype, scale):
    """A sum of n = 1240 squares is right to n + 1 roundings of the dtype, in any order (Higham 2002, eq. 4.4); the root
    halves that; dividing by the peak and multiplying again adds 3. What vanishes is below one part in 1e7 of float32.
    """
    g = grads(dtype, scale)
    expected = exact_norm(g)
    allowed = (1241 / 2 + 3) * float(np.finfo(dtype).eps) / 2 + (1e-7 if dtype == "float32" else 0)
    assert global_norm(g) == pytest.approx(expected, rel=allowed, abs=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm_of_a_large_array(dtype):
    """Squares meet in blocks: at most 4096 of them in the dtype, the blocks in float64. Layout matters in rounding."""
    g = np.random.default_rng(0).standard_normal((150, 201)).astype(dtype)
    expected = exact_norm({"W": g})
    assert global_norm({"W": g}) == pytest.approx(expected, rel=4097 / 2 * float(np.finfo(dtype).eps) / 2, abs=0)
    n = g.size + 1
    assert global_norm({"W": g[::-1, ::-1]}) == pytest.approx(expected, rel=n / 2 * float(np.finfo(dtype).eps) / 2)


def test_norm_of_single_arrays_scaled_apart():
    """One array far below the other: the norm is that of the larger, nothing is lost or invented."""
    assert global_norm({"a": np.full(3, 1e-30, "float32"), "b": np.array([3.0, 4.0], "float32")}) == 5.0
    assert global_norm({"a": np.zeros(3, "float32"), "b": np.array([3e-30, 4e-30], "float32")}) == pytest.approx(
        5e-30, rel=4 * 2.0**-24, abs=0
    )


def test_norm_of_nothing():
    assert global_norm({}) == 0.0
    assert global_norm({"a": np.zeros(3), "b": np.zeros((0, 2))}) == 0.0


def test_clips_in_place_and_returns_the_norm_before():
    """Scaling by one rounded factor keeps the direction: every ratio to 2 roundings, the norm to the sum's bound."""
    g, before = grads(), grads()
    arrays = dict(g)
    norm = clip_by_global_norm(g, 2.0)
    assert norm == pytest.approx(exact_norm(before), rel=1241 * 2.0**-53, abs=0)
    assert global_norm(g) == pytest.approx(2.0, rel=2 * 1241 * 2.0**-53, abs=0)
    for name in g:
        assert g[name] is arrays[name]
        np.testing.assert_allclose(g[name], before[name] * (2.0 / norm), rtol=2 * 2.0**-53)


@pytest.mark.parametrize("limit", [1e6, math.inf])
def test_below_the_limit_nothing_changes(limit):
    g = grads("float32")
    assert 30 < clip_by_global_norm(g, limit) < 40
    for name, value in grads("float32").items():
        np.testing.assert_array_equal(g[name], value)


@pytest.mark.parametrize(("bad", "expected"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "inf")])
@pytest.mark.parametrize("where", ["W", "b"])
def test_a_norm_that_is_not_finite_leaves_the_gradients_alone(bad, expected, where):
    g, before = grads("float32"), grads("float32")
    g[where].flat[3] = before[where].flat[3] = bad
    assert str(clip_by_global_norm(g, 1.0)) == expected
    for name in g:
        np.testing.assert_array_equal(g[name], before[name])


def test_nan_wins_over_infinity():
    assert math.isnan(global_norm({"a": np.array([math.inf]), "b": np.array([math.nan]), "c": np.ones(2)}))


def test_as_torch(torch):
    """torch divides by norm + 1e-6, so its result is smaller by that part of 37: 3e-8."""
    g = grads()
    tensors = [torch.zeros(value.shape, dtype=torch.float64, requires_grad=True) for value in g.values()]
    for tensor, value in zip(tensors, g.values(), strict=True):
        tensor.grad = torch.tensor(value)
    theirs = float(torch.nn.utils.clip_grad_norm_(tensors, 2.0))
    assert clip_by_global_norm(g, 2.0) == pytest.approx(theirs, rel=1241 * 2.0**-53, abs=0)
    for tensor, value in zip(tensors, g.values(), strict=True):
        np.testing.assert_allclose(value, tensor.grad.numpy(), rtol=1e-6 / theirs + 1e-12)


def test_by_value():
    g = {"a": np.array([-3.0, -1.0, 0.5, 2.0, math.inf, -math.inf, math.nan], "float32")}
    array = g["a"]
    clip_by_value(g, 1.0)
    assert g["a"] is array
    np.testing.assert_array_equal(array, np.array([-1.0, -1.0, 0.5, 1.0, 1.0, -1.0, math.nan], "float32"))
    assert array.dtype == np.float32


def test_only_standard_array_functions(array_api_strict):
    """The norm as compiled, to the bound of two sums of 1240 squares; and every number but for its factor's error."""
    g, strict = grads(), {name: array_api_strict.asarray(value, copy=True) for name, value in grads().items()}
    allowed = 1241 * 2.0**-53
    assert clip_by_global_norm(strict, 2.0) == pytest.approx(clip_by_global_norm(g, 2.0), rel=allowed, abs=0)
    clip_by_value(strict, 0.01)
    clip_by_value(g, 0.01)
    for name in g:
        np.testing.assert_allclose(np.asarray(strict[name]), g[name], rtol=allowed + 2.0**-52, atol=0)
    assert global_norm({"a": array_api_strict.asarray([1e300, 1e300])}) == pytest.approx(
        2**0.5 * 1e300, rel=1e-15, abs=0
    )


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, "1", None, True])
@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_value])
def test_a_wrong_limit_is_refused(clip, limit):
    g = grads()
    with pytest.raises(ValueError, match="`limit` should be a number above zero"):
        clip(g, limit)
    np.testing.assert_array_equal(g["W"], grads()["W"])


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_value])
def test_what_is_no_array_is_refused(clip):
    g = grads() | {"c": [1.0]}
    with pytest.raises(TypeError, match=r"`grads\['c'\]` should be an array; got list"):
        clip(g, 0.1)
    np.testing.assert_array_equal(g["W"], grads()["W"])
