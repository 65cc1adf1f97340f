"""Zero as a symbol: what is multiplied by it is not computed.

A cell's `step_backward` is linear in the gradients that arrive. Asked with ZERO for all but one of them, it returns the
part that comes from that one, and leaves out every product that a number 0 would have wasted.
"""

from lstmcore.arrays import Array


class _Zero:
    """0 * x = 0 / x = 0, 0 + x = x, 0 - x = -x."""

    __array_ufunc__ = None  # an array on the left leaves the operation to the symbol on the right

    def __add__(self, other: Array) -> Array:
        return other

    def __sub__(self, other: Array) -> Array:
        return -other

    def __rsub__(self, other: Array) -> Array:
        return other

    def __mul__(self, other: Array) -> "_Zero":
        return self

    def __neg__(self) -> "_Zero":
        return self

    __radd__, __rmul__, __truediv__ = __add__, __mul__, __mul__


ZERO = _Zero()
