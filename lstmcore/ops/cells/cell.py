"""What a cell tells the engines: one time step, pointwise between named products."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Maths(NamedTuple):
    """What differs between array code and compiled scalar code."""

    sigmoid: Callable
    tanh: Callable
    one: Any  # the constant 1, in the dtype of the computation where plain literals would widen it


class Cell(NamedTuple):
    """One time step and its undoing, and the products around it.

    An engine computes K blocks of pre-activations: block k is its bias, plus its columns of `x @ W_ih` if k is in
    `input_blocks`, plus its columns of `h_prev @ W_hh` if k is in `recurrent_blocks`. Then it calls

        step_forward(*blocks, *previous) -> (*gates, *states)
        step_backward(*dstates, *gates, *previous, *current) -> (*dblocks, *dprevious)

    with `step_forward, step_backward = cell.make_step(maths)`; every argument has shape (B, H), or is one number.
    The gradient of h_prev through the products is the engine's to add.
    """

    name: str
    states: tuple[str, ...]  # h first: it is the output, and what the recurrent product reads
    gates: tuple[str, ...]  # the K blocks; the same letters name the pre-activations and the saved gates
    input_blocks: tuple[int, ...]  # which blocks W_ih feeds
    recurrent_blocks: tuple[int, ...]  # which blocks W_hh feeds
    biases: dict[str, tuple[int, ...]]  # parameter -> the blocks it feeds; in block order, together all K of them
    previous: tuple[str, ...]  # states of step t-1 that the step reads pointwise
    current: tuple[str, ...]  # states of step t that its undoing reads
    make_step: Callable[[Maths], tuple[Callable, Callable]]

    def shapes(self, I: int, H: int) -> dict[str, tuple[int, ...]]:
        """The parameters and their shapes for input width I and hidden width H."""
        return {
            "W_ih": (I, len(self.input_blocks) * H),
            "W_hh": (H, len(self.recurrent_blocks) * H),
            **{name: (len(blocks) * H,) for name, blocks in self.biases.items()},
        }
