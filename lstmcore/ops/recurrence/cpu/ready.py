"""A call that is made again and again with weights that cannot change: all that its shape fixes is laid out once.

What is left of Python around the kernel is memory for the results, and five arguments. The bits are those of any other
call, for the kernel is the same.
"""

import functools
from collections.abc import Callable

import numpy as np

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.kernel import compile_again
from lstmcore.ops.cpu.threads import run, workspace
from lstmcore.ops.recurrence.cpu.arguments import ForwardArguments
from lstmcore.ops.recurrence.cpu.kernels import kernel
from lstmcore.ops.recurrence.cpu.plan import Plan

GIVEN = ("x", "state0", "states", "y", "counters")  # in each call, in the order of a kernel's arguments
PLAIN = 0x101  # of `flags.num`: C_CONTIGUOUS and ALIGNED (numpy/ndarraytypes.h)


class Ready:
    """`predict` and `step` of a cell with packed weights for one shape, without a mask. Several threads may call it at
    the same time.

    planned: asked in each call, and the plan for which the weights were packed has to be the answer.
    """

    dtype: np.dtype
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    states_shape: tuple[int, ...]
    state_shape: tuple[int, ...]
    zeros: tuple[np.ndarray, ...]
    no_y: np.ndarray
    counters: np.ndarray
    place: int
    plan: Plan
    planned: Callable[[], Plan] | None
    scratch: int
    alone: bool

    def __init__(self, cell: Cell, kind: str, plan: Plan, like: ForwardArguments, planned: Callable[[], Plan] | None):
        """kind: of the factors; like: what the forward kernel takes in such a call."""
        self.dtype, self.x_shape, self.y_shape, self.states_shape = (
            like.x.dtype, like.x.shape, like.y.shape, like.states.shape,
        )  # fmt: skip
        self.zeros, self.no_y, self.counters = like.state0, plan.unkept[0], like.counters
        self.state_shape, last = self.zeros[0].shape, len(like.y) % 2
        self.last = [(s, last) for s in range(len(self.zeros))]  # where in `states` the final state is
        lay_out, self.kernel, self.direct = _compiled(cell, kind, like._fields)
        fixed = [a for name, a in zip(like._fields, like) if name not in GIVEN]
        block = np.empty(lay_out(0, *fixed), np.uint8)
        lay_out(block.ctypes.data, *fixed)
        self.kept, self.place = (cell, block, fixed), block.ctypes.data  # it holds addresses: what lies there must stay
        self.plan, self.planned, self.scratch = plan, planned, plan.forward_scratch
        self.alone = plan.tasks == 1 and planned is None

    def predict(
        self, x: np.ndarray, state: object, y_wanted: bool = True
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]] | None:
        """y (T, B, H), and the final state. None if x or the state are anything but what is expected, which is for
        others to look at, or if the plan is another one now."""
        dtype = self.dtype
        # Written out thrice: to call a function takes a third of the time of asking all that.
        if type(x) is not np.ndarray or x.dtype != dtype or x.shape != self.x_shape or x.flags.num & PLAIN != PLAIN:
            return None
        if state is None:
            state = self.zeros
        elif type(state) is not tuple or len(state) != len(self.zeros):
            return None
        else:
            shape = self.state_shape
            for s in state:
                if type(s) is not np.ndarray or s.dtype != dtype or s.shape != shape or s.flags.num & PLAIN != PLAIN:
                    return None
        if self.planned is not None and self.planned() is not self.plan:
            return None
        states = np.empty(self.states_shape, dtype)
        y = np.empty(self.y_shape, dtype) if y_wanted else self.no_y
        size = self.scratch
        if self.alone:  # a task that is always by itself asks nobody; of others `run` judges whether it pays
            code, direct = self.direct
            direct((code, self.place, x, state, states, y, self.counters, 0, 1, 0, workspace(size), size))
        else:
            p = self.plan
            given = self.place, x, state, states, y, np.zeros(p.forward_counters, np.int64)
            run(self.kernel, given, p.tasks, size, p.parts)
        return y, tuple([states[place] for place in self.last])


@functools.cache
def _compiled(cell: Cell, kind: str, names: tuple[str, ...]) -> tuple[Callable, Callable, tuple[int, Callable]]:
    """What lays arguments of these names out, and the kernel that takes the others, twice: see `compile_again`."""
    places = tuple(names.index(name) for name in GIVEN)
    return compile_again(kernel(cell, kind, "forward"), f"{cell.name}-forward-{kind}", places)
