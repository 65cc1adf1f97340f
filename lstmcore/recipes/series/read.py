"""A series from a file of separated values, and one line that says how the file was understood."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from lstmcore.recipes.series.numbers import SIGNS, numbers
from lstmcore.recipes.series.table import Table, table
from lstmcore.recipes.series.times import TIME, index_of_rows, readings
from lstmcore.recipes.series.values import filled
from lstmcore.train.callbacks.watchers import Tell
from lstmcore.train.files.decoded import decoded

Missing: TypeAlias = Literal["mask", "fill", "stop"]  # what becomes of missing values


def read(
    path: Path,
    column: str | None = None,
    tell: Tell = print,
    *,
    delimiter: str | None = None,
    decimal: str | None = None,
    missing: str = "mask",
    na: Sequence[str] = (),
    time: str | None = None,
    beside: Sequence[str] = (),
) -> np.ndarray:
    """(N,) float64: one column of a file, a value per step of time; (N, 1 + K) with K columns `beside` it.

    tell: gets one line: separator, decimal sign, column, step of time, missing values.
    column: its name, or its number in a file without a header; None for the only one beside the times.
    delimiter, decimal: None to find out; "tab", "comma" and so on will do.
    missing: "mask" leaves NaN in the place of a missing value (blank lines, the usual words, gaps in time), "fill" puts
    a straight line there, "stop" refuses them. na: further words for a missing value; "none" for no more, and no
    question about -999. All this holds for each column.
    time: the column of the times; None to look for one, "none" to look at none.

    Raises ValueError for what cannot be understood, or in several ways, with line numbers and counts; OSError for a
    file that cannot be read.
    """
    if missing not in get_args(Missing):
        raise ValueError(f"`missing` should be one of {', '.join(get_args(Missing))}; got {missing!r}")
    text, special = decoded(path)
    found = table(path, text, delimiter, SIGNS.get(decimal or "", decimal), column)
    name = _chosen(path, found, column, beside)
    names = [name, *beside]
    if len(set(names)) < len(names):
        raise ValueError(
            f"{path}: the columns beside {name!r} (--with) should be others, each once; got {', '.join(beside)}"
        )
    understood = [numbers(path, one, found.lines, found.column(one), decimal, found.delimiter, na) for one in names]
    values = np.stack([column_values for column_values, _ in understood], axis=1)  # (rows, 1 + K)
    index, steps = np.arange(len(values)), "no times"
    by_date = sorted(found.names, key=lambda other: not _is_time(found.column(other)))
    for other in [] if time == "none" else [time] if time is not None else by_date:
        if other not in found.names:
            raise ValueError(_unknown(path, found, other))
        if other in names:
            if time is not None:
                raise ValueError(f"{path}: --time should name another column than those that are read; got {time!r}")
            continue
        known = index_of_rows(path, other, found.lines, found.column(other), time is not None)
        if known is not None:
            index, steps = known
            break
        if TIME.search(other):
            steps = f"the times in {other!r} not understood"
    series = np.full((int(index[-1]) + 1, len(names)), np.nan)
    series[index] = values
    counts, gone = np.isnan(series).sum(axis=0), np.isnan(values)
    lines = [[found.lines[row] for row in np.flatnonzero(gone[:, k])] for k in range(len(names))]
    where = [f" ({_ranges(these)})" if these else "" for these in lines]
    for one, count, place in zip(names, counts, where):
        if count and missing == "stop":
            raise ValueError(
                f"{path}: {count:,} values of column {one!r} are missing{place}; --missing mask or fill goes on"
            )
    if missing == "fill":
        series = np.stack([filled(line) for line in series.T], axis=1)
    way = {"mask": ", masked", "fill": ", filled by straight lines"}.get(missing, "")
    sign = {"\t": "tab", " ": "space"}.get(found.delimiter, repr(found.delimiter))
    said = [
        f"{path}: {len(values):,} values in column {name!r}" + ("" if found.header else " (no header)"),
        *([f"separator {sign}"] if len(found.names) > 1 else []),
        understood[0][1],
        steps,
        f"{counts[0] or 'none'} missing{where[0]}{way * bool(counts[0])}",
        *(
            f"beside it {one!r}, {how}, {count or 'none'} missing{place}{way * bool(count)}"
            for one, (_, how), count, place in list(zip(names, understood, counts, where))[1:]
        ),
        *([f"left out: {found.left_out}"] if found.left_out else []),
        *([special] if special else []),
    ]
    tell(", ".join(said))
    return series if beside else series[:, 0]


def _chosen(path: Path, found: Table, column: str | None, beside: Sequence[str]) -> str:
    """The column that is meant, once those beside it are known to exist."""
    for twice in sorted({name for name in found.names if found.names.count(name) > 1}):
        if column in (None, twice) or twice in beside:
            places = ", ".join(str(k + 1) for k, name in enumerate(found.names) if name == twice)
            raise ValueError(f"{path}: several columns are called {twice!r}, the columns {places}: rename all but one")
    for name in beside:
        if name not in found.names:
            raise ValueError(_unknown(path, found, name))
    if column is None:
        rest = [name for name in found.names if name not in beside and not _is_time(found.column(name))]
        if len(rest) != 1:
            hint = "" if found.header else " (there is no header: they are numbered)"
            sign = "; if ',' is the decimal sign: --decimal ','" if found.delimiter == "," and not found.header else ""
            names = ", ".join(found.names)
            raise ValueError(f"{path} has the columns {names}{hint}; say which one with --column{sign}")
        return rest[0]
    if column not in found.names:
        raise ValueError(_unknown(path, found, column))
    return column


def _is_time(entries: list[str]) -> bool:
    there = [entry for entry in entries if entry]
    return bool(there) and len(readings(there)) > 0


def _unknown(path: Path, found: Table, name: str) -> str:
    alike = [word for word in found.names if word.lower() == name.lower()]
    alike += difflib.get_close_matches(name, found.names, n=1)
    near = f" (did you mean {alike[0]!r}?)" if alike else ""
    numbered = "" if found.header else " by number, for it has no header"
    return f"{path} has no column {name!r}{near}; it has {', '.join(found.names)}{numbered}"


def _ranges(lines: list[int]) -> str:
    """lines 302 to 331, 400; the first few."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs[:3]]
    return f"line{'s' * (len(lines) > 1)} {', '.join(words)}{', ...' * (len(runs) > 3)}"
