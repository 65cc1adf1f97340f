"""Arrays whose every number knows how it was made.

`Scalars` is an array of numbers of a tape. What is done to it is done number by number, and each new number is written
on the tape with its operation, its operands and the line of code that made it. The recurrence is stated once, in the
reference engine and the cells; run over these arrays, the same text gives the graph of what it computes.

The tape is the array library, as `Scalars.__array_namespace__` tells: it has those functions of the array API that the
reference engine calls.
"""

import operator
import os
import sys
from collections.abc import Callable, Iterable
from functools import reduce
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lstmcore import ops
from lstmcore.arrays import Dtype, Index

Operand: TypeAlias = "Scalars | np.ndarray | float"  # a number is a constant
Shape: TypeAlias = int | tuple[int, ...]
Lines: TypeAlias = tuple[tuple[str, int], ...]  # file and line

ENGINE = (os.path.dirname(ops.__file__), "<lstmcore.")  # where its files lie; compiled anew, with a mistake
HERE = os.path.dirname(__file__)  # what runs the engine
FLOAT64 = np.dtype(float)
LOOPS = ("_steps", "backward")  # over time


def _dot(*terms: float) -> float:
    return float(sum_of(a * b for a, b in zip(terms[::2], terms[1::2])))


def sum_of(terms: Iterable[float]) -> float:
    """From left to right, as a page replays it."""
    return reduce(operator.add, terms, 0.0)


OPERATIONS: dict[str, Callable[..., float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": np.true_divide, "neg": operator.neg,
    "exp": np.exp, "tanh": np.tanh, "sqrt": np.sqrt, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
    "where": lambda c, a, b: a if c else b, "dot": _dot, "sum": lambda *terms: sum_of(terms),
}  # fmt: skip


class Number(NamedTuple):
    """One number: a leaf or a constant has no operands."""

    value: float
    op: str  # of OPERATIONS, "leaf" or "constant"
    operands: tuple[int, ...]  # places on the tape
    lines: Lines  # file and line that made it, innermost first
    step: int | None  # of the loop over time


class Tape:
    """All numbers, each behind its operands."""

    def __init__(self) -> None:
        self.numbers: list[Number] = []
        self._constants: dict[float, int] = {}

    def leaves(self, values: object) -> "Scalars":
        """An array (...) of given numbers, float64 or bool."""
        given = np.asarray(values)
        places = [self._add(float(v), "leaf", (), ()) for v in given.ravel()]
        return Scalars(self, np.reshape(np.array(places, int), given.shape), given.dtype)

    def lift(self, value: Operand) -> "Scalars":
        """Numbers as constants, each written once; what is on the tape as it is."""
        if isinstance(value, Scalars):
            return value
        given = np.asarray(value)
        places = []
        for v in map(float, given.ravel()):
            if v not in self._constants:
                self._constants[v] = self._add(v, "constant", (), ())
            places.append(self._constants[v])
        return Scalars(self, np.reshape(np.array(places, int), given.shape), given.dtype)

    def apply(self, op: str, *arrays: Operand) -> "Scalars":
        """The operation on each number, over arrays that are broadcast."""
        lines, step = _where_from(sys._getframe(1))
        lifted = [self.lift(a) for a in arrays]
        operands = np.broadcast_arrays(*(a.places for a in lifted))
        made = [self.make(op, each, lines, step) for each in zip(*(p.ravel().tolist() for p in operands))]
        dtype = np.dtype(bool) if op in (">=", "<", ">") else FLOAT64
        return Scalars(self, np.reshape(np.array(made, int), operands[0].shape), dtype)

    def make(self, op: str, operands: tuple[int, ...], lines: Lines, step: int | None) -> int:
        value = float(OPERATIONS[op](*(self.numbers[k].value for k in operands)))
        return self._add(value, op, operands, lines, step)

    def _add(self, value: float, op: str, operands: tuple[int, ...], lines: Lines,
             step: int | None = None) -> int:  # fmt: skip
        self.numbers.append(Number(value, op, operands, lines, step))
        return len(self.numbers) - 1

    # ---- the array library: what the reference engine calls ----

    def exp(self, x: "Scalars") -> "Scalars":
        return self.apply("exp", x)

    def tanh(self, x: "Scalars") -> "Scalars":
        return self.apply("tanh", x)

    def sqrt(self, x: "Scalars") -> "Scalars":
        return self.apply("sqrt", x)

    def where(self, condition: "Scalars", x: Operand, y: Operand) -> "Scalars":
        return self.apply("where", condition, x, y)

    def sum(self, x: "Scalars", axis: int | None = None) -> "Scalars":
        lines, step = _where_from(sys._getframe(1))
        last = x.places.reshape(1, -1) if axis is None else np.moveaxis(x.places, axis, -1)
        rows = last.reshape(-1, last.shape[-1]).tolist()
        made = [row[0] if len(row) == 1 else self.make("sum", tuple(row), lines, step) for row in rows]
        return Scalars(self, np.reshape(np.array(made, int), () if axis is None else last.shape[:-1]))

    def count_nonzero(self, x: "Scalars") -> "Scalars":
        return self.sum(x)

    def concat(self, arrays: Iterable[Operand], axis: int = 0) -> "Scalars":
        return Scalars(self, np.concatenate([self.lift(x).places for x in arrays], axis))

    def reshape(self, x: "Scalars", shape: Shape) -> "Scalars":
        return Scalars(self, np.reshape(x.places, shape), x.dtype)

    def broadcast_to(self, x: "Scalars", shape: Shape) -> "Scalars":
        return Scalars(self, np.broadcast_to(x.places, shape), x.dtype)

    def asarray(self, x: "Scalars", copy: bool | None = None) -> "Scalars":
        return Scalars(self, np.array(x.places), x.dtype)

    def astype(self, x: "Scalars", dtype: Dtype) -> "Scalars":
        return Scalars(self, x.places, np.dtype(dtype))

    def zeros(self, shape: Shape, dtype: Dtype | None = None) -> "Scalars":
        return Scalars(self, np.full(shape, self.lift(0.0).places))

    def zeros_like(self, x: "Scalars") -> "Scalars":
        return self.zeros(x.shape)

    empty = zeros
    empty_like = zeros_like


def _where_from(frame: FrameType | None) -> tuple[Lines, int | None]:
    """The lines of engine and cell that led here, innermost first, and the step of the loop that they are in."""
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    lines: list[tuple[str, int]] = []
    while frame is not None and (not lines or not frame.f_code.co_filename.startswith(HERE)):
        lines.append((frame.f_code.co_filename, frame.f_lineno))
        if frame.f_code.co_name in LOOPS and isinstance(frame.f_locals.get("t"), int):
            return tuple(lines), frame.f_locals["t"]
        frame = frame.f_back
    return tuple(lines), None


class Scalars:
    """`places` (...) on the tape."""

    __array_ufunc__ = None  # NumPy leaves `array * scalars` to the methods below

    def __init__(self, tape: Tape, places: np.ndarray, dtype: np.dtype = FLOAT64):
        self.tape, self.places, self.dtype = tape, places, dtype

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return self.tape

    @property
    def values(self) -> np.ndarray:
        """The numbers themselves (...)."""
        flat = [self.tape.numbers[k].value for k in self.places.ravel()]
        return np.reshape(np.array(flat, self.dtype), self.places.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.places.shape

    @property
    def ndim(self) -> int:
        return self.places.ndim

    @property
    def size(self) -> int:
        return self.places.size

    @property
    def T(self) -> "Scalars":
        return Scalars(self.tape, self.places.T, self.dtype)

    def __getitem__(self, key: Index) -> "Scalars":
        return Scalars(self.tape, np.asarray(self.places[key]), self.dtype)

    def __setitem__(self, key: Index, new: Operand) -> None:
        self.places[key] = self.tape.lift(new).places

    def __neg__(self) -> "Scalars":
        return self.tape.apply("neg", self)

    def __add__(self, other: Operand) -> "Scalars":
        return self.tape.apply("+", self, other)

    def __radd__(self, other: Operand) -> "Scalars":
        return self.tape.apply("+", other, self)

    def __sub__(self, other: Operand) -> "Scalars":
        return self.tape.apply("-", self, other)

    def __rsub__(self, other: Operand) -> "Scalars":
        return self.tape.apply("-", other, self)

    def __mul__(self, other: Operand) -> "Scalars":
        return self.tape.apply("*", self, other)

    def __rmul__(self, other: Operand) -> "Scalars":
        return self.tape.apply("*", other, self)

    def __truediv__(self, other: Operand) -> "Scalars":
        return self.tape.apply("/", self, other)

    def __rtruediv__(self, other: Operand) -> "Scalars":
        return self.tape.apply("/", other, self)

    def __matmul__(self, other: "Scalars") -> "Scalars":
        lines, step = _where_from(sys._getframe(1))
        (rows, D), columns = self.places.shape, other.places.shape[1]
        made = np.empty((rows, columns), int)
        for r in range(rows):
            for c in range(columns):
                terms = tuple(k for d in range(D) for k in (int(self.places[r, d]), int(other.places[d, c])))
                made[r, c] = self.tape.make("dot", terms, lines, step)
        return Scalars(self.tape, made)

    def __ge__(self, other: Operand) -> "Scalars":
        return self.tape.apply(">=", self, other)

    def __lt__(self, other: Any) -> "Scalars":
        return self.tape.apply("<", self, other)

    def __gt__(self, other: Any) -> "Scalars":
        return self.tape.apply(">", self, other)
