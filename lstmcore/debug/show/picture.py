"""Figures of matplotlib, all in one look, drawn only when asked for; and as SVG that stands inside a page."""

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.debug.show.tables import spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

WIDTH = 5.6  # inches: letters of 10 points then are 9 pixels high on a screen 360 pixels wide
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")  # after Okabe & Ito, 2008
PLAIN, BAD = "#a9b2bd", "#dc2626"  # what does not count, and what is wrong
SQUARES = "squares"  # the mark of a heat map in an SVG


def panels(*heights: float) -> "tuple[Figure, list[Axes]]":
    """A figure and its axes, one above the other, of these heights in inches. Raises ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "lstmcore[plot]"') from error
    figure = Figure(figsize=(WIDTH, sum(heights) or 1.0), layout="constrained")
    grid = figure.add_gridspec(max(1, len(heights)), 1, height_ratios=heights or None)
    axes = [figure.add_subplot(grid[k]) for k in range(len(heights))]
    for axis in axes:
        axis.set_prop_cycle(color=COLOURS)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # steps and epochs
    return figure, axes


def legend(axis: "Axes", columns: int = 2) -> None:
    """The names of the lines, above them: nothing is hidden behind it."""
    names = axis.get_legend_handles_labels()[1]
    if names:
        axis.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=min(columns, len(names)), fontsize="small", frameon=False
        )


def heat_map(axis: "Axes", values: np.ndarray, rows: Sequence[str], unit: str) -> None:
    """values (T, rows), zero or positive, over the steps; at most 120 runs of these, each with its root of the sum of
    squares. What is exactly zero is left empty, what is not finite is red; the scale grows with the root, so that small
    ones are seen."""
    import matplotlib as mpl

    where = [s for _, s in spans(len(values), 120)]
    shown = np.sqrt(np.stack([(values[s] ** 2).sum(axis=0) for s in where], axis=1))  # (rows, runs)
    sizes = shown[np.isfinite(shown) & (shown > 0)]
    low, top = (sizes.min(), sizes.max()) if sizes.size else (0.5, 1.0)
    edges = np.array([s.start for s in where] + [where[-1].stop]) - 0.5
    colours = mpl.colormaps["viridis"].with_extremes(bad=BAD, under="none")
    norm = mpl.colors.PowerNorm(0.5, vmin=low * (1 - 1e-6), vmax=max(top, low * (1 + 1e-6)))
    places = np.arange(len(rows) + 1) - 0.5
    mesh = axis.pcolormesh(edges, places, np.ma.masked_invalid(shown), cmap=colours, norm=norm, gid=SQUARES)
    axis.set(xlabel="step", ylim=(len(rows) - 0.5, -0.5))
    axis.set_yticks(range(len(rows)), rows)
    axis.figure.colorbar(mesh, ax=axis, label=unit)


def kinds(axis: "Axes", values: np.ndarray, meanings: Sequence[tuple[str, str]]) -> None:
    """values (T, rows), each the number of one of the meanings: (word, colour)."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    colours = ListedColormap([colour for _, colour in meanings])
    axis.imshow(values.T, aspect="auto", interpolation="nearest", cmap=colours, vmin=-0.5, vmax=len(meanings) - 0.5)
    axis.set(xlabel="step", ylabel="row")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Patch(facecolor=colour, label=word) for word, colour in meanings]
    axis.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles), fontsize="small", frameon=False
    )


def svg(figure: "Figure") -> str:
    """The figure as an SVG element: letters and axes in the colour of the text around it; a square of a heat map tells
    its number where the pointer rests."""
    import matplotlib as mpl
    from matplotlib.collections import QuadMesh

    told: dict[str, Iterator[str]] = {}
    for axis in figure.axes:
        for mesh in axis.collections:
            if isinstance(mesh, QuadMesh) and mesh.get_gid() == SQUARES:
                told[f"{SQUARES}-{len(told)}"] = _numbers(axis, mesh)
                mesh.set_gid(f"{SQUARES}-{len(told) - 1}")
    written = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lstmcore"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue()
    text = re.sub(r"font-family: [^;\"]*; ?", "", text[text.index("<svg") :]).replace("#000000", "currentColor")
    for name, numbers in told.items():
        start = text.index(f'<g id="{name}">')
        end = text.index("</g>", start)
        first, *others = text[start:end].split("/>")
        titles = (f"><title>{escape(number)}</title></path>" for number in numbers)
        text = text[:start] + first + "".join(map("".join, zip(titles, others, strict=True))) + text[end:]
    return text.replace("<svg ", '<svg role="img" aria-label="a picture of what is told as text" ', 1)


def _numbers(axis: "Axes", mesh: "QuadMesh") -> Iterator[str]:
    """What each square shows, row by row, as matplotlib writes them."""
    edges = (np.asarray(mesh.get_coordinates())[0, :, 0] + 0.5).astype(int)
    steps = [f"{a}" if b == a + 1 else f"{a}..{b - 1}" for a, b in itertools.pairwise(edges)]
    for label, row in zip(axis.get_yticklabels(), np.ma.MaskedArray(mesh.get_array()).filled(np.nan)):
        for step, value in zip(steps, row):
            yield f"step {step}, {label.get_text()}: {value:.3g}"
