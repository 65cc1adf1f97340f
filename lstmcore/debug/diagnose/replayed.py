"""A case as arguments of the tools: the layer that it comes from, with its weights, and what it was given."""

from lstmcore.arrays import Array
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.read_case import Reading, readings
from lstmcore.debug.diagnose.training_step import nested
from lstmcore.debug.diagnose.trial import Bench, residual, with_loss_settled
from lstmcore.debug.step.visits import StepOptions
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names


def replayed(case: Case) -> tuple[Layer, Array, Array, StepOptions]:
    """layer, x, dy, and mask, state and dstate, as `ledger` takes them.

    Its own gradients tell which way to read it, where there are several; they are not judged. Raises TypeError,
    KeyError or ValueError for a case that does not hold together.
    """
    found = readings(
        case.weights, case.x, case.upstream, case.grads, case.state or None, case.mask,
        case.dstate or None, case.layout, case.cell or None, case.dropout, loss=case.loss or None,
    )  # fmt: skip
    reading = min(map(with_loss_settled, found), key=_far if len(found) > 1 else lambda _: 0.0)
    params, x, mask, state, dy, dstate = Bench(reading).prepared()
    model, names = reading.model, state_names(reading.model)
    for name, value in params.items():
        model.params[name] = value
    return model, x, dy, {"mask": mask, "state": nested(names, state), "dstate": nested(names, dstate)}


def _far(reading: Reading) -> float:
    """How far the case's gradients are from those that this reading of it gives."""
    bench = Bench(reading)
    return residual(bench.numbers(), bench.case.grads)
