"""Was it read right? Both sides run on the same random input, in float64 where the other side can."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, State
from lstmcore.layers import (
    Bidirectional,
    Embedding,
    Last,
    Layer,
    Recurrent,
    ReLU,
    Reversed,
    Sigmoid,
    Softmax,
    Stack,
    Tanh,
)
from lstmcore.layers.bidirectional import MERGES
from lstmcore.layers.tree import leaves, replaced

T, B = 7, 3
LENGTHS = np.array([5, T, 1])
ROUNDINGS = 4096  # units of rounding, as in debug.gradcheck
ENDS: tuple[type[Layer] | None, ...] = (None, Tanh, Softmax, Sigmoid, ReLU)  # functions that a forward may call


class Proof(NamedTuple):
    """What came of it: `error`, the largest difference beside the largest output; None where nothing was run."""

    error: float | None
    words: str

    def __str__(self) -> str:
        return f"unproved: {self.words}" if self.error is None else f"proved: {self.words}, equal to {self.error:.1e}"


class Differs(ValueError):
    """Both sides ran, and what they gave is not the same."""


def inputs(model: Layer, steps: int = T, rows: int = B) -> np.ndarray:
    """Random input for a model: (T, B, I) in its dtype, or classes (T, B)."""
    rng = np.random.default_rng(0)
    first = next((leaf for _, leaf in leaves(model) if leaf.params), None)
    if first is None:
        raise ValueError(f"{model} has no parameters, so there is nothing to read")
    if isinstance(first, Embedding):
        return rng.integers(0, first.classes, (steps, rows))
    W = next(iter(first.params.values()))  # (I, ...)
    return rng.standard_normal((steps, rows, len(W))).astype(W.dtype)


def compare(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], eps: float) -> float:
    """The largest difference beside the largest value. Raises Differs if it is more than rounding."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise Differs(f"shapes {a.shape} here and {b.shape} there")
        scale = max(float(np.max(np.abs(b), initial=0)), 1e-30)
        worst = max(worst, float(np.max(np.abs(a - b), initial=0)) / scale)
        if np.isnan(a).any() or np.isnan(b).any():
            raise Differs("NaN in the outputs")
    if worst > ROUNDINGS * eps:
        raise Differs(f"outputs differ by {worst:.1e} of the largest")
    return worst


def readings(layers: list[Layer]) -> Iterator[list[Layer]]:
    """The layers as they are; with the final state of the last recurrent one; with its output at the last step; with
    its two directions put together in other ways, or its one direction turned."""
    yield layers
    k = max(
        (k for k, layer in enumerate(layers) if isinstance(layer, Recurrent | Bidirectional | Reversed)), default=None
    )
    if k is not None:
        yield [*layers[:k], _final(layers[k]), *layers[k + 1 :]]
        yield [*layers[: k + 1], Last(), *layers[k + 1 :]]
        last = layers[k]
        others = [Bidirectional(last.fw, last.bw, m) for m in MERGES] if isinstance(last, Bidirectional) else []
        for other in [Reversed(last)] if isinstance(last, Recurrent) else others:
            yield [*layers[:k], other, *layers[k + 1 :]]
            if getattr(other, "merge", "") != "none":
                yield [*layers[:k], _final(other), *layers[k + 1 :]]


def reads_itself(layers: list[Layer]) -> bool:
    """Whether each layer takes what the one before it gives."""
    try:
        Stack(layers).to(engine="reference").predict(inputs(Stack(layers)))
    except (ValueError, TypeError, StopIteration):
        return False
    return True


def orders(layers: list[Layer]) -> Iterator[list[int]]:
    """The places of the layers in every order worth trying: as they are, and, where they cannot read each other so, in
    every other order in which they can. What has no parameters stays behind what it stands behind."""
    yield list(range(len(layers)))
    begins = [k for k, layer in enumerate(layers) if layer.params or k == 0]
    groups = [list(range(a, b)) for a, b in itertools.pairwise([*begins, len(layers)])]
    if len(groups) < 7 and not reads_itself(layers):
        for some in itertools.permutations(groups):
            order = list(itertools.chain(*some))
            if reads_itself([layers[k] for k in order]):
                yield order


class Found(NamedTuple):
    """The layers whose outputs are those that were to be found."""

    layers: list[Layer]
    error: float
    note: str


def found_by_running(
    layers: list[Layer], wide: list[Layer], x: np.ndarray, want: np.ndarray, eps: float, mask: Array | None = None
) -> Found | None:
    """Which reading of the layers, with which function at their end, gives what is wanted; None if none does.

    wide: the same layers in the precision in which they are run.
    """
    for (model, proven), end in itertools.product(zip(readings(layers), readings(wide)), ENDS):
        try:
            got = Stack([*proven, *([end()] if end else [])]).to(engine="reference").predict(x, mask=mask)[0]
        except ValueError:  # parts that do not fit each other in this order
            continue
        for logs in (False, True) if end is None else (False,):
            try:
                error = compare([_log_softmax(got) if logs else got], [want], eps)
            except Differs:
                continue
            note = ", without the log_softmax at its end: softmax_cross_entropy holds it" if logs else ""
            return Found([*model, *([end()] if end else [])], error, note)
    return None


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _final(layer: Layer) -> Layer:
    """The same layer, over the same arrays, that gives its final state."""

    def change(_: str, leaf: Layer) -> Layer:
        twin = copy.copy(leaf)
        twin.return_sequences = False
        return twin

    return replaced(layer, change)


def flat(state: State | Array | None) -> list[np.ndarray]:
    if isinstance(state, tuple):
        return [array for part in state for array in flat(part)]
    return [] if state is None else [state]
