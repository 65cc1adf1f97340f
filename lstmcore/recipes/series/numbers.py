"""Numbers as people write them: which sign is the decimal one, what separates thousands, what marks a missing value."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MISSING = frozenset(
    ["na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none", "nil", "missing", "-", "--", "?", "."]
) | {""}  # words for a missing value
SIGNS = {"point": ".", "comma": ",", ".": ".", ",": ","}
MARK = re.compile(r"-?9{2,}|-?32768|32767|-?2147483648|-?1e\+?\d\d|9\.9\d*e\+?36", re.IGNORECASE)
EXPONENT = r"([eE][-+]?[0-9]+)?"
PLAIN = {
    sign: re.compile(rf"[-+]?([0-9]+({re.escape(sign)}[0-9]*)?|{re.escape(sign)}[0-9]+){EXPONENT}") for sign in ".,"
}
GROUPED = {  # with separated thousands; the other sign separates them
    sign: re.compile(rf"[-+]?([1-9][0-9]{{0,2}}({re.escape(other)}[0-9]{{3}})+|[0-9]{{1,3}})({re.escape(sign)}[0-9]*)?")
    for sign, other in ((".", ","), (",", "."))
}


def numbers(
    path: Path,
    name: str,
    lines: Sequence[int],
    entries: Sequence[str],
    decimal: str | None,
    delimiter: str,
    na: Sequence[str],
) -> tuple[np.ndarray, str]:
    """(N,), NaN where a value is missing, and in words how the entries were read.

    decimal: "." or ","; None to find it out. na: what stands for a missing value, beside the usual words; "none" means
    nothing else. Raises ValueError, with line numbers and counts, for what is no finite number, what can be read in two
    ways, and what may be a mark for missing values.
    """
    words = MISSING | {word.lower() for word in na}
    there = [(line, entry) for line, entry in zip(lines, entries) if entry.lower() not in words]
    if not there:
        raise ValueError(f"{path}: column {name!r} holds no value")
    sign, grouped = _style(path, name, there, decimal, delimiter)
    other = ",."[sign == ","]
    values = np.full(len(entries), math.nan)
    for k, entry in enumerate(entries):
        if entry.lower() not in words:
            values[k] = float(entry.replace(other, "").replace(sign, ".") if grouped else entry.replace(sign, "."))
    _refuse(path, name, [(line, e) for line, e, v in zip(lines, entries, values) if math.isinf(v)], len(there))
    _ask(path, name, lines, values, na)
    signs = {sign for _, entry in there if sign in entry}
    said = [f"decimal sign {sign!r}"] if signs else ["whole numbers"]
    return values, ", ".join(said + [f"thousands separated by {other!r}"] * grouped)


def _style(
    path: Path, name: str, there: list[tuple[int, str]], decimal: str | None, delimiter: str
) -> tuple[str, bool]:
    """The decimal sign, and whether thousands are separated: the one style that all entries have."""
    if decimal is not None and decimal not in SIGNS:
        raise ValueError(f"the decimal sign should be '.' or ',' (or point, comma); got {decimal!r}")
    signs = ".," if decimal is None else SIGNS[decimal]
    styles = [(sign, grouped) for grouped in (False, True) for sign in signs]
    fits = {style: [(PLAIN, GROUPED)[style[1]][style[0]].fullmatch(entry) is not None for _, entry in there]
            for style in styles}  # fmt: skip
    found = [style for style in styles if all(fits[style])]
    separated = [entry for _, entry in there if "." in entry or "," in entry]
    if not found:
        nowhere = [there[k] for k in range(len(there)) if not any(fit[k] for fit in fits.values())]
        _refuse(path, name, nowhere, len(there))
        firsts = [there[fits[style].index(False)] for style in styles if not style[1]]
        shown = " and ".join(f"{entry!r} in line {line}" for line, entry in sorted(set(firsts)))
        raise ValueError(
            f"{path}: column {name!r} mixes styles: {shown} do not have one decimal sign; make it one, or say --decimal"
        )
    if decimal is not None or not separated:
        return found[0]
    readings = {"."} if found[0] == (".", False) and delimiter != ";" else {sign for sign, _ in found}
    proof = any(("." in e and "," in e) or len(re.findall("[.,]", e)) > 1 for e in separated)
    if len(readings) > 1 or (found[0][1] and not proof):
        line, entry = next((line, entry) for line, entry in there if "." in entry or "," in entry)
        raise ValueError(
            f"{path}: column {name!r} can be read in two ways: {entry!r} in line {line} may have a decimal sign or "
            f"separated thousands ({len(separated):,} of {len(there):,} values); say --decimal '.' or --decimal ','"
        )
    return found[0]


def _refuse(path: Path, name: str, bad: list[tuple[int, str]], total: int) -> None:
    if bad:
        line, entry = bad[0]
        more = f", and {len(bad) - 1:,} more of {total:,}" if len(bad) > 1 else ""
        raise ValueError(f"{path}, line {line}: column {name!r} should hold a finite number; got {entry!r}{more}")


def _ask(path: Path, name: str, lines: Sequence[int], values: np.ndarray, na: Sequence[str]) -> None:
    """Raises ValueError for -999 and the like where they lie far from all other numbers: they may be marks."""
    if "none" in na:
        return
    counts = Counter(values[np.isfinite(values)].tolist())
    marks = [v for v in counts if MARK.fullmatch(f"{v:.10g}")]
    rest = np.array([v for v in counts if v not in marks])
    if len(rest) == 0:
        return
    span = float(np.ptp(rest))
    for mark in marks:
        if max(rest.min() - mark, mark - rest.max()) > max(span / 2, 0.1 * np.abs(rest).max()):
            where = [line for line, v in zip(lines, values) if v == mark]
            shown = ", ".join(map(str, where[:3])) + ", ..." * (len(where) > 3)
            raise ValueError(
                f"{path}: column {name!r} holds {mark:.10g} {len(where):,} times (line {shown}), far from all else "
                f"({rest.min():.6g} to {rest.max():.6g}): a mark for a missing value? then --na {mark:.10g}; if it is "
                "a value: --na none"
            )
