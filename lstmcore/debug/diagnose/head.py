"""The gradients of a linear head above the layer, where a case holds them: right, or which slip they are."""

from collections.abc import Callable

import numpy as np

from lstmcore.debug.diagnose.loss import Loss
from lstmcore.debug.diagnose.trial import Bench

SLIPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # y -> what stands in its place in dW = sum y^T dz (52)
    "h_{t-1} in place of h_t": lambda y: np.concatenate([0 * y[:1], y[:-1]]),
    "the last step alone": lambda y: y * (np.arange(len(y)) == len(y) - 1)[:, None, None],
    "the first step alone": lambda y: y * (np.arange(len(y)) == 0)[:, None, None],
}


def judge_head(bench: Bench) -> tuple[str, ...]:
    """What is wrong with dW and db of the head, each in words; nothing if they are right, or were not given."""
    loss, reading = bench.reading.loss, bench.reading
    if loss is None or not loss.grads:
        return ()
    y = bench.outputs(bench.base, bench.rounded(()))
    right = loss.gradients(y)[1]
    allowed = {
        name: reading.unit * bench.deviations * np.sqrt(right[name].variance)
        + loss.written[name].moved(right[name].value)
        for name in loss.grads
    }
    want = {name: right[name].value for name in loss.grads}
    return tuple(
        f"the head's {name} {_slip(name, loss, y.value, want[name], allowed[name])}"
        for name, got in loss.grads.items()
        if not np.all(np.abs(got - want[name]) <= allowed[name])
    )


def _slip(name: str, loss: Loss, y: np.ndarray, want: np.ndarray, allowed: np.ndarray) -> str:
    got = loss.grads[name]
    if np.vdot(want, want) > 0:
        factor = float(np.vdot(got, want) / np.vdot(want, want))
        if factor and np.all(np.abs(got - factor * want) <= (1 + abs(factor)) * allowed):
            return f"is {factor:.6g} times the right one"
    if got.shape == want.shape[::-1] and np.all(np.abs(got.T - want) <= allowed):
        return "is transposed"
    for words, seen in SLIPS.items() if y.ndim == 3 else ():
        made = np.tensordot(seen(y), loss.slopes(y), axes=((0, 1), (0, 1)))
        if name == "dW" and np.all(np.abs(got - made) <= 2 * allowed):
            return f"is made with {words}"
    off = float(np.max(np.abs(got - want)) / max(np.max(np.abs(want)), 1e-300))
    return f"is off by {off:.1e} of its largest number"
