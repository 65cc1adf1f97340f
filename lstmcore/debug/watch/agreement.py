"""Do a framework's outputs and gradients agree with lstmcore's, as far as rounding allows?"""

from typing import NamedTuple

import numpy as np

from lstmcore.debug.gradcheck.gradcheck import ROUNDINGS
from lstmcore.debug.trees import gradient_of, named
from lstmcore.debug.watch.replay import Replay
from lstmcore.debug.watch.seen import PRECISIONS, Call
from lstmcore.layers.tree import state_names

DRAWS, SLACK = 8, 4.0  # how often the weights are shaken, and how much more than that rounding may do
COARSE = 2.0**-20  # below float32 4096 roundings would allow anything
FEW = 8  # there: the products, gates and states of a step, each rounded


class Row(NamedTuple):
    """One array of the comparison."""

    name: str
    shape: tuple[int, ...]
    error: float  # max |theirs - ours| / max |ours|
    allowed: float
    at: tuple[int, ...]  # where they differ most
    theirs: float
    ours: float

    @property
    def ok(self) -> bool:
        return self.error <= self.allowed  # a NaN is not


@np.errstate(all="ignore")  # of numbers without bounds the comparison says what there is to say
def agreement(replay: Replay, calls: tuple[Call, ...]) -> tuple[Row, ...]:
    """The comparison of every output and gradient that the framework has."""
    theirs, ours = _theirs(replay, calls), _ours(replay, calls)
    rng = np.random.default_rng(0)
    shaken = [_ours(replay.shaken(rng), calls) for _ in range(DRAWS)]
    eps, least = PRECISIONS[replay.seen.precision]
    T = max(call.x.shape[0] for call in calls)
    rounding = (FEW + T**0.5 if eps > COARSE else ROUNDINGS) * eps  # a sum of T rounded terms goes astray as sqrt(T)
    lost = least * sum(call.x.shape[0] * call.x.shape[1] for call in calls)  # each term of a sum may end below `least`
    rows = []
    for name, array in theirs.items():
        key = name if name in ours else name.split(" (")[0]  # a second bias has the gradient of the first
        right = ours[key][: len(array)]  # but a GRU's has no block n, which is the last
        error, at = _distance(array, right)
        allowed = rounding + lost / max(float(np.max(np.abs(right))), 1e-300)
        allowed += SLACK * max(_distance(other[key], ours[key])[0] for other in shaken)
        rows.append(Row(name, tuple(array.shape), error, allowed, at, float(array[at]), float(ours[key][at])))
    return tuple(rows)


def _ours(replay: Replay, calls: tuple[Call, ...]) -> dict[str, np.ndarray]:
    """lstmcore's own outputs and gradients, those of the weights summed over the calls."""
    answers: dict[str, np.ndarray] = {}
    for k, call in enumerate(calls):
        layer = replay.at(call)
        y, _, cache = layer.forward(call.x, call.state, call.mask)
        dx, dstate0, grads = layer.backward(call.dy, cache, call.dstate)
        own = {"y": y} if dx is None else {"y": y, "dx": dx}
        own |= {gradient_of(name): d for name, d in named(dstate0, state_names(layer)).items()}
        answers |= {name + _suffix(k, calls): value for name, value in own.items()}
        for name, gradient in grads.items():
            key = gradient_of(name)
            answers[key] = answers[key] + gradient if key in answers else gradient
    return answers


def _theirs(replay: Replay, calls: tuple[Call, ...]) -> dict[str, np.ndarray]:
    """The framework's, under the same names; what it lacks is left out."""
    answers: dict[str, np.ndarray] = {}
    for k, call in enumerate(calls):
        own = {"y": call.y} if call.dx is None else {"y": call.y, "dx": call.dx}
        own |= {gradient_of(name): d for name, d in named(call.dstate0, state_names(replay.at(call))).items()}
        answers |= {name + _suffix(k, calls): value for name, value in own.items()}
    return answers | {gradient_of(name): value for name, value in replay.gradients()}


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """max |a - b| / max |b|, and where; nothing beside nothing is no distance."""
    difference = np.abs(a - b)
    at = tuple(map(int, np.unravel_index(np.argmax(difference), difference.shape)))
    scale = float(np.max(np.abs(b)))
    return (float(difference[at]) / scale if scale > 0 else 0.0 if difference[at] == 0 else np.inf), at


def _suffix(k: int, calls: tuple[Call, ...]) -> str:
    return f" (call {k})" if len(calls) > 1 else ""
