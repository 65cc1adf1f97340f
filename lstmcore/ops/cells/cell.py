"""What a cell says about itself: one time step, pointwise between named products."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import FunctionType
from typing import NamedTuple, NoReturn, TypeAlias

from lstmcore.ops.cells.symbol import Number, Symbol, number, sigmoid, symbols, tanh, where_less

Function: TypeAlias = Callable[[Number], Number]
Pick: TypeAlias = Callable[[tuple[Number, ...]], tuple[Number, ...]]  # values -> those at some places


def _itself(value: Number) -> Number:
    return value


def _picked(places: tuple[int, ...]) -> Pick:
    return lambda values: tuple(values[place] for place in places)


@dataclass(frozen=True)
class Maths:
    """What differs between array code and compiled code. `sigmoid, tanh, one = maths` is all that most cells need."""

    sigmoid: Function
    tanh: Function
    one: Number  # the constant 1, in the dtype of the computation where plain literals would widen it
    where_less: Callable[..., Number] = where_less  # (a, b, yes, no): yes where a < b; where NaN is, no
    number: Callable[[float], Number] = _itself  # any other constant, in that dtype
    function: Callable[[Function], Function] = _itself  # decorator of a function that the step calls
    pick: Callable[[tuple[int, ...]], Pick] = _picked

    def __iter__(self) -> Iterator[Number]:
        return iter((self.sigmoid, self.tanh, self.one))


Step: TypeAlias = Callable[..., tuple[Number, ...]]
Steps: TypeAlias = tuple[Step, Step]  # step_forward, step_backward


@dataclass(frozen=True)
class Cell:
    """One time step and its undoing, and the products around it.

    An engine computes K blocks of pre-activations: block k is its bias, plus its columns of `x @ W_ih` if k is in
    `input_blocks`, plus its columns of `h_prev @ W_hh` if k is in `recurrent_blocks`. Then it calls

        step_forward(*blocks, *previous) -> (*gates, *states)
        step_backward(*dstates, *gates, *previous, *current) -> (*dblocks, *dprevious)

    with `step_forward, step_backward = cell.make_step(maths)`; every argument has shape (B, H), or is one number.
    The gradient of h_prev through the products is the engine's to add. Steps of + - * / and the functions of `maths`
    can be compiled, with constants made of `one`; others run on the reference engine alone. A block that no product
    feeds is its bias alone, the same in every row and step: so a step reads weights (H,) of its own, peepholes say.

    A step that takes a matrix product itself names its matrices in `weights`: `cell.make_step(maths, *matrices)`, and
    step_backward gives their gradients last. What arrives at masked rows is zero then.

    Raises ValueError for parts that contradict each other or the step.
    """

    name: str
    states: tuple[str, ...]  # h first: it is the output, and what the recurrent product reads
    gates: tuple[str, ...]  # the K blocks; the same letters name the pre-activations and the saved gates
    input_blocks: tuple[int, ...]  # which blocks W_ih feeds
    recurrent_blocks: tuple[int, ...]  # which blocks W_hh feeds
    biases: Mapping[str, tuple[int, ...]]  # parameter -> the blocks it feeds; in block order, each block at most once
    previous: tuple[str, ...]  # states of step t-1 that the step reads pointwise: all, or all but the first
    current: tuple[str, ...]  # states of step t that its undoing reads: the last ones, or none
    make_step: Callable[..., Steps]
    words: Mapping[str, str] = field(default_factory=dict)  # gate -> what people call it, "forget gate"
    initial_biases: Mapping[str, float] = field(default_factory=dict)  # gate -> where its bias starts, if not at 0
    weights: tuple[str, ...] = ()  # matrices (H, width of h) that the step itself multiplies with
    width: int | None = None  # of h, where it is not H

    def __post_init__(self) -> None:
        K, every = len(self.gates), tuple(range(len(self.gates)))
        for name, blocks in (("input_blocks", self.input_blocks), ("recurrent_blocks", self.recurrent_blocks)):
            if not blocks or tuple(sorted(set(blocks) & set(every))) != blocks:
                self._refuse(name, f"name some of the blocks 0 to {K - 1}, in order", blocks)
        if self.states[:1] != ("h",):
            self._refuse("states", 'begin with "h", the output', self.states)
        biased = tuple(k for blocks in self.biases.values() for k in blocks)
        if tuple(sorted(set(biased) & set(every))) != biased:
            self._refuse("biases", f"feed blocks of 0 to {K - 1}, each once at most and in order", dict(self.biases))
        unfed = set(every) - set(self.input_blocks) - set(self.recurrent_blocks) - set(biased)
        if unfed:
            self._refuse("biases", "feed what no product feeds", f"nothing that feeds the blocks {sorted(unfed)}")
        if self.previous not in (self.states, self.states[1:]):
            self._refuse("previous", f"name all of the states {self.states}, or all but the first", self.previous)
        if self.current != self.states[len(self.states) - len(self.current) :]:
            self._refuse("current", f"name the last of the states {self.states}, or none", self.current)
        for name, named in (("words", self.words), ("initial_biases", self.initial_biases)):
            if not set(named) <= set(self.gates):
                self._refuse(name, f"speak of the gates {', '.join(self.gates)}", dict(named))
        for way, step in enumerate(self.make_step(SYMBOLS, *symbols(self.weights))):
            name, given, gives = NAMES[way], self.arguments[way], self.results[way]
            try:
                inspect.signature(step).bind(*given)
            except TypeError:
                self._refuse(name, f"take ({', '.join(given)})", inspect.signature(step))
            traced = trace(self, way)
            if traced is not None and len(traced.gives) != len(gives):
                self._refuse(name, f"return {', '.join(gives)}", f"{len(traced.gives)} values")

    def __hash__(self) -> int:
        step = self.make_step  # if it is a function: others may have no hash
        return hash((self.name, step if isinstance(step, FunctionType) else type(step)))

    def _refuse(self, what: str, wanted: str, got: object) -> NoReturn:
        raise ValueError(f"cell {self.name!r}: `{what}` should {wanted}; got {got}")

    @property
    def arguments(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of what `step_forward` and `step_backward` are given."""
        previous = [f"{name}_prev" for name in self.previous]
        return (
            (*(f"a_{gate}" for gate in self.gates), *previous),
            (*(f"d{name}" for name in self.states), *self.gates, *previous, *self.current),
        )

    @property
    def results(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of what `step_forward` and `step_backward` return."""
        return (
            (*self.gates, *self.states),
            (
                *(f"da_{gate}" for gate in self.gates),
                *(f"d{name}_prev" for name in self.previous),
                *(f"d{name}" for name in self.weights),
            ),
        )

    def steps(self, maths: Maths, params: Mapping[str, object]) -> Steps:
        """step_forward and step_backward, over the matrices that they multiply with."""
        return self.make_step(maths, *[params[name] for name in self.weights])

    def shapes(self, I: int, H: int) -> dict[str, tuple[int, ...]]:
        """The parameters and their shapes for input width I and hidden width H."""
        return {
            "W_ih": (I, len(self.input_blocks) * H),
            "W_hh": (self.width or H, len(self.recurrent_blocks) * H),
            **dict.fromkeys(self.weights, (H, self.width or H)),
            **{name: (len(blocks) * H,) for name, blocks in self.biases.items()},
        }

    def widths(self, H: int) -> tuple[int, ...]:
        """The width of each state."""
        return (self.width or H, *(H for _ in self.states[1:]))

    @property
    def fed_by(self) -> dict[str, tuple[int, ...]]:
        """The blocks that each parameter feeds, but for the matrices of the step itself."""
        return {"W_ih": self.input_blocks, "W_hh": self.recurrent_blocks, **self.biases}

    @property
    def ends(self) -> dict[str, tuple[float, float]]:
        """The gates that saturate, and between which values: those that the step makes by sigmoid, tanh or a clip."""
        traced = trace(self, FORWARD)
        made = zip(self.gates, traced.gives) if traced is not None else ()
        return {gate: value.ends for gate, value in made if all(map(isfinite, value.ends))}

    @property
    def compiles(self) -> bool:
        """True for a step of arithmetic and the functions of `maths` alone."""
        return trace(self, FORWARD) is not None and trace(self, BACKWARD) is not None and not self.weights


class Traced(NamedTuple):
    """What a step is given and gives, as symbols."""

    given: tuple[Symbol, ...]
    gives: tuple[Symbol, ...]


SYMBOLS = Maths(sigmoid, tanh, number(1), number=number)
FORWARD, BACKWARD = 0, 1
NAMES = ("step_forward", "step_backward")


@functools.cache
def trace(cell: Cell, way: int) -> Traced | None:
    """The step, FORWARD, or its undoing, BACKWARD, run over symbols; None if it does more than arithmetic."""
    given = symbols(cell.arguments[way])
    try:
        gives = tuple(cell.make_step(SYMBOLS, *symbols(cell.weights))[way](*given))
    except Exception:  # whatever array code raises that is given no array
        return None
    return Traced(given, gives) if all(isinstance(value, Symbol) for value in gives) else None
