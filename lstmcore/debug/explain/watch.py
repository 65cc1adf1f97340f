"""Which number bears which name: read off the variables of the engine and the cell while their lines run.

A name is that of the variable, with the step and the unit: `f[2, 0]` is the forget gate of step 2, unit 0. States of a
step are those behind it; `c_prev[2, 0]` is the same number as `c[1, 0]`.
"""

import linecache
import os
import re
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeAlias

import numpy as np

from lstmcore.debug.explain.scalars import ENGINE, Lines, Scalars
from lstmcore.ops.cells import Cell

HELPERS = ("matmul.py", "gates.py", "activation.py", "activations.py")  # a line of theirs says little by itself

Local: TypeAlias = Callable[[FrameType, str, Any], Any]


class Watch:
    """While it is entered, every name that the engine or the step gives to numbers is noted: `names`, in order."""

    def __init__(self, cell: Cell):
        self.cell = cell
        self.names: list[tuple[str, int]] = []  # a name may come again: a mask chooses anew
        self.named_at: dict[int, list[tuple[str, int]]] = {}  # a number -> the lines that named it
        self.calls: dict[int, tuple[str, int]] = {}  # a number that a function gave -> its name and what it was given
        self.blocks: tuple[str, ...] = ()  # what the step calls its blocks: a_i, a_f, ...

    def name(self, name: str, value: Scalars, *outer: int, line: tuple[str, int] | None = None) -> None:
        """Each number of an array (...) by its indices, behind those of `outer`."""
        for index in np.ndindex(value.shape):
            k = int(value.places[index])
            self.names.append((f"{name}[{','.join(map(str, (*outer, *index)))}]", k))
            if line is not None:
                self.named_at.setdefault(k, []).append(line)

    def __enter__(self) -> "Watch":
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, arg: object) -> Local | None:
        function = frame.f_code.co_name
        if function == "sigmoid":
            return self._of_function
        watched = {"step_forward": self._in_step, "step_backward": self._in_step, "_steps": self._in_loop,
                   "backward": self._in_loop, "contract": self._behind_loop}  # fmt: skip
        if function not in watched:
            return None
        if not function.startswith("step_") and not frame.f_code.co_filename.startswith(ENGINE):
            return None  # the cell may be somebody's own
        return self._each_line(frame, watched[function])

    def _of_function(self, frame: FrameType, event: str, arg: object) -> Local:
        given = frame.f_locals.get("x")
        if event == "return" and isinstance(arg, Scalars) and isinstance(given, Scalars):
            of = given.places.ravel().tolist()
            self.calls |= {k: (frame.f_code.co_name, a) for k, a in zip(arg.places.ravel().tolist(), of)}
        return self._of_function

    def _each_line(self, frame: FrameType, note: Callable[[FrameType, str, object, int], None]) -> Local:
        """Calls `note` with each variable that a line has set, and the number of that line; 0: it was given."""
        seen: dict[str, int] = {}
        line = 0

        def after_line(frame: FrameType, event: str, arg: object) -> Local:
            nonlocal line
            if event in ("line", "return"):
                new = {name: value for name, value in frame.f_locals.items() if seen.get(name) != id(value)}
                keep.extend(new.values())  # or another may get its id
                seen.update((name, id(value)) for name, value in new.items())
                for name, value in new.items():  # of one number under several names, that of a gate that is there:
                    alone = sum(other is value for other in new.values()) == 1  # it stands in for what is left out
                    if alone or name.removeprefix("a_") in self.cell.gates:
                        note(frame, name, value, line)
            line = frame.f_lineno
            return after_line

        keep: list[object] = []
        return after_line

    def _in_step(self, frame: FrameType, name: str, value: object, line: int) -> None:
        outer = frame.f_back
        while outer is not None and "t" not in outer.f_locals:
            outer = outer.f_back
        if outer is None or not isinstance(value, Scalars) or value.ndim != 2:
            return
        forward = frame.f_code.co_name == "step_forward"
        if line == 0:
            arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount]
            if forward:
                self.blocks = arguments[: len(self.cell.gates)]
            elif name not in [f"d{state}" for state in self.cell.states[1:]]:
                return  # it has its name already
            else:
                name = f"{name}_along"
        at = (frame.f_code.co_filename, line) if line else None
        self.name(name, _of_one_row(value), outer.f_locals["t"], line=at)

    def _in_loop(self, frame: FrameType, name: str, value: object, line: int) -> None:
        """The loop over time; a `where` of the mask gives a name anew."""
        if line == 0 or "t" not in frame.f_locals:
            return
        t, cell = frame.f_locals["t"], self.cell
        given: dict[str, tuple[str, ...]]
        if frame.f_code.co_name == "_steps":
            given = {"state": cell.states, "gates_t": cell.gates}
        else:
            from_43 = value is not frame.f_locals.get("new")  # the last line of the loop; the other one is (43)
            last = tuple(f"d{state}{'' if from_43 else '_prev'}" for state in cell.states)
            given = {"dstate": last[:1] if from_43 else last, "da_t": tuple(f"d{a}" for a in self.blocks),
                     "dproduct": ("dproduct",)}  # fmt: skip
        if name in given and (name != "gates_t" or frame.f_locals["mask"] is not None):
            for each, part in zip(given[name], value if isinstance(value, tuple) else (value,)):
                if isinstance(part, Scalars):
                    self.name(each, _of_one_row(part), t)

    def _behind_loop(self, frame: FrameType, name: str, value: object, line: int) -> None:
        if line == 0:
            return
        if name in ("dW_hh", "dW_ih", "dx") and isinstance(value, Scalars):
            self.name(name, value[:, 0, ...] if name == "dx" else value)
        elif name == "dbiases" and isinstance(value, dict):
            for bias, array in value.items():
                self.name(f"d{bias}", array, line=(frame.f_code.co_filename, line))


def _of_one_row(value: Scalars) -> Scalars:
    """(B, H) or (H,) -> (H,)."""
    return value.tape.reshape(value, (-1,))


def equation(file: str, line: int) -> int | None:
    """The equation that the comment of a line cites; None in a file of somebody's own."""
    if not file.startswith(ENGINE):
        return None
    cited = re.search(r"#.*?(?<![\w)\]])\((\d+)\)", linecache.getline(file, line))
    return int(cited.group(1)) if cited else None


def telling(lines: Lines) -> tuple[str, int]:
    """Of the lines that led to a number the innermost that cites an equation; else the innermost that is no helper."""
    cite = (at for at in lines if equation(*at))
    own = (at for at in lines if os.path.basename(at[0]) not in HELPERS)
    return next(cite, None) or next(own, None) or lines[0]
