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


class Ready:
    """`predict` and `step` of a cell with packed weights for one shape, without a mask. Several threads may call it at
    the same time.

    planned: asked in each call, and the plan for which the weights were packed has to be the answer.
    """

    def __init__(self, cell: Cell, plan: Plan, like: ForwardArguments, planned: Callable[[], Plan] | None):
        """like: what the forward kernel takes in such a call."""
        self.dtype, self.x_shape, self.y_shape, self.states_shape = (
            like.x.dtype, like.x.shape, like.y.shape, like.states.shape,
        )  # fmt: skip
        self.zeros, self.no_y, self.counters = like.state0, plan.unkept[0], like.counters
        self.state_shape, self.last = self.zeros[0].shape, len(like.y) % 2
        lay_out, self.kernel = _compiled(cell, self.dtype.name, like._fields)
        fixed = [a for name, a in zip(like._fields, like) if name not in GIVEN]
        block = np.empty(lay_out(0, *fixed), np.uint8)
        lay_out(block.ctypes.data, *fixed)
        self.kept, self.place = (cell, block, fixed), block.ctypes.data  # it holds addresses: what lies there must stay
        self.plan, self.planned = plan, planned

    def predict(
        self, x: np.ndarray, state: object, y_wanted: bool = True
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]] | None:
        """y (T, B, H), and the final state. None if x or the state are anything but what is expected, which is for
        others to look at, or if the plan is another one now."""
        if not _fits(x, self.x_shape, self.dtype):
            return None
        if state is None:
            state = self.zeros
        elif type(state) is not tuple or len(state) != len(self.zeros):
            return None
        else:
            for s in state:
                if not _fits(s, self.state_shape, self.dtype):
                    return None
        p = self.plan
        if self.planned is not None and self.planned() is not p:
            return None
        states = np.empty(self.states_shape, self.dtype)
        y = np.empty(self.y_shape, self.dtype) if y_wanted else self.no_y
        if p.tasks > 1:
            given = self.place, x, state, states, y, np.zeros(p.forward_counters, np.int64)
            run(self.kernel, given, p.tasks, p.forward_scratch, p.parts)
        else:  # a task by itself asks nobody, and counts nothing
            size = p.forward_scratch
            self.kernel(self.place, x, state, states, y, self.counters, 0, 1, 0, workspace(size), size)
        return y, tuple(states[:, self.last])


def _fits(a: object, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether it is an array like that, whose numbers lie one behind the other."""
    if type(a) is np.ndarray and a.dtype == dtype and a.shape == shape:
        flags = a.flags
        return flags.c_contiguous and flags.aligned
    return False


@functools.cache
def _compiled(cell: Cell, dtype: str, names: tuple[str, ...]) -> tuple[Callable, Callable]:
    """What lays arguments of these names out, and the kernel that takes the others."""
    places = tuple(names.index(name) for name in GIVEN)
    return compile_again(kernel(cell, dtype, "forward"), f"{cell.name}-forward-{dtype}", places)
