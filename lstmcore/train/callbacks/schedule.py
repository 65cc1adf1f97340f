"""Learning rates over time: `schedule(step) -> lr`, step = 0, 1, ... counting the updates, not the epochs."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

from lstmcore.arrays import Plain
from lstmcore.shapes import check_size

STEPS = "a positive number of steps"

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """lr"""

    lr: float

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class Step:
    """lr factor^floor(step / every): a staircase."""

    lr: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        check_size("every", self.every, STEPS)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Exponential:
    """lr factor^(step / every): the smooth curve through the corners of `Step`."""

    lr: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        check_size("every", self.every, STEPS)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step / self.every)


@dataclass(frozen=True)
class Cosine:
    """last + (lr - last) (1 + cos(pi step / steps)) / 2, and `last` from then on (Loshchilov & Hutter 2017, equation 5,
    without restarts)."""

    lr: float
    steps: int
    last: float = 0.0

    def __post_init__(self) -> None:
        check_size("steps", self.steps, STEPS)

    def __call__(self, step: int) -> float:
        return self.last + (self.lr - self.last) * ((1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2)


@dataclass
class WarmUp:
    """A straight rise to the first value of another schedule, which then begins: then(0) (step + 1) / (steps + 1) for
    step < steps, then(step - steps) after (Goyal et al. 2017, section 2.2)."""

    steps: int
    then: Schedule

    def __post_init__(self) -> None:
        check_size("steps", self.steps, STEPS)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.then(0) * (step + 1) / (self.steps + 1)
        return self.then(step - self.steps)

    @property
    def state(self) -> Plain | None:
        """That of the other schedule; None if it has none."""
        return getattr(self.then, "state", None)

    @state.setter
    def state(self, state: Plain) -> None:
        self.then.state = state  # type: ignore[attr-defined]

    def observe(self, loss: float) -> None:
        """Passes the loss of an epoch on, if the other schedule wants it."""
        if hasattr(self.then, "observe"):
            self.then.observe(loss)


class Plateau:
    """Multiplies the rate by `factor` when the observed loss has not improved for `patience` epochs in a row.

    An improvement is a loss below (1 - threshold) times the best so far. After a cut the waiting starts anew; the rate
    never falls below `last`. `fit` calls `observe` after each epoch, with the validation loss if there is one.
    The memory is `state`, plain numbers, to be saved and assigned back; KeyError or TypeError for what is none.
    """

    factor: float
    patience: int
    threshold: float
    last: float

    def __init__(self, lr: float, factor: float = 0.5, patience: int = 5, threshold: float = 1e-4, last: float = 0.0):
        if not 0 < factor < 1:
            raise ValueError(f"`factor` should lie between 0 and 1; got {factor!r}")
        check_size("patience", patience, STEPS)
        self.factor, self.patience, self.threshold, self.last = factor, patience, threshold, last
        self._state: Plain = {"lr": lr, "best": math.inf, "waited": 0}

    @property
    def state(self) -> Plain:
        return dict(self._state)

    @state.setter
    def state(self, state: Plain) -> None:
        lr, best, waited = float(state["lr"]), float(state["best"]), operator.index(state["waited"])
        self._state = {"lr": lr, "best": best, "waited": waited}

    def __call__(self, step: int) -> float:
        return self._state["lr"]

    def observe(self, loss: float) -> None:
        """The loss of one more epoch. NaN is no improvement."""
        lr, best, waited = self._state["lr"], self._state["best"], self._state["waited"] + 1
        if loss < (best if best == math.inf else best - self.threshold * abs(best)):
            best, waited = loss, 0
        elif waited >= self.patience:
            lr, waited = max(lr * self.factor, self.last), 0
        self._state = {"lr": lr, "best": best, "waited": waited}
