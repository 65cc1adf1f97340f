"""These gradients are in doubt: are they right, and if not, which known mistake gives exactly these numbers?"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.locate import Place, locate
from lstmcore.debug.diagnose.read_case import Reading, read_case
from lstmcore.debug.diagnose.search import Search, Suspicion
from lstmcore.debug.diagnose.suspects import fitted, limits, suspects, truncations
from lstmcore.debug.diagnose.trial import Bench
from lstmcore.debug.mistakes import Mistake
from lstmcore.debug.mistakes.around_layers import turned_over
from lstmcore.interop import Layout


@dataclass(frozen=True)
class RunnerUp:
    """The nearest explanation that is not the answer, where it explains more than half."""

    names: tuple[str, ...]
    residual: float


@dataclass(frozen=True)
class Diagnosis:
    """The answer. Prints as text, with the right lines beside the wrong ones."""

    ok: bool  # the gradients are right, up to rounding
    names: tuple[str, ...]  # the mistakes of the best answer, and then those whose numbers are the same
    residual: float  # between the gradients and the answer's numbers: largest relative error of an array
    runner_up: RunnerUp | None
    alternatives: tuple[tuple[Mistake, ...], ...]  # each a set of mistakes that gives these very numbers
    place: Place | None  # where it starts, if nothing known explains it
    off: float  # between the gradients and the right ones
    digits: str  # to which digits they were judged: "float64", "the 6 decimals that were written", or several of these

    def __str__(self) -> str:
        if self.ok:
            rounding = f"rounding ({self.digits})"
            return f"right: the largest relative error of an array, {self.residual:.1e}, is {rounding}"
        lines = [f"WRONG: off by {self.off:.1e} of an array's largest number"]
        if self.place is not None:
            lines.append(str(self.place))
        for k, mistakes in enumerate(self.alternatives):
            lines.append("" if k == 0 else "with the same numbers:")
            for mistake in mistakes:
                lines.extend([mistake.name, *_beside(mistake)])
        if not self.place:
            lines.append(f"residual {self.residual:.1e}: rounding")
        if self.runner_up is not None:
            names = " and ".join(self.runner_up.names) or "no mistake at all"
            lines.append(f"the next best, {self.runner_up.residual:.1e} away: {names}")
        return "\n".join(line for line in lines if line)


def diagnose(
    weights: Mapping[str, Any],
    x: Any,
    dy: Any,
    grads: Mapping[str, Any],
    *,
    state: Any = None,
    mask: Any = None,
    dstate: Any = None,
    layout: str | Layout = "lstmcore",
    cell: str | None = None,
    dropout: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Says whether gradients are right, and if not which mistake, or which two, give exactly these numbers.

    weights, grads: dicts of arrays in the layout named (lstmcore.interop.LAYOUTS), of one layer, both directions, or a
    stack; grads may be partial, and may hold "x", "h0", "c0". x (T, B, I); dy the gradient of all outputs, (T, B, D H),
    or of the final states h alone, (B, D H); mask (T, B) bool; all time-major whatever the layout. state, dstate: the
    initial state and the gradient of the final one: (h, c), each (B, H) or (layers * directions, B, H), or by name;
    None means zeros. cell: "lstm", "gru" or "rnn"; None tells it from the shapes.
    dropout: the masks of a program with dropout around the layers, "x" (T, B, I) for the inputs and "y", as dy, for the
    outputs; (B, .) for one mask at all steps. They hold what values are multiplied with, 0 or 1 / (1 - p). x is then
    the input before dropout, and grads["x"] its gradient; dy is the gradient of what dropout leaves of the outputs.

    Gradients are the sums over all steps and rows of what dy gives; nothing is averaged. They are right if no number is
    farther off than rounding in their precision explains (bench.py); float32 gradients are told by their values.
    Raises TypeError, KeyError or ValueError for what does not fit, and for NaN and infinities.
    """
    reading = read_case(weights, x, dy, grads, state, mask, dstate, layout, cell, dropout)
    case, bench = reading.case, Bench(reading)
    search = Search(bench)
    (right,) = search.run([()])
    turned = tuple(turned_over(key) for key in reading.transposed)
    if search.explains(right):
        return Diagnosis(
            ok=not turned,
            names=tuple(mistake.name for mistake in turned),
            residual=right.residual,
            runner_up=None,
            alternatives=(turned,) if turned else (),
            place=None,
            off=right.residual,
            digits=_digits(reading),
        )
    known = suspects(case)
    search.run((mistake,) for mistake in known)
    found = search.found(1)
    if not found:
        search.run((mistake,) for mistake in (*fitted(case, bench.numbers()), *truncations(case), *limits(bench)))
        found = search.found(1)
    if not found:
        search.pairs(bench.numbers(), known)
        found = search.found(2)
    kept = {id(s) for s in found}
    rest = sorted((s for s in search.tried if id(s) not in kept), key=lambda s: s.residual)
    names = dict.fromkeys(m.name for s in found for m in (*turned, *s.mistakes))  # each once, the best first
    return Diagnosis(
        ok=False,
        names=tuple(names),
        residual=(found or rest)[0].residual,
        runner_up=_runner_up(rest[0]) if rest and rest[0].residual < right.residual / 2 else None,
        alternatives=tuple((*turned, *s.mistakes) for s in found),
        place=None if found else locate(bench, bench.numbers()),
        off=right.residual,
        digits=_digits(reading),
    )


def _digits(reading: Reading) -> str:
    """How the gradients were written: one format for all, or the arrays of each."""
    kinds: dict[str, list[str]] = {}
    for key, how in reading.written.items():
        kinds.setdefault(str(how), []).append(key)
    return "; ".join(f"{kind}: {', '.join(keys)}" if len(kinds) > 1 else kind for kind, keys in kinds.items())


def diagnose_case(case: Case) -> Diagnosis:
    """`diagnose` for a case, as `load_case` reads it from a file."""
    return diagnose(
        case.weights,
        case.x,
        case.dy,
        case.grads,
        state=case.state or None,
        mask=case.mask,
        dstate=case.dstate or None,
        layout=case.layout,
        cell=case.cell or None,
        dropout=case.dropout,
    )


def _runner_up(suspicion: Suspicion) -> RunnerUp:
    return RunnerUp(tuple(mistake.name for mistake in suspicion.mistakes), suspicion.residual)


def _beside(mistake: Mistake) -> list[str]:
    """The right lines and the wrong ones, with the file and the line where the right one stands."""
    lines = []
    for module, right, wrong in mistake.edits:
        source = inspect.getsource(importlib.import_module(module))
        number = source[: source.index(right)].count("\n") + 1
        lines.append(f"    {module.replace('.', '/')}.py, line {number}")
        for kind, text in (("right", right), ("wrong", wrong)):
            first, *more = [line.strip() for line in text.strip("\n").split("\n")]
            lines.extend([f"        {kind}  {first}", *(f"               {line}" for line in more)])
    return lines
