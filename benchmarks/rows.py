"""Rows of CSV: one class per table, a column per field."""

import csv
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar


class Row(NamedTuple):
    """One contestant on one shape in one mode. Empty times where `note` says why there are none."""

    date: str  # UTC, ISO 8601
    machine: str
    cores: int
    threads: int
    shape: str
    T: int
    B: int
    I: int
    H: int
    lengths: str  # "5-31", or empty: all T
    dtype: str
    mode: str
    contestant: str
    version: str
    rounds: int
    calls: int
    median_ms: float | None = None
    q20_ms: float | None = None
    q80_ms: float | None = None
    gflops: float | None = None  # 10^9 multiplications and additions per second, products only, at the median
    product_gflops: float | None = None  # the machine's large matrix product, in the same rounds
    base: str = ""  # whom the ratios are taken against
    ratio: float | None = None  # time / base's time, median over the rounds
    ratio_q20: float | None = None
    ratio_q80: float | None = None
    error: float | None = None  # the largest, as a part of what rounding explains
    note: str = ""


class Memory(NamedTuple):
    """One contestant's process on one shape."""

    date: str
    machine: str
    shape: str
    T: int
    B: int
    I: int
    H: int
    lengths: str
    dtype: str
    mode: str
    contestant: str
    version: str
    peak_mib: float | None = None  # of the whole process
    added_mib: float | None = None  # above what it holds once it has run a tiny problem
    base: str = ""
    ratio: float | None = None  # added / base's added
    note: str = ""


class Written(NamedTuple):
    """One contestant's character model, trained from one seed."""

    date: str
    machine: str
    cores: int
    threads: int
    text: str  # the file's name
    characters: int  # of the text, the held-back ones among them
    T: int
    B: int
    E: int  # width of the embedding
    H: int
    dropout: float
    contestant: str
    version: str
    seed: int
    updates: int
    nats: float | None = None  # per character held back, the last tenth of the text
    seconds: float | None = None  # of all updates
    base: str = ""
    ratio: float | None = None  # seconds / base's seconds
    error: float | None = None  # of the first losses, as a part of what rounding explains
    note: str = ""


class Ranked(NamedTuple):
    """A training on ranks: one process of each, the median of its updates."""

    date: str
    machine: str
    cores: int
    version: str  # of lstmcore
    mpi: str
    shape: str
    T: int
    B: int  # rows of a batch, of all ranks together
    I: int
    H: int
    parameters: int
    way: str
    ranks: int
    threads: int  # of each
    turn: int
    updates: int
    ms: float


Table = TypeVar("Table", bound=NamedTuple)


def append(path: Path, rows: Iterable[Table]) -> None:
    """Adds rows at the end; a new file gets its header. Raises ValueError if the file holds other columns."""
    rows = list(rows)
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        _check_header(path, type(rows[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(rows[0]._fields)
        for row in rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])


def read(path: Path, table: type[Table] = Row) -> list[Table]:
    """All rows. Raises ValueError for a file with other columns."""
    _check_header(path, table)
    kinds = typing.get_type_hints(table)
    with path.open(newline="", encoding="utf-8") as file:
        return [table(**{k: _value(kinds[k], text) for k, text in row.items()}) for row in csv.DictReader(file)]


def _check_header(path: Path, table: type[Table]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file), [])
    if tuple(header) != table._fields:
        raise ValueError(f"{path} should have the columns {', '.join(table._fields)}; got {', '.join(header)}")


def _value(kind: type, text: str) -> object:
    if isinstance(kind, types.UnionType):  # float | None
        return None if text == "" else float(text)
    return kind(text)
