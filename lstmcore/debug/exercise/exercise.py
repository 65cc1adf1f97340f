"""Exercises: a step of a cell, forward or back, with its lines missing, and what is said of those that somebody writes.

Each line is judged by itself, from the writer's own numbers before it: one wrong line makes no other wrong. The right
lines, and wrong ones that people write, are the package's own text: ops/cells/ and the catalogue of mistakes.
"""

import ast
import importlib
import inspect
import re
from dataclasses import dataclass, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmcore import layers
from lstmcore.arrays import Plain
from lstmcore.debug.gradcheck.gradcheck import ROUNDINGS
from lstmcore.debug.mistakes import MISTAKES
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.tables import table
from lstmcore.ops.activation import sigmoid
from lstmcore.ops.cells.cell import Step
from lstmcore.ops.recurrence import reference
from lstmcore.train.files.atomic import write_atomically
from lstmcore.train.files.decoded import decoded

EXERCISES = ("rnn forward", "rnn backward", "lstm forward", "lstm backward", "gru forward", "gru backward")
SHAPE = (5, 3, 4, 6)  # T, B, I, H of the layer that the lines are tried in
MATHS: Plain = {"one": 1, "tanh": np.tanh, "sigmoid": sigmoid}


class Missing(NamedTuple):
    """One of the lines."""

    name: str  # what it gives
    right: str  # "dc + dh * o * (one - tanh_c * tanh_c)"
    equation: int
    hint: str


class Task(NamedTuple):
    """An exercise, as it is read off the cell's own text."""

    cell: str
    way: str  # forward or backward
    given: tuple[str, ...]  # what the function takes
    lines: dict[str, Missing]  # by name, in order
    body: tuple[str, ...]  # every line of the function, those that are given too
    gives: str  # what it returns

    @property
    def module(self) -> str:
        return f"lstmcore.ops.cells.{self.cell}"

    @property
    def head(self) -> str:
        return f"step_{self.way}({', '.join(self.given)})"


class Row(NamedTuple):
    """What is said of one of them."""

    line: Missing
    verdict: str  # "right", "missing", or what is wrong
    known: str = ""  # the mistake of the catalogue that it is


@dataclass(frozen=True)
class Exercise:
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

    _repr_html_ = notebook


@cache
def task(which: str) -> Task:
    """One of EXERCISES. Raises ValueError for what is none."""
    if which not in EXERCISES:
        raise ValueError(f"an exercise should be one of {', '.join(EXERCISES)}; got {which!r}")
    cell, way = which.split()
    source = inspect.getsource(importlib.import_module(f"lstmcore.ops.cells.{cell}"))
    head, text = source.split(f"def step_{way}(", 1)[1].split("):\n", 1)
    *body, last = (line.strip() for line in text.split("\n\n", 1)[0].splitlines() if line.strip())
    found = [re.fullmatch(r"(\w+) = (.*?)  # \((\d+)\) ?(.*)", line) for line in body]
    lines = {m[1]: Missing(m[1], m[2], int(m[3]), m[4]) for m in found if m}
    return Task(cell, way, tuple(head.split(", ")), lines, tuple(body), last.removeprefix("return "))


def write_exercise(path: str | PathLike[str], which: str = "lstm backward", answers: bool = False) -> None:
    """Writes the file: one of EXERCISES; with answers, as it should be.

    Raises FileExistsError if there is one of that name, which may hold somebody's work; ValueError for what is none.
    """
    of = task(which)
    if of.way == "forward":
        about = f"One step: {len(of.lines)} lines are yours. All are arrays (B, H)."
    else:
        forward = "\n".join(f"    {_line(line, of, True)}" for line in task(f"{of.cell} forward").body)
        about = (
            f"The way back through one step: {len(of.lines)} lines are yours. The step forward is\n\n{forward}\n\n"
            "All are arrays (B, H); dX is the gradient of the loss by X, of the shape of X. dh and dc came back from\n"
            "step t+1 (and, in dh, from the output)."
        )
    squash = "def sigmoid(a):\n    return 1 / (1 + np.exp(-a))\n\n\n" if "sigmoid(" in "".join(of.body) else ""
    lines = "\n".join(f"    {_line(line, of, answers)}" for line in of.body)
    if Path(path).exists():
        raise FileExistsError(f"{path} is there, and may hold your work")
    text = f'''"""{of.cell.upper()}. {about}

Numbers are the equations of docs/derivation.md.
"""

import numpy as np


{squash}def {of.head}:
{lines}
    return {of.gives}
'''
    write_atomically(Path(path), text.encode())


def _line(line: str, of: Task, answer: bool) -> str:
    """As it stands in the file."""
    missing = of.lines.get(line.split(" = ")[0])
    if missing is None or answer:
        return re.sub(r"\btanh\(", "np.tanh(", line).replace("one -", "1 -")
    return f"{missing.name} = ...  # ({missing.equation}) {missing.hint}".rstrip()


def judge_exercise(path: str | PathLike[str]) -> Exercise:
    """What is said of a file that write_exercise wrote and somebody filled in. It is run: it should be your own.

    Raises OSError if there is no such file, ValueError if it is no Python, or has the function of no exercise, or
    of several.
    """
    text, _ = decoded(Path(path))
    try:
        tree = ast.parse(text, str(path))
        module: Plain = {"__name__": "exercise"}
        exec(compile(tree, str(path), "exec"), module)
    except (Exception, SystemExit) as error:  # whatever stands there
        raise ValueError(f"{path}: it cannot be run ({type(error).__name__}: {error})") from None
    functions = {
        f"{node.name}({', '.join(each.arg for each in node.args.args)})": node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    found = [of for of in map(task, EXERCISES) if of.head in functions]
    if not found:
        raise ValueError(f"{path}: it should hold the function of an exercise, such as {task('lstm backward').head}")
    if len(found) > 1:
        which = ", ".join(f"{of.cell} {of.way}" for of in found)
        raise ValueError(f"{path}: it should hold the function of one exercise; it holds {which}: a file for each")
    (of,) = found
    rows = _judged(functions[of.head].body, of, module)
    whole = _whole(of, module[f"step_{of.way}"]) if all(row.verdict == "right" for row in rows) else ""
    return Exercise(rows, whole)


def _judged(body: list[ast.stmt], of: Task, module: Plain) -> tuple[Row, ...]:
    """Statement after statement, each over the writer's own numbers so far; the right ones where there are none."""
    rng, lines = np.random.default_rng(0), of.lines
    numbers: Plain = {name: rng.uniform(0.1, 0.9, SHAPE[1::2]) for name in of.given}
    for line in of.body:
        if line.split(" = ")[0] not in lines:
            exec(line, dict(MATHS), numbers)
    again = [name for name in lines if name in of.given]  # given, and made again: what uses it should come after it
    rows: dict[str, Row] = {}

    def right(name: str) -> np.ndarray:
        now = {**MATHS, **numbers}
        early = {other: eval(lines[other].right, now) for other in again if other != name and other not in rows}
        return eval(lines[name].right, {**now, **early})

    for statement in body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        name = target.id if isinstance(target, ast.Name) else ""
        if isinstance(statement, ast.Return):
            break
        want = right(name) if name in lines else None
        had = dict(numbers)
        try:
            exec(compile(ast.Module([statement], []), "<line>", "exec"), {**module, **numbers}, numbers)
        except (Exception, SystemExit) as error:  # somebody's line
            if name in lines:
                rows[name], numbers[name] = Row(lines[name], f"{type(error).__name__}: {error}"), want
            continue
        if name in lines:
            assert want is not None
            verdict = _verdict(numbers[name], want)
            known = "" if verdict in ("right", "missing") else _known(of, lines[name], numbers[name], had)
            rows[name] = Row(lines[name], verdict, known)
            if not isinstance(numbers[name], np.ndarray):
                numbers[name] = want
    stored = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    unseen = dict.fromkeys(stored, "not judged: give it a line of its own, name = ...")
    return tuple(rows.get(name, Row(line, unseen.get(name, "missing"))) for name, line in lines.items())


def _verdict(got: object, want: np.ndarray) -> str:
    if got is ...:
        return "missing"
    if not isinstance(got, np.ndarray) or got.shape != want.shape:
        return f"WRONG: it should be an array {want.shape}; got {getattr(got, 'shape', got)}"
    off, scale = float(np.max(np.abs(got - want))), float(np.max(np.abs(want)))
    return "right" if off <= ROUNDINGS * 2.0**-53 * scale else f"WRONG: off by {off / scale:.1e} of its largest number"


def _known(of: Task, line: Missing, got: object, numbers: Plain) -> str:
    """The mistake of the catalogue that gives these numbers."""
    text = f"{line.name} = {line.right}"
    for mistake in MISTAKES:
        if mistake.module == of.module and len(mistake.edits) == 1 and mistake.right in text:
            wrong = dict(numbers)
            try:
                exec(text.replace(mistake.right, mistake.wrong), dict(MATHS), wrong)
            except Exception:  # a line that needs names that are not here
                continue
            if isinstance(got, np.ndarray) and _verdict(got, wrong[line.name]) == "right":
                return mistake.name
    return ""


def _whole(of: Task, step: Step) -> str:
    """The function in a whole layer, beside lstmcore's own."""
    (T, B, I, H), rng, kind = SHAPE, np.random.default_rng(1), of.cell.upper()
    layer = getattr(layers, kind)(I, H, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    cell, zeros = layer.cell, (np.zeros((B, H)),) * len(layer.cell.states)
    ours = reference.forward(cell, x, layer.params, zeros, None)

    def steps(maths: object) -> tuple[Step, Step]:
        forward, backward = cell.make_step(maths)
        return (step, backward) if of.way == "forward" else (forward, step)

    other = replace(cell, make_step=steps)
    try:
        if of.way == "forward":
            theirs = reference.forward(other, x, layer.params, zeros, None)
            pairs, what = list(zip(theirs.states, ours.states)), "outputs"
        else:
            got, want = (reference.backward(c, dy, zeros, layer.params, ours) for c in (other, cell))
            pairs, what = [(got[0], want[0]), *((got[2][name], want[2][name]) for name in want[2])], "gradients"
    except Exception as error:  # somebody's function
        return f"it cannot be run in a loop ({type(error).__name__}: {error})"
    off = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)
    if off <= ROUNDINGS * 2.0**-53:
        return f"right: the {what} of a whole {kind} made with it are lstmcore's (off by {off:.1e})"
    return (
        f"WRONG, though each line is right by itself (off by {off:.1e}): a name is used before its line, or the return"
    )
