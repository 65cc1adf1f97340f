"""Truncated backpropagation through time, BPTT(k1, k2) (Williams & Peng 1990): every k1 steps, k2 steps back."""

from collections.abc import Callable

from lstmcore.arrays import Array, State, namespace
from lstmcore.layers import BatchFirst, Layer
from lstmcore.layers.tree import walk
from lstmcore.layers.without_dx import without_dx
from lstmcore.shapes import check_like, check_size


def truncated_gradients(
    model: Layer,
    x: Array,
    dy: Array | Callable[[Array, slice], Array],
    k1: int,
    k2: int | None = None,
    *,
    state: State | None = None,
    mask: Array | None = None,
) -> tuple[dict[str, Array], State | None]:
    """The gradients of the parameters, and the final state.

    After every k1 steps, the gradients of their outputs go back k2 >= k1 steps and no further: the effect of step t on
    output u counts where both lie in one window of k2 steps. k2 None means k1, chunks without overlap; k2 >= T gives
    the full gradient. It takes k2 / k1 forward and backward passes, and the memory of one over k2 steps.

    x (T, B, I); dy (T, B, O), or a function (y, steps) -> dy of the outputs y (k1, B, O) of those steps, a slice; state
    and mask (T, B) as for the model, which runs in evaluation. Raises TypeError for a model that reads time from its
    end, has the batch first or gives no output for each step, ValueError for k2 < k1, and what the model raises.
    """
    check_size("k1", k1)
    k2 = k1 if k2 is None else k2
    check_size("k2", k2)
    if k2 < k1:
        raise ValueError(
            f"`k2`, how far back, should be at least `k1`, how often; got {k2} and {k1} (outputs left out)"
        )
    turned = next((part for _, part in walk(model) if part.flipped), None)
    if turned is not None:
        raise TypeError(f"`model` should read time from its beginning; {turned!r} needs the whole sequence at once")
    swapped = next((part for _, part in walk(model) if isinstance(part, BatchFirst)), None)
    if swapped is not None:
        raise TypeError(
            f"`model` should have time first; {swapped!r} has the batch first (hand over its model and time-major "
            "arrays)"
        )
    T = x.shape[0]
    ends = [min(end, T) for end in range(k1, T + k1, k1)]
    starts = [max(end - k2, 0) for end in ends]
    at, states = 0, {0: state}  # the state before each window: the state goes on, the gradient stays
    for start in sorted({*starts, T} - {0}):
        states[start] = model.predict(x[at:start, ...], states[at], None if mask is None else mask[at:start, ...])[1]
        at = start
    total: dict[str, Array] = {}
    for start, end in zip(starts, ends):
        first = end - k1 if end % k1 == 0 else end - end % k1  # of the outputs that are new
        y, _, cache = model.forward(x[start:end, ...], states[start], None if mask is None else mask[start:end, ...])
        if y.ndim < 3 or y.shape[0] != end - start:
            raise TypeError(f"`model` should give an output for each step; {model!r} gives {tuple(y.shape)}")
        new, steps = y[first - start :, ...], slice(first, end)
        upstream = namespace(y).zeros_like(y)
        upstream[first - start :, ...] = check_like(
            "dy", dy(new, steps) if callable(dy) else dy[steps, ...], tuple(new.shape), "the shape of those outputs", y
        )
        _, _, grads = model.backward(upstream, without_dx(model, cache))
        total = {name: g + total[name] if name in total else g for name, g in grads.items()}
    return total, states[T]
