"""Numbers of which only the making is known: a step that is run over symbols tells what it computes.

So nobody has to be asked which gates are sigmoids, what a gradient reaches, or whether a step can be compiled.
"""

from collections.abc import Iterable
from math import inf
from typing import Any, TypeAlias

Number: TypeAlias = Any  # what a step runs over: a number, an array, a vector of compiled code, or a symbol
Ends = tuple[float, float]


class Symbol:
    """An argument by its name, a number, or the result of an operation. ends: between which it lies, if that shows."""

    __array_ufunc__ = None  # array functions do not take it
    made_by: str
    ends: Ends

    def __init__(self, made_by: str, *of: "Symbol", roundings: int = 1, ends: Ends = (-inf, inf)):
        self.made_by, self.ends = made_by, ends
        self.inside: frozenset[Symbol] = frozenset(of).union(*(part.inside for part in of))  # all that it is made of
        self.roundings: int = roundings + max(part.roundings for part in of) if of else 0  # one after the other

    def __add__(self, other: "Symbol") -> "Symbol":
        return _arithmetic("+", self, other)

    def __sub__(self, other: "Symbol") -> "Symbol":
        return _arithmetic("-", self, other)

    def __mul__(self, other: "Symbol") -> "Symbol":
        return _arithmetic("*", self, other)

    def __truediv__(self, other: "Symbol") -> "Symbol":
        return _arithmetic("/", self, other)

    def __matmul__(self, other: "Symbol") -> "Symbol":
        return _arithmetic("@", self, other)

    @property
    def T(self) -> "Symbol":
        return Symbol("T", self, roundings=0)

    def __neg__(self) -> "Symbol":
        return Symbol("-", self, roundings=0)

    def depends_on(self, other: "Symbol") -> bool:
        return other is self or other in self.inside


def _arithmetic(operation: str, a: Symbol, b: Symbol) -> Symbol:
    if not isinstance(b, Symbol):
        raise TypeError(f"a step makes its constants of `one`, so that they have the dtype of all else; got {b!r}")
    return Symbol(operation, a, b)


def number(value: float) -> Symbol:
    return Symbol(f"{value}", ends=(value, value))


def sigmoid(x: Symbol) -> Symbol:
    return Symbol("sigmoid", x, roundings=8, ends=(0.0, 1.0))


def tanh(x: Symbol) -> Symbol:
    return Symbol("tanh", x, roundings=8, ends=(-1.0, 1.0))


def where_less(a: Symbol, b: Symbol, yes: Symbol, no: Symbol) -> Symbol:
    """`where_less(x, low, low, x)` is not below `low`, and `where_less(high, x, high, x)` not above `high`."""
    ends = -inf, inf
    if (yes, no) == (b, a):
        ends = max(a.ends[0], b.ends[0]), max(a.ends[1], b.ends[1])
    if (yes, no) == (a, b):
        ends = min(a.ends[0], b.ends[0]), min(a.ends[1], b.ends[1])
    return Symbol("where_less", a, b, yes, no, roundings=0, ends=ends)


def symbols(names: Iterable[str]) -> tuple[Symbol, ...]:
    """An argument for each name."""
    return tuple(Symbol(name) for name in names)
