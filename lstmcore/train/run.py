"""A training run as every callback gets it, and all that it takes to go on from where it stands."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

import numpy as np

from lstmcore.arrays import Array, Plain, State, is_array, library_name, to_library, to_numpy
from lstmcore.layers import Layer
from lstmcore.train.data.batch import Batch, Data, Rows
from lstmcore.train.data.carry import from_host, to_host
from lstmcore.train.metrics import Metric
from lstmcore.train.update.optimizer import Optimizer

ROW = ("epoch", "step", "loss", "lr", "seconds")  # what every row of a history has


class History(TypedDict):
    """What came of a call of `fit`, plain data."""

    ended: str  # why: "all 10 epochs done"
    step: int  # updates done
    seconds: float  # in all
    epochs: list[Plain]  # a row each: ROW, "validation" where there is any, and what callbacks have added


class Remembering(Protocol):
    """What has a state to save besides the model: batches, a schedule, a callback."""

    state: Plain


@dataclass
class Run:
    """The state of one call of `fit`. A callback sets `ended` to a sentence to end the run."""

    model: Layer
    opt: Optimizer
    epochs: int  # how many are wanted
    batches: Data
    validation: Data | None = None
    schedule: Callable[[int], float] | None = None
    rng: np.random.Generator = field(default_factory=np.random.default_rng)  # draws the dropout masks
    callbacks: Sequence[object] = ()
    batches_per_epoch: int | None = None  # updates, that is; None if the batches cannot tell
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # of the validation
    epoch: int = 0  # epochs completed
    step: int = 0  # updates done
    position: int = 0  # updates of this epoch
    batch: Batch | Rows | None = None  # the present one, and what came of it:
    y: Array | None = None
    cache: object = None
    loss: float = 0.0
    grads: dict[str, Array] = field(default_factory=dict)
    norm: float | None = None  # of the gradients before clipping; None without clipping
    loss_sum: float = 0.0  # of this epoch so far, each batch's loss times its items
    items: float = 0  # valid outputs of this epoch so far
    seconds: float = 0.0  # of this epoch so far
    carried: State | None = None  # the state that the next batch starts from; None for zeros
    history: list[Plain] = field(default_factory=list)  # one row per epoch
    whole: bool = True  # nothing is half done: `state` is one to go on from
    ended: str | None = None  # why the run ended
    order: str = "whole"  # in which the terms of gradients are added, `Ranks.order`

    @property
    def state(self) -> Plain:
        """Where the run stands: what `fit(resume=...)` takes to go on bit for bit.

        Plain data and NumPy arrays, all of them copies: parameters, the optimizer's memory, the position in the data,
        random states, the carried state, the history, and the `state` of the schedule and of every callback that has
        one. Assigning it to the run of an equal training puts all that back, or raises ValueError and changes nothing.
        """
        memories = {
            name: {slot: np.array(to_numpy(a)) if is_array(a) else a for slot, a in memory.items()}
            for name, memory in self.opt.state.items()
        }
        return {
            "config": self.model.config(),
            "model": {name: np.array(to_numpy(w)) for name, w in self.model.params.items()},
            "opt": {"kind": type(self.opt).__name__, "lr": self.opt.lr, "memory": memories},
            "data": {name: getattr(part, "state", None) for name, part in self._data().items()},
            "rng": self.rng.bit_generator.state,
            "callbacks": [[type(callback).__name__, callback.state] for callback in self._remembering()],
            "carried": to_host(self.carried),
            "counts": {name: getattr(self, name) for name in ("epoch", "step", "position")},
            "sums": {name: getattr(self, name) for name in ("loss_sum", "items", "seconds")},
            "history": [dict(row) for row in self.history],
        }

    @state.setter
    def state(self, state: Plain) -> None:
        before = self.state
        try:
            self._check(state)
            self._put_back(state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            self._put_back(before)
            raise ValueError(f"the saved state does not fit this training: {error}") from error

    def _put_back(self, state: Plain) -> None:
        library = {name: library_name(w) for name, w in self.model.params.items()}
        for name, w in state["model"].items():
            self.model.params[name] = to_library(w, library[name])
        self.opt.lr = state["opt"]["lr"]
        self.opt.state = {
            name: {slot: to_library(a, library[name]) if is_array(a) else a for slot, a in memory.items()}
            for name, memory in state["opt"]["memory"].items()
        }
        for name, part in self._data().items():
            if state["data"][name] is not None:
                part.state = state["data"][name]
        self.rng.bit_generator.state = state["rng"]
        for callback, (_, memory) in zip(self._remembering(), state["callbacks"]):
            callback.state = memory
        self.carried = from_host(state["carried"], next(iter(library.values()), "numpy"))
        for name, value in (state["counts"] | state["sums"]).items():
            setattr(self, name, value)
        self.history = [dict(row) for row in state["history"]]

    def _check(self, state: Plain) -> None:
        """Checks that it is a state, of a training like this one."""
        if not isinstance(state, dict) or state.keys() != self.state.keys():
            raise ValueError("it should be what `run.state` gives, or what a checkpoint holds")
        config = self.model.config()
        if state["config"] != config:
            raise ValueError(f"the model is {config}; the saved one was {state['config']}")
        if state["model"].keys() != self.model.params.keys():
            raise ValueError(f"it should have the parameters {[*self.model.params]}; it has {[*state['model']]}")
        if state["opt"]["kind"] != type(self.opt).__name__:
            raise ValueError(f"the optimizer is {type(self.opt).__name__}; the saved one was {state['opt']['kind']}")
        now, then = [type(c).__name__ for c in self._remembering()], [kind for kind, _ in state["callbacks"]]
        if now != then:
            raise ValueError(f"the callbacks with a memory are {now or 'none'}; the saved ones were {then or 'none'}")
        for name, value in state["counts"].items():
            if operator.index(value) < 0:
                raise ValueError(f"{name} should be a count; it is {value}")
        if not all(isinstance(value, int | float) for value in state["sums"].values()):
            raise ValueError(f"{state['sums']} should be numbers")
        for row in state["history"]:
            if any(not isinstance(row[name], int | float) for name in ROW):
                raise ValueError(f"a row of the history should hold the numbers {', '.join(ROW)}; one is {row}")

    def _data(self) -> Plain:
        """Whatever may have a position or a memory, besides the model and the callbacks."""
        return {"batches": self.batches, "validation": self.validation, "schedule": self.schedule}

    def _remembering(self) -> list[Remembering]:
        return [callback for callback in self.callbacks if hasattr(callback, "state")]
