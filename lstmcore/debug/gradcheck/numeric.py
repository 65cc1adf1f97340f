"""Derivatives that know nothing of a backward pass: by complex step, and by central differences.

Complex step (Squire & Trapp 1998): f(v + ih) = f(v) + ih f'(v) + O(h^2), so f'(v) = Im f(v + ih) / h. Nothing is
subtracted, hence nothing cancels: h can be 2^-100, and the derivative is right to rounding. Central differences,
(f(v + h) - f(v - h)) / 2h, serve functions that are not complex-safe, with an estimate of what they can see.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from lstmcore.arrays import Array

COMPLEX_STEP = 2.0**-100  # its square vanishes beside any derivative that float64 can hold next to it


def complex_step(objective: Callable, values: Mapping[str, Array], name: str, direction: Array) -> tuple[float, float]:
    """The derivative along `direction`, and its uncertainty beyond rounding: none."""
    value = objective({**values, name: values[name] + 1j * COMPLEX_STEP * direction})
    return float(np.imag(value)) / COMPLEX_STEP, 0.0


def central_difference(
    objective: Callable, values: Mapping[str, Array], name: str, direction: Array
) -> tuple[float, float]:
    """The derivative along `direction` from steps h and 2h, extrapolated (Richardson), and its uncertainty.

    D(h) = f' + a h^2 + O(h^4), so (4 D(h) - D(2h)) / 3 = f' + O(h^4). What was extrapolated away, |D(h) - D(2h)| / 3,
    bounds the truncation left; each f carries a rounding of some eps |f|, which becomes eps |f| / h: 16 of them are
    allowed, since f is itself a sum. h = eps^(1/4) balances h^4 against eps / h up to constants.
    """
    eps = epsilon(objective(dict(values)))
    h = eps**0.25
    f = {k: float(np.real(objective({**values, name: values[name] + k * h * direction}))) for k in (-2, -1, 1, 2)}
    near, far = (f[1] - f[-1]) / (2 * h), (f[2] - f[-2]) / (4 * h)
    rounding = 16 * eps * max(abs(v) for v in f.values()) / h
    return (4 * near - far) / 3, abs(near - far) / 3 + rounding


def directions(
    name: str, shape: tuple[int, ...], count: int | None, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Unit vectors, one coordinate after the other, or random vectors."""
    if count is not None:
        for k in range(count):
            yield f"{name} along direction {k}", rng.standard_normal(shape)
        return
    for at in np.ndindex(*shape):
        direction = np.zeros(shape)
        direction[at] = 1
        yield f"{name}{list(at)}", direction


def epsilon(value: object) -> float:
    """The rounding unit of a number or an array: float64's for Python's numbers."""
    dtype = np.asarray(value).dtype
    return float(np.finfo(dtype if dtype.kind in "fc" else np.float64).eps)
