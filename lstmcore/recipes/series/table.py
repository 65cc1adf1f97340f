"""The rows of a file of separated values (RFC 4180, and its cousins with semicolons and tabs), read strictly."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from lstmcore.recipes.series.numbers import MISSING

DELIMITERS = "\t;|,"  # the surer first: a comma may be a decimal sign
WORDS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "bar": "|"}
LOOKED_AT = 200  # rows that tell the separator and the header
VALUE = re.compile(r"[-+(]?[$€£¥]? ?[.,]?\d[\da-fA-FxXTZ\s.,;:_'’/%$€£¥+)-]*|[-+]?(inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Rows of as many fields as there are columns."""

    names: list[str]  # "1", "2", ... where there is no header
    lines: list[int]  # in the file, of each row
    rows: list[list[str]]  # stripped; a blank line is a row of empty fields
    delimiter: str
    header: bool
    left_out: str  # in words

    def column(self, name: str) -> list[str]:
        """The entries of one column."""
        k = self.names.index(name)
        return [row[k] for row in self.rows]


def table(path: Path, text: str, delimiter: str | None, decimal: str | None, column: str | None) -> Table:
    """All rows. Raises ValueError, with line numbers and counts, for rows that do not fit the first one.

    delimiter: None to find it out. decimal: a sign that is no separator. column: a name that is looked for in a header.
    """
    delimiter = WORDS.get(delimiter or "", delimiter) or _delimiter(text, decimal)
    if len(delimiter) != 1 or delimiter in '"\n\r.' or delimiter.isalnum() or delimiter == decimal:
        raise ValueError(
            f"the separator should be one sign (or tab, comma, semicolon), and no other's; got {delimiter!r}"
        )
    try:
        records = list(_records(text, delimiter))
    except csv.Error as error:
        raise ValueError(f"{path} should be a CSV file: {error}") from error
    there = len(records)
    while records and _blank(records[-1][1]):
        records.pop()
    blank_at_end = len(records) < there
    filled = [fields for _, fields in records if not _blank(fields)]
    if not filled:
        raise ValueError(f"{path} holds no rows")
    header = _has_header(filled, column)
    if header:
        while _blank(records[0][1]):
            records.pop(0)
        names = records.pop(0)[1]
    else:
        names = [str(k + 1) for k in range(len(filled[0]))]
    rows, longer = _strict(path, records, names, delimiter, decimal, header)
    while len(names) > 1 and not names[-1] and not any(row[-1] for row in rows):
        names, rows, longer = names[:-1], [row[:-1] for row in rows], True
    left_out = ["separators at the end of rows"] * longer + ["blank lines at the end"] * blank_at_end
    return Table(names, [line for line, _ in records], rows, delimiter, header, " and ".join(left_out))


def _records(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(line, fields) of every record; a blank line has no fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    found, line = [], 1
    for fields in reader:
        found.append((line, [field.strip() for field in fields]))
        line = reader.line_num + 1
    return found


def _blank(fields: list[str]) -> bool:
    return not any(fields)


def _delimiter(text: str, decimal: str | None) -> str:
    """The sign that gives all rows looked at the same number of fields, more than one."""
    head = "\n".join(text.split("\n", LOOKED_AT)[:LOOKED_AT])
    best, found = 0.0, ";" if decimal == "," else ","
    for sign in DELIMITERS.replace(decimal or "", ""):
        try:
            rows = [fields for _, fields in _records(head, sign) if not _blank(fields)]
        except csv.Error:
            continue
        fields = len(rows[0]) if rows else 0
        share = sum(len(row) == fields for row in rows) / max(1, len(rows))
        if fields > 1 and share > best:
            best, found = share, sign
    return found


def _has_header(rows: list[list[str]], column: str | None) -> bool:
    """Whether the first row holds names: it differs in kind from the others, or nothing in it looks like a value."""
    first, rest = rows[0], rows[1 : LOOKED_AT + 1]
    if column is not None and column in first and not (column.isdigit() and 1 <= int(column) <= len(first)):
        return True
    if not any(_is_value(field) for field in first):
        return True
    for k, field in enumerate(first):
        others = [row[k] for row in rest if len(row) > k and row[k]]
        if others and field and not _is_value(field) and all(map(_is_value, others)):
            return True
        if not field and len(others) == len(rest) > 0:  # as pandas writes an index
            return True
    return False


def _is_value(field: str) -> bool:
    return bool(field) and (field.lower() in MISSING or VALUE.fullmatch(field) is not None)


def _strict(
    path: Path,
    records: list[tuple[int, list[str]]],
    names: list[str],
    delimiter: str,
    decimal: str | None,
    header: bool,
) -> tuple[list[list[str]], bool]:
    """The fields of each row, one per name, and whether empty ones after them were cut off."""
    n, longer, rows = len(names), False, []
    bad: list[tuple[int, int]] = []
    for line, fields in records:
        if _blank(fields):
            fields = [""] * n
        elif len(fields) > n and not any(fields[n:]):
            fields, longer = fields[:n], True
        elif len(fields) != n:
            bad.append((line, len(fields)))
        rows.append(fields)
    if bad:
        shown = ", ".join(f"line {line} has {count}" for line, count in bad[:3])
        hint = "; if ',' is the decimal sign: --decimal ','" if delimiter == "," and decimal is None else ""
        raise ValueError(
            f"{path}: every row should have {n} field{'s' * (n > 1)}, as the {'header' if header else 'first'} has; "
            f"{shown}{', ...' * (len(bad) > 3)} ({len(bad):,} of {len(records):,} rows){hint}"
        )
    return rows, longer
