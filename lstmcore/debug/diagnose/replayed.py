"""A case as arguments of the tools: the layer that it comes from, with its weights, and what it was given."""

from lstmcore.arrays import Array
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.forward import Forward
from lstmcore.debug.diagnose.norms import with_forms_settled
from lstmcore.debug.diagnose.read_case import Reading, readings
from lstmcore.debug.diagnose.training_step import nested
from lstmcore.debug.diagnose.trial import Bench, residual, with_loss_settled
from lstmcore.debug.step.visits import StepOptions
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names


def replayed(case: Case) -> tuple[Layer, Array, Array, StepOptions]:
    """layer, x, dy, and mask, state and dstate, as `ledger` takes them.

    Where its arrays can be read in several ways, its outputs and steps tell which it is, and then its gradients; they
    are not judged. Raises TypeError, KeyError or ValueError for a case that does not hold together.
    """
    steps = dict(case.steps)
    found = readings(
        case.weights, case.x, case.upstream, case.grads, case.state or None, case.mask, case.dstate or None,
        case.layout, case.cell or None, case.dropout, steps.pop("y", None), steps, case.loss or None,
    )  # fmt: skip
    ways = with_forms_settled([with_loss_settled(reading) for reading in found])
    reading = min(ways, key=_far) if len(ways) > 1 else ways[0]
    params, x, mask, state, dy, dstate = Bench(reading).prepared()
    model, names = reading.model, state_names(reading.model)
    for name, value in params.items():
        model.params[name] = value
    return model, x, dy, {"mask": mask, "state": nested(names, state), "dstate": nested(names, dstate)}


def _far(reading: Reading) -> tuple[float, float]:
    """How far the case's outputs are from those of this reading, 0 for rounding; and then its gradients."""
    bench = Bench(reading)
    forward = Forward(bench)
    ahead = residual(forward.seen, forward.numbers()) if not forward.explained() else 0.0
    return ahead, residual(bench.numbers(), bench.case.grads)
