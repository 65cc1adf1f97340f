"""Callbacks: what is called while `fit` trains, and when."""

import operator
from collections.abc import Iterable

import numpy as np

from lstmcore.arrays import Array, Plain, library_name, to_library, to_numpy
from lstmcore.hints import hinted
from lstmcore.shapes import check_size
from lstmcore.train.run import Run


class Callback:
    """What is called during a run. This one does nothing: inherit it and write the methods that are wanted.

    One that remembers something beyond a batch has it in `state`, plain data and NumPy arrays, to be read and assigned:
    it is saved with the run. A copy of parameters in it, {name: array}, is called "params".
    """

    writes = False  # True: of several ranks only the first calls it

    def on_start(self, run: Run) -> None:
        """Before the first batch."""

    def on_gradients(self, run: Run) -> None:
        """After backward and clipping, before the update: `run.grads` may be changed in place."""

    def on_batch(self, run: Run) -> None:
        """After each update."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch and its validation; `run.history[-1]` is its row."""

    def on_end(self, run: Run) -> None:
        """At the end, however it came; `run.ended` says how. Called in reverse order, the last callback first."""


HOOKS = ("on_start", "on_gradients", "on_batch", "on_epoch", "on_end")


def check_callbacks(callbacks: Iterable[object]) -> None:
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

    patience: int
    restore: bool

    @hinted
    def __init__(self, patience: int = 10, restore: bool = True):
        check_size("patience", patience, "a positive number of epochs")
        self.patience, self.restore = patience, restore
        self.best: float = np.inf
        self.best_epoch: int = 0
        self._params: dict[str, Array] = {}

    @property
    def state(self) -> Plain:
        params = {name: np.array(to_numpy(w)) for name, w in self._params.items()}
        return {"best": self.best, "epoch": self.best_epoch, "params": params}

    @state.setter
    def state(self, state: Plain) -> None:
        self.best, self.best_epoch = float(state["best"]), operator.index(state["epoch"])
        self._params = dict(state["params"])

    def on_start(self, run: Run) -> None:
        """A run that had been ended stays so."""
        self._end(run)

    def on_epoch(self, run: Run) -> None:
        row = run.history[-1]
        loss = row["validation"] if "validation" in row else row["loss"]
        if loss < self.best:
            self.best, self.best_epoch = loss, run.epoch
            if self.restore:
                self._params = {name: w.copy() for name, w in run.model.params.items()}
        self._end(run)

    def _end(self, run: Run) -> None:
        if run.epoch - self.best_epoch >= self.patience:
            run.ended = f"stopped early: no improvement on epoch {self.best_epoch} in {self.patience} epochs"

    def on_end(self, run: Run) -> None:
        for name, w in self._params.items():
            run.model.params[name] = to_library(w, library_name(run.model.params[name]))
