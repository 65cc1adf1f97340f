"""Plain text for people: tables, per cents, and a row of bars."""

from collections.abc import Sequence

import numpy as np

BARS = " ▁▂▃▄▅▆▇█"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Columns as wide as their widest cell; the first to the left, numbers to the right."""
    cells = [list(map(str, row)) for row in rows]
    cells = [row + [""] * (len(header) - len(row)) for row in cells]
    widths = [max(len(row[k]) for row in [list(header), *cells]) for k in range(len(header))]
    right = [all(_number(row[k]) for row in cells) and k > 0 for k in range(len(header))]
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right)).rstrip()
        for row in [list(header), *cells]
    ]
    return "\n".join([title, *lines] if title else lines)


def paragraphs(findings: Sequence[str]) -> str:
    """Findings one below the other."""
    return "\n".join(f"- {finding}" for finding in findings)


def percent(share: float) -> str:
    """A share as per cent with one digit; what is exactly nothing as 0."""
    return "0" if share == 0 else f"{100 * share:.1f} %"


def bars(values: np.ndarray, width: int = 40) -> str:
    """The absolute values as a row of bars, one per value or per run of values."""
    sizes = np.array([np.abs(values[s]).max() for _, s in spans(len(values), width)])
    top = np.nanmax(sizes) if np.isfinite(sizes).any() else 0
    if not top > 0:
        return " " * len(sizes)
    levels = np.ceil(np.nan_to_num(sizes / top, nan=1, posinf=1) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[min(level, len(BARS) - 1)] for level in levels)


def spans(T: int, most: int) -> list[tuple[str, slice]]:
    """All T steps, or at most `most` runs of them: (label, slice)."""
    size = -(-T // most)
    starts = range(0, T, size)
    return [(f"{t}" if size == 1 else f"{t}..{min(t + size, T) - 1}", slice(t, min(t + size, T))) for t in starts]


def _number(cell: str) -> bool:
    return cell == "" or cell[0] in "-+.0123456789" or cell in ("nan", "inf")
