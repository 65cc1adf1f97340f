"""An exercise: the step back of an LSTM with its ten lines missing, and what is said of those that somebody writes.

Each line is judged by itself, from the writer's own numbers before it: one wrong line makes no other wrong. The right
lines, and wrong ones that people write, are the package's own text: ops/cells/lstm.py and the catalogue of mistakes.
"""

import ast
import importlib
import inspect
import re
from dataclasses import replace
from functools import cache
from os import PathLike
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.gradcheck.gradcheck import ROUNDINGS
from lstmcore.debug.mistakes import MISTAKES
from lstmcore.debug.mistakes.mistake import LSTM
from lstmcore.debug.show.tables import table
from lstmcore.layers import LSTM as Layer
from lstmcore.ops.cells import lstm
from lstmcore.ops.cells.cell import Step
from lstmcore.ops.recurrence import reference

GIVEN = ("dh", "dc", "i", "f", "g", "o", "c_prev", "c")
SHAPE = (5, 3, 4, 6)  # T, B, I, H of the LSTM that the lines are tried in


class Missing(NamedTuple):
    """One of the ten lines."""

    name: str  # what it gives
    right: str  # "dc + dh * o * (one - tanh_c * tanh_c)"
    equation: int
    hint: str


class Row(NamedTuple):
    """What is said of one of them."""

    line: Missing
    verdict: str  # "right", "missing", or what is wrong
    known: str = ""  # the mistake of the catalogue that it is


class Exercise(NamedTuple):
    """The answer. Prints as a table."""

    rows: tuple[Row, ...]
    whole: str  # what is said of the whole function, where every line is right

    @property
    def ok(self) -> bool:
        """Every line is right, and so is the whole."""
        return self.whole.startswith("right") and all(row.verdict == "right" for row in self.rows)

    def __str__(self) -> str:
        right = sum(row.verdict == "right" for row in self.rows)
        cells = [[f"({r.line.equation})", r.line.name, r.verdict, r.known] for r in self.rows]
        said = [table(["", "line", "", ""], cells), f"{right} of {len(self.rows)} lines are right"]
        return "\n".join([*said, *([f"the whole step: {self.whole}"] if self.whole else [])])


@cache
def _source() -> str:
    return inspect.getsource(importlib.import_module(LSTM))


def the_lines() -> tuple[Missing, ...]:
    """The ten, as they stand in the cell."""
    text = _source().split("def step_backward", 1)[1]
    found = re.findall(r"^ +(\w+) = (.*?)  # \((\d+)\) ?(.*)$", text, re.MULTILINE)
    return tuple(Missing(name, right, int(number), hint) for name, right, number, hint in found)


def write_exercise(path: str | PathLike[str]) -> None:
    """Writes the file. Raises FileExistsError if there is one of that name: it may hold somebody's work."""
    forward = _source().split("def step_forward", 1)[1].split("        return", 1)[0]
    shown = "\n".join(f"    {line.strip()}" for line in forward.splitlines()[1:] if line.strip())
    missing = "\n".join(f"    {line.name} = ...  # ({line.equation}) {line.hint}".rstrip() for line in the_lines())
    with open(path, "x", encoding="utf-8") as file:
        file.write(f'''"""The way back through one step of an LSTM: ten lines are yours.

The step forward is, with numbers of the equations in docs/derivation.md,
{shown}
All are arrays (B, H); * multiplies number by number. dX is the gradient of the loss by X, of the shape of X. dh and dc
are those of h and c as they came back from step t+1 (and, in dh, from the output). da_i is that of a_i, and so on.
"""

import numpy as np


def step_backward({", ".join(GIVEN)}):
    tanh_c = np.tanh(c)
{missing}
    return da_i, da_f, da_g, da_o, dc_prev
''')


def judge_exercise(path: str | PathLike[str]) -> Exercise:
    """What is said of a file that write_exercise wrote and somebody filled in. It is run: it should be your own.

    Raises OSError if there is no such file, ValueError if it is no Python, or has no function step_backward.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        tree = ast.parse(text)
        module: Plain = {"__name__": "exercise"}
        exec(compile(tree, str(path), "exec"), module)
    except Exception as error:  # whatever stands there
        raise ValueError(f"{path}: it cannot be run ({type(error).__name__}: {error})") from None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "step_backward"]
    if not functions or [a.arg for a in functions[-1].args.args] != list(GIVEN):
        raise ValueError(f"{path}: it should hold step_backward({', '.join(GIVEN)})")
    rows = _judged(functions[-1].body, module)
    return Exercise(rows, _whole(module["step_backward"]) if all(row.verdict == "right" for row in rows) else "")


def _judged(body: list[ast.stmt], module: Plain) -> tuple[Row, ...]:
    """Statement after statement, each over the writer's own numbers so far; the right ones where there are none."""
    rng, lines = np.random.default_rng(0), {line.name: line for line in the_lines()}
    numbers: Plain = {name: rng.uniform(0.1, 0.9, SHAPE[1::2]) for name in GIVEN}
    numbers |= {"tanh_c": np.tanh(numbers["c"]), "one": 1}
    rows: dict[str, Row] = {}

    def right(name: str) -> np.ndarray:
        if name != "dc" and "dc" not in rows:  # every line that uses dc should come after it
            return eval(lines[name].right, {**module, **numbers, "dc": eval(lines["dc"].right, {}, numbers)})
        return eval(lines[name].right, {**module, **numbers})

    for statement in body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        name = target.id if isinstance(target, ast.Name) else ""
        if isinstance(statement, ast.Return):
            break
        want = right(name) if name in lines else None
        had = dict(numbers)
        try:
            exec(compile(ast.Module([statement], []), "<line>", "exec"), {**module, **numbers}, numbers)
        except Exception as error:  # somebody's line
            if name in lines:
                rows[name], numbers[name] = Row(lines[name], f"{type(error).__name__}: {error}"), want
            continue
        if name in lines:
            assert want is not None
            verdict = _verdict(numbers[name], want)
            known = "" if verdict in ("right", "missing") else _known(lines[name], numbers[name], had)
            rows[name] = Row(lines[name], verdict, known)
            if not isinstance(numbers[name], np.ndarray):
                numbers[name] = want
    return tuple(rows.get(name, Row(line, "missing")) for name, line in lines.items())


def _verdict(got: object, want: np.ndarray) -> str:
    if got is ...:
        return "missing"
    if not isinstance(got, np.ndarray) or got.shape != want.shape:
        return f"WRONG: it should be an array {want.shape}; got {getattr(got, 'shape', got)}"
    off, scale = float(np.max(np.abs(got - want))), float(np.max(np.abs(want)))
    return "right" if off <= ROUNDINGS * 2.0**-53 * scale else f"WRONG: off by {off / scale:.1e} of its largest number"


def _known(line: Missing, got: object, numbers: Plain) -> str:
    """The mistake of the catalogue that gives these numbers."""
    text = f"{line.name} = {line.right}"
    for mistake in MISTAKES:
        if mistake.module == LSTM and len(mistake.edits) == 1 and mistake.right in text:
            wrong = dict(numbers)
            try:
                exec(text.replace(mistake.right, mistake.wrong), {"np": np, "tanh": np.tanh}, wrong)
            except Exception:  # a line that needs names that are not here
                continue
            if isinstance(got, np.ndarray) and _verdict(got, wrong[line.name]) == "right":
                return mistake.name
    return ""


def _whole(step_backward: Step) -> str:
    """The function in a whole LSTM, beside lstmcore's own."""
    (T, B, I, H), rng = SHAPE, np.random.default_rng(1)
    layer = Layer(I, H, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    cache = layer.forward(x)[2]
    cell = replace(lstm, make_step=lambda maths: (lstm.make_step(maths)[0], step_backward))
    zeros = (np.zeros((B, H)),) * 2
    try:
        theirs, ours = (reference.backward(c, dy, zeros, layer.params, cache) for c in (cell, lstm))
    except Exception as error:  # somebody's function
        return f"it cannot be run in a loop ({type(error).__name__}: {error})"
    pairs = [(theirs[0], ours[0]), *((theirs[2][name], ours[2][name]) for name in ours[2])]
    off = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)
    if off <= ROUNDINGS * 2.0**-53:
        return f"right: the gradients of a whole LSTM made with it are lstmcore's (off by {off:.1e})"
    return (
        f"WRONG, though each line is right by itself (off by {off:.1e}): a name is used before its line, or the return"
    )
