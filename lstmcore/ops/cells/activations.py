"""The functions that gates and candidates are made by, each with its slope beside it, read off its own output.

The names and the letters alpha and beta are those of the ONNX operators. An undoing knows the outputs alone, which is
enough where a function rises: from y = tanh(a) follows tanh'(a) = 1 - y^2.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from lstmcore.ops.cells.cell import Maths
from lstmcore.ops.cells.symbol import Number

Activation: TypeAlias = str | tuple[str | float, ...]  # "tanh", or with its numbers: ("leaky_relu", 0.01)
Spec: TypeAlias = tuple[str | float, ...]  # what `checked` makes of it: all numbers are there
Pair: TypeAlias = tuple[Callable[[Number], Number], Callable[[Number], Number]]  # a -> y, y -> dy / da

NUMBERS: dict[str, tuple[float | None, ...]] = {  # alpha and beta where they are not given; None: they have to be
    "sigmoid": (), "tanh": (), "relu": (), "identity": (), "softsign": (), "softplus": (),
    "hard_sigmoid": (None, 0.5), "affine": (1.0, 0.0), "leaky_relu": (0.01,), "thresholded_relu": (1.0,),
    "scaled_tanh": (1.0, 1.0), "elu": (1.0,),
}  # fmt: skip
SCALAR = Maths(
    sigmoid=lambda a: (1.0 if a >= 0 else math.exp(a)) / (1.0 + math.exp(-abs(a))),
    tanh=math.tanh,
    one=1.0,
    where_less=lambda a, b, yes, no: yes if a < b else no,
)
LOG_TERMS = 18  # of the series of log in softplus: the next one is below 3^-37 / 37 < 2^-63


def checked(what: str, spec: Activation) -> Spec:
    """(name, *numbers). Raises ValueError for what is no activation; `what` is the option's name."""
    name, *numbers = (spec,) if isinstance(spec, str) else tuple(spec)
    if name not in NUMBERS:
        raise ValueError(f"`{what}` should be one of {', '.join(NUMBERS)}, or (name, alpha, beta); got {spec!r}")
    known = NUMBERS[str(name)]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers):
        raise ValueError(f"`{what}` should have finite numbers behind the name; got {spec!r}")
    if len(numbers) > len(known):
        raise ValueError(f"`{what}`: {name} takes {len(known) or 'no'} numbers; got {spec!r}")
    missing = known[len(numbers) :]
    if None in missing:
        raise ValueError(
            f"`{what}`: hard_sigmoid comes in two conventions: ('hard_sigmoid', 1 / 6) is Keras 3's and PyTorch's, "
            f"('hard_sigmoid', 0.2) that of ONNX and Keras 2; got {spec!r}"
        )
    filled = [float(v) for v in (*numbers, *missing) if v is not None]
    if name in ("hard_sigmoid", "leaky_relu", "elu", "scaled_tanh") and filled[0] <= 0:  # else y hides the slope
        raise ValueError(f"`{what}`: {name} should have alpha > 0; got {spec!r}")
    if name == "thresholded_relu" and filled[0] < 0:
        raise ValueError(f"`{what}`: thresholded_relu should have alpha >= 0; got {spec!r}")
    return (str(name), *filled)


def activation(maths: Maths, spec: Spec, limit: float | None = None) -> Pair:
    """The function and its slope, over what `maths` computes on. limit: its input is held within +-limit first."""
    name, numbers = str(spec[0]), [maths.number(float(v)) for v in spec[1:]]
    f, slope = MAKERS[name](maths, *numbers)
    f, slope = f if f in (maths.sigmoid, maths.tanh) else maths.function(f), maths.function(slope)
    if limit is None:
        return f, slope
    # At the limits y is one of two constants, the same ones on every engine, so that the undoing knows it again.
    exact, _ = MAKERS[name](SCALAR, *map(float, spec[1:]))
    at_bottom, at_top = exact(-limit), exact(limit)
    bottom, top, y_bottom, y_top = map(maths.number, (-limit, limit, at_bottom, at_top))
    least, most = map(maths.number, sorted((at_bottom, at_top)))
    zero, one, where_less = maths.number(0.0), maths.one, maths.where_less

    def clipped(a):
        return where_less(a, bottom, y_bottom, where_less(top, a, y_top, f(a)))

    def clipped_slope(y):
        return slope(y) * where_less(least, y, one, zero) * where_less(y, most, one, zero)

    return maths.function(clipped), maths.function(clipped_slope)


def _sigmoid(maths: Maths) -> Pair:
    one = maths.one
    return maths.sigmoid, lambda y: y * (one - y)


def _tanh(maths: Maths) -> Pair:
    one = maths.one
    return maths.tanh, lambda y: one - y * y


def _identity(maths: Maths) -> Pair:
    one, zero = maths.one, maths.number(0.0)
    return lambda a: a, lambda y: one + zero * y


def _affine(maths: Maths, alpha: Number, beta: Number) -> Pair:
    zero = maths.number(0.0)
    return lambda a: alpha * a + beta, lambda y: alpha + zero * y


def _relu(maths: Maths) -> Pair:
    zero, one, where_less = maths.number(0.0), maths.one, maths.where_less
    return lambda a: where_less(a, zero, zero, a), lambda y: where_less(zero, y, one, zero)


def _leaky_relu(maths: Maths, alpha: Number) -> Pair:
    zero, one, where_less = maths.number(0.0), maths.one, maths.where_less
    return lambda a: where_less(a, zero, alpha * a, a), lambda y: where_less(y, zero, alpha, one)


def _thresholded_relu(maths: Maths, alpha: Number) -> Pair:
    zero, one, where_less = maths.number(0.0), maths.one, maths.where_less
    return lambda a: where_less(alpha, a, a, zero * a), lambda y: where_less(alpha, y, one, zero)


def _hard_sigmoid(maths: Maths, alpha: Number, beta: Number) -> Pair:
    zero, one, where_less = maths.number(0.0), maths.one, maths.where_less

    def f(a):
        y = alpha * a + beta
        y = where_less(y, zero, zero, y)
        return where_less(one, y, one, y)

    return f, lambda y: alpha * where_less(zero, y, one, zero) * where_less(y, one, one, zero)


def _scaled_tanh(maths: Maths, alpha: Number, beta: Number) -> Pair:
    tanh, one = maths.tanh, maths.one
    return lambda a: alpha * tanh(beta * a), lambda y: alpha * beta * (one - (y / alpha) * (y / alpha))


def _elu(maths: Maths, alpha: Number) -> Pair:
    zero, one, half = maths.number(0.0), maths.one, maths.number(0.5)
    tanh, where_less = maths.tanh, maths.where_less

    def f(a):
        t = tanh(half * where_less(zero, a, zero, a))
        return where_less(zero, a, a, alpha * (t + t) / (one - t))  # e^a - 1 = 2 t / (1 - t), t = tanh(a / 2)

    return f, lambda y: where_less(y, zero, y + alpha, one)


def _softsign(maths: Maths) -> Pair:
    zero, one, where_less = maths.number(0.0), maths.one, maths.where_less

    def slope(y):
        rest = one - where_less(y, zero, -y, y)  # 1 - |y| = 1 / (1 + |a|)
        return rest * rest

    return lambda a: a / (one + where_less(a, zero, -a, a)), slope


def _softplus(maths: Maths) -> Pair:
    zero, one, half = maths.number(0.0), maths.one, maths.number(0.5)
    two, sigmoid, tanh, where_less = maths.number(2.0), maths.sigmoid, maths.tanh, maths.where_less
    series = tuple(maths.number(1 / (2 * k + 1)) for k in reversed(range(LOG_TERMS)))
    function = maths.function

    def horner(higher, coefficient):
        return function(lambda q: higher(q) * q + coefficient)

    polynomial = function(lambda q: series[0] + zero * q)
    for coefficient in series[1:]:
        polynomial = horner(polynomial, coefficient)

    def f(a):
        """log(1 + e^a) = max(a, 0) + log(1 + u) with u = e^-|a|, and log(1 + u) = 2 artanh(u / (2 + u))."""
        closed = sigmoid(where_less(a, zero, a, -a))
        u = closed / (one - closed)
        s = u / (two + u)
        return where_less(a, zero, zero * a, a) + two * s * polynomial(s * s)

    def slope(y):
        t = tanh(half * y)
        return two * t / (one + t)  # 1 - e^-y

    return f, slope


MAKERS: dict[str, Callable[..., Pair]] = {
    "sigmoid": _sigmoid, "tanh": _tanh, "relu": _relu, "identity": _identity, "softsign": _softsign,
    "softplus": _softplus, "hard_sigmoid": _hard_sigmoid, "affine": _affine, "leaky_relu": _leaky_relu,
    "thresholded_relu": _thresholded_relu, "scaled_tanh": _scaled_tanh, "elu": _elu,
}  # fmt: skip
