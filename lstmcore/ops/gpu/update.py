"""An optimizer's step of all parameters on a GPU, in one launch: the host's side of ops/gpu/update.cu.

A rule is stated once, in Python (optimizers.py): assignments of sums, differences, products, quotients and roots, which
read the same in C. So its text is the kernel's text.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Sequence

from lstmcore.arrays import Array, namespace
from lstmcore.ops.gpu.launch import Machine, contiguous
from lstmcore.ops.gpu.table import ENTRIES, THREADS, tables

FILE = "update.cu"
SAME_IN_C = (ast.Name, ast.Load, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UnaryOp, ast.USub, ast.Call)


def update(machine: Machine, rule: Callable, entries: Sequence[tuple[Array, ...]], numbers: Array) -> None:
    """(w, *slots) <- rule(...) of every entry (w, *slots, dw), in place.

    numbers: float64, one row for each entry, on the GPU: keep, decay, l1, and those of the rule, which starts from
    keep w and sees the gradient dw + decay w + l1 sign(w).
    """
    entries = [(*arrays, contiguous(dw)) for *arrays, dw in entries]
    slots, columns = len(entries[0]) - 2, numbers.shape[1]
    for table in tables(machine, entries):
        defines = (
            ("REAL", table.real), ("ENTRIES", ENTRIES), ("SLOTS", slots), ("NUMBERS", columns),
            ("RULE", as_cuda(rule, slots)),
        )  # fmt: skip
        rows = numbers
        if len(table.places) < len(entries):
            rows = namespace(numbers).concat([numbers[k : k + 1, ...] for k in table.places])
        kernel = machine.compile(FILE, "update", defines)
        kernel((table.blocks, len(table.places)), THREADS, 0, table.argument, rows)


@functools.cache
def as_cuda(rule: Callable, slots: int) -> str:
    """The text of (sqrt, w, dw, *slots, *numbers) -> (w, *slots) in C, on one line."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(rule))).body
    assert isinstance(function, ast.FunctionDef)
    *steps, last = function.body
    names = [argument.arg for argument in function.args.args][3:]  # w and dw are there
    lines = [f"REAL {name} = array[{k + 1}][k];" for k, name in enumerate(names[:slots])]
    lines += [f"const REAL {name} = number[{k + 3}];" for k, name in enumerate(names[slots:])]
    for step in steps:
        assert isinstance(step, ast.Assign)
        assert isinstance(step.targets[0], ast.Name)
        name = step.targets[0].id
        lines.append(f"{'' if name in names else 'REAL '}{name} = {_expression(step.value)};")
        names.append(name)
    assert isinstance(last, ast.Return)
    assert isinstance(last.value, ast.Tuple)
    lines += [f"array[{k}][k] = {_expression(value)};" for k, value in enumerate(last.value.elts)]
    return " ".join(lines)


def _expression(value: ast.expr) -> str:
    for node in ast.walk(value):
        if not isinstance(node, SAME_IN_C) or (isinstance(node, ast.Call) and ast.unparse(node.func) != "sqrt"):
            raise TypeError(f"a rule should be made of + - * / and sqrt alone; got {ast.unparse(value)}")
    return ast.unparse(value)
