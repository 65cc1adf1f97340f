"""Figures of matplotlib, drawn only when asked for."""

from typing import Any


def panels(count: int, width: float = 9.0, height: float = 2.6) -> tuple[Any, list[Any]]:
    """A figure with `count` axes, one above the other. Raises ImportError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "lstmcore[plot]"') from error
    figure = Figure(figsize=(width, height * max(1, count)), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0]) if count else []
