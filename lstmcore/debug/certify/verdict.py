"""What an engine gave for a case, judged: agree, refused, ignored, wrong, ambiguous or crash."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lstmcore.debug.certify.pack import RESULTS, Golden
from lstmcore.ops.cells import CELLS

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours of a terminal
LONGEST = 1000  # letters of what is said of a case: what an engine gives may be named by megabytes
VERDICTS = ("agree", "refused", "ambiguous", "ignored", "wrong", "crash")


class Refused(Exception):
    """The engine has no such layer, and says so: the reason."""


class Verdict(NamedTuple):
    """Of one case."""

    case: str
    verdict: str  # one of VERDICTS
    words: str = ""  # what is wrong and where, or why it was refused
    worst: float | None = None  # the largest error of any number, in units of its tolerance
    wrong: tuple[str, ...] = ()  # the results that are
    missing: tuple[str, ...] = ()  # the results that the engine did not give


def one_line(text: object, most: int = 300) -> str:
    """What an engine said, fit for a table and for XML: on one line, without colours and control characters."""
    words = " ".join(ESCAPES.sub("", str(text)).split())[:most]
    return "".join(c if c.isprintable() else "?" for c in words)


def judge(case: Golden, found: Mapping[str, object], pack: Mapping[str, Golden], half: str = "") -> Verdict:
    """The results of an engine, by the names of `case.results`; what it does not give is not judged.

    half: "float16" or "bfloat16", what the engine computed in where its results came in something wider; else the
    tolerance is that of the dtype in which y came. y and dx at masked steps are not looked at: engines leave there what
    they like; but `found` may hold "broken", a promise of the engine's own about them that it did not keep.
    """
    verdict = _judged(case, found, pack, half)
    return verdict._replace(words=one_line(verdict.words, LONGEST))


def _judged(case: Golden, found: Mapping[str, object], pack: Mapping[str, Golden], half: str) -> Verdict:
    known = ", ".join(case.results)
    if not isinstance(found, Mapping):
        words = f"it should return a mapping, name -> array; got {type(found).__name__:.80}; names are {known}"
        return Verdict(case.name, "crash", words, missing=tuple(case.results))
    names = sorted(case.results, key=lambda name: RESULTS.index(name.split("/")[0]))
    got = {name: np.asarray(found[name]) for name in names if name in found}
    missing = tuple(name for name in case.results if name not in got)
    strange = [name for name in found if name not in case.results and name != "broken"]
    if strange or not got:
        words = f"no result is called {strange[0]!r:.80}" if strange else "no result"
        return Verdict(case.name, "crash", f"{words}; known are {known}", missing=missing)
    for name, a in got.items():
        if a.dtype.kind != "f" and str(a.dtype) != "bfloat16":
            words = f"{name} should be of floating point; got {a.dtype!s:.80}"
            return Verdict(case.name, "crash", words, missing=missing)
    dtype = half or str(next(iter(got.values())).dtype)
    dtype = "float64" if dtype == str(np.dtype(np.longdouble)) else dtype
    if dtype not in case.tolerance:
        return Verdict(case.name, "ambiguous", f"the case has no tolerance for {dtype}", missing=missing)
    errors = {name: _errors(case, name, a, dtype) for name, a in got.items()}
    worst = max(float(np.max(e, initial=0.0)) for e in errors.values())
    wrong = tuple(name for name, e in errors.items() if not np.all(e <= 1.0))
    if not wrong and "broken" in found:
        return Verdict(case.name, "wrong", str(found["broken"]), worst, ("y",), missing)
    if not wrong:
        return Verdict(case.name, "agree", "", worst, (), missing)
    if all(name.split("/")[0] in case.ambiguous or name in case.ambiguous for name in wrong):
        why = "; ".join(dict.fromkeys(case.ambiguous.values()))
        return Verdict(case.name, "ambiguous", why, worst, wrong, missing)
    for feature, name in case.twins.items():
        if name in pack and _is_twin(pack[name], got, dtype):
            return Verdict(case.name, "ignored", f"{feature}: these are the numbers without it", worst, wrong, missing)
    return Verdict(case.name, "wrong", _place(case, wrong[0], got[wrong[0]], errors[wrong[0]]), worst, wrong, missing)


def _errors(case: Golden, name: str, got: np.ndarray, dtype: str) -> np.ndarray:
    """How far off every number is, in units of the tolerance; infinite where it is none, or the shape is another."""
    want = case.results[name]
    if got.shape != want.shape:
        return np.full(want.shape, np.inf)
    tolerance = case.tolerance[dtype][name.split("/")[0]]
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.abs(got.astype("float64") - want)
        off = np.where(difference == 0, 0.0, difference / tolerance)  # a tolerance may be 0: a result that is all zeros
    off = np.where(np.isfinite(got), off, np.inf)
    if name in ("y", "dx") and case.mask is not None:
        off = np.where(case.mask[..., None], off, 0.0)
    return off


def _is_twin(twin: Golden, got: Mapping[str, np.ndarray], dtype: str) -> bool:
    """Whether these are the numbers of the same case without a feature, as far as it has them."""
    shared = [name for name in got if name in twin.results and got[name].shape == twin.results[name].shape]
    if not shared or dtype not in twin.tolerance:
        return False
    return all(np.all(_errors(twin, name, got[name], dtype) <= 1.0) for name in shared)


def _place(case: Golden, name: str, got: np.ndarray, errors: np.ndarray) -> str:
    """The first wrong number of a result: where, what it is and what it should be."""
    want = case.results[name]
    if got.shape != want.shape:
        return f"{name} should have the shape {want.shape}; got {got.shape}"
    first = tuple(int(k[0]) for k in np.nonzero(~(errors <= 1.0)))
    at = f"[{', '.join(map(str, first))}]"
    group, _, part = name.partition("/")
    where = ""
    if name in ("y", "dx"):
        where = f", step {first[0]}, row {first[1]}"
    elif group == "dweights":
        cell, key = CELLS[case.cell], part.rpartition(".")[2]
        blocks = {"W_ih": cell.input_blocks, "W_hh": cell.recurrent_blocks, "b": cell.input_blocks}.get(key, ())
        if len(blocks) * case.H == want.shape[-1]:
            where = f", gate {cell.gates[blocks[first[-1] // case.H]]}"
    count = int(np.sum(~(errors <= 1.0)))
    value, right = float(got[first]), float(want[first])
    return f"{name}{at}{where}: {value:.6g} should be {right:.6g}; {count} of {errors.size} numbers of it are wrong"
