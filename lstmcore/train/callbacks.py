"""What a training run shows to those who watch it, and how they are called."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore.arrays import Array
from lstmcore.layers import Layer
from lstmcore.train.batches import Batch
from lstmcore.train.carry import as_plain, from_plain
from lstmcore.train.optimizer import Optimizer


@dataclass
class Run:
    """The state of one call of `fit`, as every callback gets it. Set `ended` to a sentence to end the run."""

    model: Layer
    opt: Optimizer
    epochs: int  # how many are wanted
    batches_per_epoch: int | None = None  # None if the batches cannot tell
    epoch: int = 0  # epochs completed
    step: int = 0  # updates done
    batch: Batch | None = None  # the present one, and what came of it:
    y: Array | None = None
    cache: Any = None
    loss: float = 0.0
    grads: dict[str, Array] = field(default_factory=dict)
    norm: float | None = None  # of the gradients before clipping; None without clipping
    loss_sum: float = 0.0  # of this epoch so far, each batch's loss times its items
    items: int = 0  # valid outputs of this epoch so far
    carried: Any = None  # the state that the next batch starts from; None for zeros
    history: list[dict[str, Any]] = field(default_factory=list)  # one row per epoch
    ended: str | None = None  # why the run ended

    @property
    def state(self) -> dict[str, Any]:
        """Where the run stands, as plain data: what `fit(resume=...)` takes."""
        numbers = {name: getattr(self, name) for name in ("epoch", "step", "loss_sum", "items")}
        return numbers | {"carried": as_plain(self.carried), "history": [dict(row) for row in self.history]}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        for name in self.state:
            setattr(self, name, state[name])
        self.carried = from_plain(state["carried"], next(iter(self.model.params.values()), None))
        self.history = [dict(row) for row in state["history"]]


class Callback:
    """Somebody who watches a run. Any object with some of these methods will do; this one does nothing."""

    def on_start(self, run: Run) -> None:
        """Before the first batch."""

    def on_gradients(self, run: Run) -> None:
        """After backward and clipping, before the update: `run.grads` may be changed in place."""

    def on_batch(self, run: Run) -> None:
        """After each update."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch and its validation; `run.history[-1]` is its row."""

    def on_end(self, run: Run) -> None:
        """At the end, however it came; `run.ended` says how."""


HOOKS = ("on_start", "on_gradients", "on_batch", "on_epoch", "on_end")


def check_callbacks(callbacks: Any) -> None:
    """Each has at least one hook, and none that is never called (a slip of the pen)."""
    for callback in callbacks:
        names = [name for name in dir(callback) if name.startswith("on_")]
        unknown = [name for name in names if name not in HOOKS]
        if unknown or not names:
            raise TypeError(
                f"a callback should have some of the methods {', '.join(HOOKS)}; {callback!r} has "
                f"{', '.join(unknown) or 'none of them'}"
            )


class Freeze(Callback):
    """Takes the gradients out whose names begin with one of the prefixes: what has none is left alone by every step."""

    def __init__(self, *prefixes: str):
        self.prefixes = prefixes

    def on_gradients(self, run: Run) -> None:
        run.grads = {name: g for name, g in run.grads.items() if not name.startswith(self.prefixes)}


class EarlyStopping(Callback):
    """Ends a run when the loss has not improved for `patience` epochs in a row (Prechelt 1998, criterion UP).

    The validation loss if there is one, else the training loss. With restore=True the parameters of the best epoch are
    put back at the end, however the run ends.
    """

    def __init__(self, patience: int = 10, restore: bool = True):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"`patience` should be a positive number of epochs; got {patience!r}")
        self.patience, self.restore = patience, restore
        self.best = np.inf
        self.best_epoch = 0
        self._params: dict[str, Array] = {}

    def on_epoch(self, run: Run) -> None:
        row = run.history[-1]
        loss = row.get("validation", row["loss"])
        if loss < self.best:
            self.best, self.best_epoch = loss, run.epoch
            if self.restore:
                self._params = {name: w.copy() for name, w in run.model.params.items()}
        elif run.epoch - self.best_epoch >= self.patience:
            run.ended = f"stopped early: no improvement on epoch {self.best_epoch} in {self.patience} epochs"

    def on_end(self, run: Run) -> None:
        for name, w in self._params.items():
            run.model.params[name] = w
