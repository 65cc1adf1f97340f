"""Heat maps and curves as SVG text, for a page that loads nothing."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, LEFT, RIGHT, CELL, HEIGHT = 860, 150, 12, 18, 150  # pixels
COLOURS = ("#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2", "#4d7c0f", "#be185d")
DASHES = ("", "5 3")


def heat_map(values: np.ndarray, rows: Sequence[str], steps: Sequence[str], hints: np.ndarray | None = None) -> str:
    """values (rows, steps), zero or positive, as squares from white to dark blue; a number not finite is red.

    hints: a text per square, shown where the pointer rests. The darkest square is the largest value.
    """
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    w = (WIDTH - LEFT - RIGHT) / len(steps)
    parts = [_open(CELL * len(rows) + 22, "heat map")]
    for r, name in enumerate(rows):
        parts.append(_text(LEFT - 6, r * CELL + 13, name, "end"))
        for c, value in enumerate(values[r]):
            hint = f"{name}, step {steps[c]}: {value:.3g}" if hints is None else str(hints[r, c])
            parts.append(
                f'<rect x="{LEFT + c * w:.2f}" y="{r * CELL}" width="{w:.2f}" height="{CELL - 1}" '
                f'fill="{_shade(value, top)}"><title>{escape(hint)}</title></rect>'
            )
    parts.append(_step_labels(steps, w, CELL * len(rows) + 14))
    return "".join([*parts, "</svg>"])


def curves(values: Mapping[str, np.ndarray], steps: Sequence[str], log: bool = False) -> str:
    """One line per name over the steps, with its name in its colour. log: what is not above zero is left out."""
    shown = {}
    for name, curve in values.items():
        good = np.isfinite(curve) & ((curve > 0) | (not log))
        shown[name] = np.where(good, np.log10(np.where(good, curve, 1.0)) if log else curve, np.nan)
    numbers = np.concatenate([c[np.isfinite(c)] for c in shown.values()]) if shown else np.array([])
    if not numbers.size:
        return "<p>nothing to draw: no number is finite and above zero</p>"
    low, high = (float(numbers.min()), float(numbers.max())) if log else (0.0, max(1.0, float(numbers.max())))
    high = high if high > low else low + 1
    w = (WIDTH - LEFT - RIGHT) / max(1, len(steps))
    parts = [_open(HEIGHT + 22, "curves")]
    for value in (low, (low + high) / 2, high):
        y = _height(value, low, high)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{10**value:.1e}" if log else f"{value:.2g}", "end"))
    for k, (name, curve) in enumerate(shown.items()):
        colour, dash = COLOURS[k // 2 % len(COLOURS)] if len(shown) > 2 else COLOURS[k], DASHES[k % 2]
        for run in _runs(curve):
            points = " ".join(f"{LEFT + (c + 0.5) * w:.1f},{_height(curve[c], low, high):.1f}" for c in run)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6" '
                f'stroke-dasharray="{dash}"><title>{escape(name)}</title></polyline>'
            )
    parts.append(_step_labels(steps, w, HEIGHT + 14))
    legend = " &nbsp; ".join(
        f'<span style="color:{COLOURS[k // 2 % len(COLOURS)] if len(shown) > 2 else COLOURS[k]}">'
        f"{'╌╌' if DASHES[k % 2] else '──'} {escape(name)}</span>"
        for k, name in enumerate(shown)
    )
    return "".join([*parts, "</svg>", f'<p class="legend">{legend}</p>'])


def _open(height: float, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'role="img" aria-label="{label}">'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _step_labels(steps: Sequence[str], w: float, y: float) -> str:
    every = max(1, -(-len(steps) // 16))
    return "".join(_text(LEFT + (c + 0.5) * w, y, steps[c]) for c in range(0, len(steps), every))


def _shade(value: float, top: float) -> str:
    if not np.isfinite(value):
        return "#dc2626"
    part = min(1.0, max(0.0, value / top)) ** 0.5  # the eye finds small ones too
    r, g, b = (round(255 + part * (dark - 255)) for dark in (8, 48, 107))
    return f"#{r:02x}{g:02x}{b:02x}"


def _height(value: float, low: float, high: float) -> float:
    return 8 + (HEIGHT - 16) * (high - value) / (high - low)


def _runs(curve: np.ndarray) -> list[np.ndarray]:
    """The stretches of finite values."""
    good = np.flatnonzero(np.isfinite(curve))
    return np.split(good, np.flatnonzero(np.diff(good) > 1) + 1) if good.size else []
