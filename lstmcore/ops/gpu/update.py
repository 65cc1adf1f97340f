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
    """The text of (sqrt, w, dw, *slots, *numbers) -> (w, *slots) in C, on one line. Raises TypeError for a rule that is
    more than that."""
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(rule))).body[0]
    except (OSError, TypeError, SyntaxError):
        raise TypeError("its text cannot be read") from None
    match function:
        case ast.FunctionDef(body=[*steps, ast.Return(value=ast.Tuple(elts=results))]):
            names = [argument.arg for argument in function.args.args]
        case _:
            raise TypeError("a rule should be assignments and `return w, ...`")
    lines = [f"REAL {name} = array[{k + 1}][k];" for k, name in enumerate(names[3 : slots + 3])]  # w and dw are there
    lines += [f"const REAL {name} = number[{k + 3}];" for k, name in enumerate(names[slots + 3 :])]
    for step in steps:
        match step:
            case ast.Assign(targets=[ast.Name(id=name)]):
                lines.append(f"{'' if name in names else 'REAL '}{name} = {_expression(step.value, names)};")
                names.append(name)
            case ast.Expr(value=ast.Constant(value=str())):  # a docstring
                pass
            case _:
                raise TypeError(f"a rule should be assignments and `return w, ...`; got {ast.unparse(step)}")
    lines += [f"array[{k}][k] = {_expression(value, names)};" for k, value in enumerate(results)]
    return " ".join(lines)


def _expression(value: ast.expr, names: Sequence[str]) -> str:
    for node in ast.walk(value):
        if not isinstance(node, SAME_IN_C) or (isinstance(node, ast.Call) and ast.unparse(node.func) != "sqrt"):
            raise TypeError(f"a rule should be made of + - * / and sqrt alone; got {ast.unparse(value)}")
        if isinstance(node, ast.Name) and node.id not in names:
            raise TypeError(f"a rule should be made of its arguments alone; got {node.id}")
    return ast.unparse(value)
