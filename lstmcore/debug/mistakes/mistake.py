"""What a mistake is: one line as it should be, and as it was written."""

from collections.abc import Callable
from typing import NamedTuple

LSTM, GRU, RNN = (f"lstmcore.ops.cells.{name}" for name in ("lstm", "gru", "rnn"))
LOOP = "lstmcore.ops.recurrence.reference"
PRODUCTS = "lstmcore.ops.recurrence.products"
BOTH = "lstmcore.layers.bidirectional"
BETWEEN = "lstmcore.debug.between"
AROUND = "lstmcore.debug.diagnose.training_step"
ENGINE = (LSTM, GRU, RNN, PRODUCTS, LOOP)  # the modules that an engine is made of
MODULES = (*ENGINE, BOTH, BETWEEN, AROUND)  # every module that a mistake may edit, lowest first


class Edit(NamedTuple):
    """One wrong line. `right` occurs exactly once in the source of `module`."""

    module: str
    right: str
    wrong: str


class Mistake(NamedTuple):
    """A wrong line, and `more` where a mistake is consistent: made forward, and undone by the same mistake.

    needs: what a case must have for the mistake to be possible, of "mask", "both" (directions), "square" (I = H),
    "two biases", "forget bias" (one added at run time), "state", "dstate", "final" (dy of the final states only),
    "outputs" (dy of all outputs), "dropout x", "dropout y", "dropout between" (a mask on the inputs, on the outputs,
    between layers), "several masks" (of one shape, between layers and on the outputs).
    """

    name: str
    module: str
    right: str
    wrong: str
    more: tuple[Edit, ...] = ()
    needs: tuple[str, ...] = ()
    layer: str = ""  # the layer and direction that it is made in, "1.bw"; "" for all

    def only_in(self, layer: str) -> "Mistake":
        """The same, made in one layer."""
        return self._replace(name=f"{self.name} (in layer {layer} alone)", layer=layer)

    def only(self, wanted: Callable[[Edit], bool]) -> "Mistake":
        """The same with some of its edits."""
        first, *more = filter(wanted, self.edits)
        return self._replace(module=first.module, right=first.right, wrong=first.wrong, more=tuple(more))

    @property
    def function(self) -> bool:
        """True if it is another function, forward and backward, rather than wrong gradients of this one."""
        given = all(edit.right in (GIVEN, DROPPED_X) for edit in self.edits)
        return given or "forward and backward" in self.name or "forget bias of 1" in self.name

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (Edit(self.module, self.right, self.wrong), *self.more)

    @property
    def cell(self) -> str | None:
        """The cell whose step it edits, or that it needs; None if it can be made with every cell."""
        names = [name.rsplit(".")[-1] for name in (LSTM, GRU, RNN)]
        return next((name for name in names if self.module.endswith(f".cells.{name}") or name in self.needs), None)

    @property
    def afterwards(self) -> bool:
        """True if it only changes how finished gradients are handed over, so that nothing need be run anew."""
        return all(edit.module == AROUND and edit.right in HAND_OVER for edit in self.edits)


# Anchors in training_step.py. A line put before an anchor leaves the anchor there for the next mistake.
READ = "    params = in_lstmcore(case)"
GIVEN = "    return params, x, mask, state, dy, dstate"
DROPPED_X = '    case = case._replace(x=dropped(case.x, case.dropout.get("x")))'
DROPPED_DY = '    case = case._replace(dy=dropped(case.dy, case.dropout.get("y")))'
DROPPED_DX = '    grads = {**grads, "x": dropped(grads["x"], case.dropout.get("x"))}'
OURS = "    answer = from_lstmcore("
THEIRS = "    return answer"
HAND_OVER = (DROPPED_DX, OURS, THEIRS)
