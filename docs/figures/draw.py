"""Draws the figures of the pages, all from numbers that the engine gives: python docs/figures/draw.py [FOLDER]

Without FOLDER they are drawn beside this file. tests/test_figures.py says when one of them is out of date.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lstmcore as lc

FORWARD, ALONG_C, THROUGH_W, QUIET = "#4d5866", "#0b6e99", "#c2571a", "#d9dde2"
STYLE = {
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "lstmcore",  # the same names in every drawing
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0.0) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "connectionstyle": f"arc3,rad={bend}", "shrinkB": 2}
    ax.annotate("", end, start, arrowprops=look)


def box(ax: Axes, x: float, y: float, text: str, wide: float = 0.6, high: float = 0.5, fill: str = "white") -> None:
    ax.add_patch(mpl.patches.Rectangle((x - wide / 2, y - high / 2), wide, high, fc=fill, ec=FORWARD, lw=1.2, zorder=3))
    ax.text(x, y, text, ha="center", va="center", zorder=4)


def blank(wide: float, high: float, right: float, top: float) -> tuple[Figure, Axes]:
    """An empty sheet of `right` by `top` units."""
    figure = Figure((wide, high), layout="constrained")
    ax = figure.add_subplot(xlim=(0, right), ylim=(0, top))
    ax.set_axis_off()
    return figure, ax


def chain() -> Figure:
    """Three steps, and the two roads by which a gradient goes back."""
    figure, ax = blank(7.5, 3.6, 9.4, 4.4)
    for t in range(3):
        x = 1.9 + 2.8 * t
        ax.add_patch(mpl.patches.Rectangle((x - 0.75, 1.1), 1.5, 2.0, fc="#f6f7f9", ec=FORWARD, lw=1.2))
        ax.text(x, 2.1, f"step {t}", ha="center", va="center")
        arrow(ax, (x - 0.15, 0.35), (x - 0.15, 1.1), FORWARD)
        arrow(ax, (x + 0.15, 1.1), (x + 0.15, 0.35), THROUGH_W)
        ax.text(x - 0.25, 0.5, f"x[{t}]", ha="right")
        ax.text(x + 0.25, 0.5, f"dx[{t}] (22)", ha="left", color=THROUGH_W)
        arrow(ax, (x - 0.15, 3.1), (x - 0.15, 3.85), FORWARD)
        arrow(ax, (x + 0.15, 3.85), (x + 0.15, 3.1), THROUGH_W)
        ax.text(x - 0.25, 3.7, f"y[{t}]", ha="right")
        ax.text(x + 0.25, 3.7, f"dy[{t}] (43)", ha="left", color=THROUGH_W)
    for k in range(4):
        left, right = 2.65 + 2.8 * (k - 1), 3.95 + 2.8 * (k - 1)
        left, right = max(left, 0.1), min(right, 9.3)
        middle = (left + right) / 2
        arrow(ax, (left, 2.85), (right, 2.85), FORWARD)
        arrow(ax, (right, 2.6), (left, 2.6), ALONG_C)
        arrow(ax, (left, 1.75), (right, 1.75), FORWARD)
        arrow(ax, (right, 1.5), (left, 1.5), THROUGH_W)
        ax.text(middle, 2.9, f"c[{k}]", ha="center", va="bottom")
        ax.text(middle, 2.52, "dc (12)", ha="center", va="top", color=ALONG_C)
        ax.text(middle, 1.8, f"h[{k}]", ha="center", va="bottom")
        ax.text(middle, 1.42, "dh (18)", ha="center", va="top", color=THROUGH_W)
    return figure


def cell() -> Figure:
    """One step: what uses what, with the equation of each."""
    figure, ax = blank(7.5, 3.7, 10, 5)
    for k, gate in enumerate(("f (3)", "i (2)", "g (4)", "o (5)")):
        x = 2.2 + 1.5 * k
        box(ax, x, 1.6, gate, 0.95, fill=QUIET)
        arrow(ax, (x, 0.75), (x, 1.35), FORWARD)
    ax.plot([0.6, 6.7], [0.75, 0.75], color=FORWARD, lw=1.2)
    ax.text(0.6, 0.62, "a = x W_ih + h_prev W_hh + b   (1)", va="top")
    box(ax, 2.2, 4.0, "×", 0.45, 0.45)
    box(ax, 4.45, 2.7, "×", 0.45, 0.45)
    box(ax, 4.45, 4.0, "+ (6)", 0.8, 0.45)
    box(ax, 6.7, 3.2, "tanh", 0.8, 0.45)
    box(ax, 8.1, 2.2, "× (7)", 0.8, 0.45)
    for start, end in [
        ((0.5, 4.0), (1.97, 4.0)),  # c_prev
        ((2.2, 1.85), (2.2, 3.77)),  # f
        ((2.43, 4.0), (4.05, 4.0)),
        ((3.7, 1.85), (4.3, 2.47)),  # i
        ((5.2, 1.85), (4.6, 2.47)),  # g
        ((4.45, 2.93), (4.45, 3.77)),
        ((4.85, 4.0), (9.6, 4.0)),  # c
        ((6.7, 4.0), (6.7, 3.43)),
        ((7.1, 3.2), (8.1, 2.43)),
        ((7.18, 1.6), (7.7, 2.1)),  # o
        ((8.5, 2.2), (9.6, 2.2)),  # h
    ]:
        arrow(ax, start, end, FORWARD)
    ax.text(0.5, 4.1, "c_prev", va="bottom")
    ax.text(9.6, 4.1, "c", ha="right", va="bottom")
    ax.text(9.6, 2.3, "h", ha="right", va="bottom")
    arrow(ax, (9.4, 4.65), (2.2, 4.3), ALONG_C, bend=0.08)
    ax.text(5.6, 4.95, "dc_prev = dc * f (12): no matrix on this road", ha="center", va="center", color=ALONG_C)
    return figure


def triangle() -> Figure:
    """Size of every pair of (67): what step t adds to dW_ih for the sake of output u."""
    T, rng = 12, np.random.default_rng(0)
    lstm = lc.LSTM(2, 4, dtype="float64", engine="reference", seed=0)
    x, dy = rng.normal(size=(T, 1, 2)), rng.normal(size=(T, 1, 4))
    size = np.full((T, T), np.nan)
    for u in range(T):
        only = np.zeros_like(dy)
        only[u] = dy[u]
        steps = lc.debug.ledger(lstm, x, only)["W_ih"].norms.sum(axis=(1, 2))
        size[: u + 1, u] = steps[: u + 1]
        assert not steps[u + 1 :].any()  # nothing comes from later steps
    figure = Figure((5.6, 4.2), layout="constrained")
    ax = figure.add_subplot(xlabel="output u", ylabel="step t", xticks=range(0, T, 2), yticks=range(0, T, 2))
    ax.set_title("what step t adds to dW_ih for output u", fontsize=11)
    edges = np.arange(T + 1) - 0.5
    mesh = ax.pcolormesh(edges, edges, np.log10(size), cmap="viridis", rasterized=False)
    ax.invert_yaxis()
    ax.set_aspect("equal")
    for border in (3.5, 7.5):  # chunks of 4: what stays is in the squares along the diagonal
        ax.plot([border, border], [border - 4, border], [border, border + 4], [border, border], color=THROUGH_W, lw=2)
    figure.colorbar(mesh, label="size, powers of ten")
    return figure


def decay() -> Figure:
    """What is left of a gradient after s steps back: (68) for three gates, and the engine's two ways at the start."""
    T, H = 60, 16
    figure = Figure((6.2, 3.8), layout="constrained")
    ax = figure.add_subplot(xlabel="s, steps back", ylabel="left of the gradient", yscale="log", ylim=(1e-8, 3))
    s = np.arange(T + 1)
    for f, name in ((0.99, "f = 0.99"), (0.9, "f = 0.9"), (0.731, "f = 0.73: b_f = 1"), (0.5, "f = 0.5: b_f = 0")):
        ax.plot(s, f**s, color=ALONG_C, lw=1.2)
        end = min(T, int(np.log(2e-8) / np.log(f)))
        ax.text(end + 0.5, f**end, name, va="center" if end == T else "bottom", color=ALONG_C, fontsize=9)
    rng = np.random.default_rng(0)
    rnn = lc.RNN(1, H, dtype="float64", engine="reference", seed=0)
    x = rng.normal(size=(T, 1, 1))
    left = []
    for steps in s[1:]:
        _, _, cache = rnn.forward(x[:steps])
        _, (dh0,), _ = rnn.backward(np.zeros((steps, 1, H)), cache, (np.ones((1, H)) / np.sqrt(H),))
        left.append(np.linalg.norm(dh0))
    ax.plot(s, [1, *left], color=THROUGH_W, lw=2)
    ax.text(s[-1] + 0.5, left[-1], "plain RNN", va="center", color=THROUGH_W, fontsize=9)
    ax.set_xlim(0, T + 14)
    return figure


def masks() -> Figure:
    """Steps of three rows, and what each adds to the gradient of W_ih: padding nothing."""
    rng = np.random.default_rng(0)
    mask = np.array([[1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0, 1, 1]], bool).T
    lstm = lc.LSTM(2, 4, dtype="float64", engine="reference", seed=0)
    x, dy = rng.normal(size=(8, 3, 2)), rng.normal(size=(8, 3, 4))
    figure = Figure((6.2, 2.6), layout="constrained")
    ax = figure.add_subplot(xlabel="step", xticks=range(8), yticks=range(3))
    ax.set_yticklabels(["padded behind", "padded in front", "gaps"])
    ax.set_title("size of what each step adds to dW_ih", fontsize=11)
    for row in range(3):
        this = slice(row, row + 1)
        sizes = lc.debug.ledger(lstm, x[:, this], dy[:, this], mask=mask[:, this])["W_ih"].norms.sum(axis=(1, 2))
        for t, size in enumerate(sizes):
            box(ax, t, row, f"{size:.2f}" if size else "0", 0.92, 0.8, fill="#cfe4ee" if mask[t, row] else QUIET)
            assert (size == 0) == (not mask[t, row])
    ax.set(xlim=(-0.6, 7.6), ylim=(2.5, -0.5))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure


def shares() -> Figure:
    """Each step's share of the gradients of learning-from-all-steps.md, and how many loops are that long."""
    rng = np.random.default_rng(0)
    T, B = 31, 20
    lengths = rng.integers(4, T + 1, size=B)
    mask = lc.mask_from_lengths(lengths, T)
    x = np.eye(21)[rng.integers(0, 21, size=(T, B))] * mask[..., None]
    angles = rng.uniform(-np.pi, np.pi, size=(T, B, 2))
    targets = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    lstm, head = lc.LSTM(21, 32, dtype="float64", engine="reference", seed=1), lc.Linear(32, 4, dtype="float64", seed=2)
    model = lc.Stack([lstm, lc.Dropout(0.5), head, lc.Tanh()])
    book = lc.debug.ledger(model, x, lambda y: lc.squared_error(y, targets, mask), mask=mask, dropout_seed=3)
    figure = Figure((6.6, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, colour, what in (("0.W_ih", ALONG_C, "W_ih of the LSTM"), ("2.W", THROUGH_W, "W of the dense layer")):
        above.plot(100 * book[name].shares.sum(axis=(1, 2)), color=colour, marker="o", ms=4, label=what)
    above.axhline(0, color=FORWARD, lw=0.8)
    above.set_ylabel("share of the gradient, %")
    above.legend(frameon=False)
    below.bar(range(T), mask.sum(axis=1), color=QUIET)
    below.set(xlabel="step", ylabel="loops")
    return figure


FIGURES = {draw.__name__: draw for draw in (chain, cell, triangle, decay, masks, shares)}


def main(folder: Path) -> None:
    with mpl.rc_context(STYLE):
        for name, draw in FIGURES.items():
            draw().savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None, "Title": draw.__doc__})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
