"""The times beside the values: one step from row to row, or a note that says otherwise."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

DATES = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y-%m", "%d-%b-%Y", "%b %Y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
TIME = re.compile("time|date|stamp|epoch", re.IGNORECASE)  # in the name of a column
MONTH = 27 * 86400  # seconds: no longer than the shortest
ALIKE = 0.01  # of a step: by how much steps of one length may differ


def readings(entries: Sequence[str]) -> list[list[datetime]]:
    """The ways in which all of the entries can be read as times; of several, those in which time goes forward."""
    found = [times for way in ("", *_ways(entries[0])) if (times := _all(entries, way)) is not None]
    forward = [times for times in found if all(a <= b for a, b in pairwise(times))]
    return forward if forward and len(found) > 1 else found


def _ways(entry: str) -> list[str]:
    return [way for way in (date + clock for date in DATES for clock in CLOCKS) if _all([entry], way) is not None]


def _all(entries: Sequence[str], way: str) -> list[datetime] | None:
    """way: a format of strptime; "" for ISO 8601."""
    if not way and all(entry.isdigit() for entry in entries) and len(entries[0]) != 8:
        return None  # numbers
    try:
        times = [datetime.strptime(entry, way) if way else datetime.fromisoformat(entry) for entry in entries]
    except (ValueError, OverflowError):
        return None
    if len({time.tzinfo is None for time in times}) > 1:
        return None
    return [time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None) for time in times]


def index_of_rows(
    path: Path, name: str, lines: Sequence[int], entries: Sequence[str], strict: bool
) -> tuple[np.ndarray, str] | None:
    """(N,): which step each row is, 0 for the first one, and in words what the times are; None for what is no times.

    entries: "" where a row says nothing. Numbers are times if they rise, almost all by one step; or if their column's
    name says so, or `strict`. Raises ValueError for times that go back, that occur twice, or that can be read in two
    ways.
    """
    known = [k for k, entry in enumerate(entries) if entry]
    if len(known) < 3:
        return None
    told = [entries[k] for k in known]
    dates = readings(told)
    if len(dates) > 1:
        raise ValueError(
            f"{path}: the times in {name!r}, as {told[0]}, may have the day or the month first: write them as "
            "2024-12-31, or --time none"
        )
    if dates:
        at, unit = _axis(dates[0])
    else:
        at, unit = _rising(told, strict or TIME.search(name) is not None), ""
    if len(at) == 0:
        if strict:
            raise ValueError(f"{path}: column {name!r} should hold times, as 2024-12-31 23:59; got {told[0]!r}")
        return None
    back = np.flatnonzero(np.diff(at) < 0)
    if len(back):
        k = back[0]
        raise ValueError(
            f"{path}: the times in {name!r} go back {len(back):,} times, first from {told[k]} in line "
            f"{lines[known[k]]} to {told[k + 1]} in line {lines[known[k + 1]]}: sort the rows, or --time none"
        )
    places = [(known[k], known[k + 1]) for k in range(len(known) - 1)]
    each = np.unique(at, return_counts=True)[1]
    if each.max() > 1 and np.median(each) == 1:
        twice = np.flatnonzero(np.diff(at) == 0)
        raise ValueError(
            f"{path}: {len(twice):,} rows have the time in {name!r} of the row before, first {told[twice[0]]} in the "
            f"lines {lines[places[twice[0]][0]]} and {lines[places[twice[0]][1]]}: leave one out, or --time none"
        )
    return _steps(path, name, lines, len(entries), known, at, unit, each)


def _rising(told: list[str], surely: bool) -> np.ndarray:
    """Numbers that are times, such as row numbers; empty if they are not."""
    try:
        at = np.array([float(entry) for entry in told])
    except ValueError:
        return np.empty(0)
    if not np.isfinite(at).all() or np.abs(at).max() > 1e15:
        return np.empty(0)
    steps = np.diff(at)
    usual = Counter(steps.tolist()).most_common(1)[0][1]
    return at if surely or (steps.min() > 0 and usual >= max(9, 0.9 * len(steps))) else np.empty(0)


def _axis(dates: list[datetime]) -> tuple[np.ndarray, str]:
    """Times as numbers whose steps are equal where the calendar's are not: months, working days; else seconds."""
    seconds = np.array([(date - datetime(1970, 1, 1)).total_seconds() for date in dates])
    steps = np.diff(seconds)
    usual = Counter(steps[steps > 0].tolist()).most_common(1)
    step = usual[0][0] if usual else 0.0
    if step >= MONTH and len({(date.day, date.time()) for date in dates}) == 1:
        return np.array([12.0 * date.year + date.month for date in dates]), "month"
    weekdays = {date.weekday() for date in dates}
    if step == 86400 and len(weekdays) == 5 and not weekdays & {5, 6} and (steps % 86400 == 0).all():
        days = np.array([date.date() for date in dates], "datetime64[D]")
        return np.busday_count(days[0], days).astype(float), "working day"
    return seconds, "s"


def _steps(
    path: Path, name: str, lines: Sequence[int], N: int, known: list[int], at: np.ndarray, unit: str, each: np.ndarray
) -> tuple[np.ndarray, str]:
    """The step of each row by its time."""
    steps = np.diff(at)
    step = Counter(steps[steps > 0].tolist()).most_common(1)[0][0] if (steps > 0).any() else 0.0
    if step == 0:
        return np.arange(N), f"one time for all rows in {name!r}"
    ratio = steps / step
    whole = np.rint(ratio)
    gaps = np.flatnonzero(ratio > 1 + ALIKE)
    places = ", ".join(
        f"{known[k] + 1:,} and {known[k + 1] + 1:,} (lines {lines[known[k]]} and {lines[known[k + 1]]}, "
        f"{_length(steps[k], unit)})"
        for k in gaps[:3]
    ) + ", ..." * (len(gaps) > 3)
    if each.max() > 1:  # the times are coarser than the rows
        usual = int(np.median(each))
        other = int((each[1:-1] != usual).sum())
        said = f"{usual} rows per {_length(step, unit)} in {name!r}"
        said += f" ({other:,} times another number)" if other else ""
        return np.arange(N), said + (
            f"; GAPS in time between the data rows {places}, taken row by row" if len(gaps) else ""
        )
    if (np.abs(ratio - whole) > ALIKE).any():
        return np.arange(N), (
            f"steps of UNEQUAL length in {name!r}, {_length(steps.min(), unit)} to {_length(steps.max(), unit)}, "
            "taken row by row as if they were equal"
        )
    said = f"a row per {_length(step, unit)} in {name!r}"
    if whole.sum() > 2 * N:
        k = int(np.argmax(steps))
        raise ValueError(
            f"{path}: the times in {name!r} leap by {_length(steps[k], unit)} from line {lines[known[k]]} to line "
            f"{lines[known[k + 1]]}, where a step is {_length(step, unit)}: more is missing than there is; --time none "
            "takes row after row"
        )
    index = np.full(N, -1)
    index[known] = np.concatenate([[0], np.cumsum(whole)]).astype(np.int64) + known[0]
    for before, after in pairwise(known):
        between = after - before - 1
        if index[after] - index[before] - 1 < between:
            raise ValueError(
                f"{path}: line {lines[before + 1]} has no time, but the times in {name!r} before and after it leave no "
                "room for it: delete it, or --time none"
            )
        index[before + 1 : after] = index[before] + 1 + np.arange(between)
    index[: known[0]] = np.arange(known[0])
    index[known[-1] + 1 :] = index[known[-1]] + 1 + np.arange(N - known[-1] - 1)
    inserted = int(index[-1]) + 1 - N
    if inserted:
        said += f"; GAPS in time between the data rows {places}: {inserted:,} steps without a row, taken as missing"
    return index, said


def _length(step: float, unit: str) -> str:
    """3 h, 2 months, 5."""
    if unit != "s":
        return f"{step:g} {unit}{'s' if step > 1 else ''}".strip() if unit else f"{step:g}"
    size, word = next(((size, word) for size, word in UNITS if step >= size and step % size == 0), (1, "s"))
    return f"{step / size:g} {word}"
