"""Numbers of which only the making is known: a step that is run over symbols tells what it computes.

So nobody has to be asked which gates are sigmoids, what a gradient reaches, or whether a step can be compiled.
"""

from collections.abc import Iterable


class Symbol:
    """An argument by its name, or the result of "+", "-", "*", "/", "sigmoid" or "tanh"."""

    __array_ufunc__ = None  # array functions do not take it

    def __init__(self, made_by: str, *of: "Symbol", roundings: int = 1):
        self.made_by = made_by
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

    def __neg__(self) -> "Symbol":
        return Symbol("-", self, roundings=0)

    def depends_on(self, other: "Symbol") -> bool:
        return other is self or other in self.inside


def _arithmetic(operation: str, a: Symbol, b: Symbol) -> Symbol:
    if not isinstance(b, Symbol):
        raise TypeError(f"a step makes its constants of `one`, so that they have the dtype of all else; got {b!r}")
    return Symbol(operation, a, b)


def sigmoid(x: Symbol) -> Symbol:
    return Symbol("sigmoid", x, roundings=8)


def tanh(x: Symbol) -> Symbol:
    return Symbol("tanh", x, roundings=8)


def symbols(names: Iterable[str]) -> tuple[Symbol, ...]:
    """An argument for each name."""
    return tuple(Symbol(name) for name in names)
