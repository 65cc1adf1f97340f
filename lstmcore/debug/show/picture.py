"""Figures of matplotlib, drawn only when asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(count: int, width: float = 9.0, height: float = 2.6) -> "tuple[Figure, list[Axes]]":
    """A figure with `count` axes, one above the other. Raises ImportError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "lstmcore[plot]"') from error
    figure = Figure(figsize=(width, height * max(1, count)), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0]) if count else []
