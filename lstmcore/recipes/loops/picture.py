"""The Ramachandran plot of what is predicted against what is true, the losses, and the error along the loop."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.debug.show.picture import legend, panels
from lstmcore.recipes import job as finished
from lstmcore.recipes.loops import scores
from lstmcore.recipes.loops.result import Result
from lstmcore.recipes.loops.torsions import ANGLES, radians

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(path: Path, result: Result) -> None:
    """Four panels: true, predicted, losses, degrees by position. Raises ImportError without matplotlib."""
    figure, (true, predicted, losses, errors) = panels(4.4, 4.4, 3.2, 3.0)
    tested = result.parts.tested
    angles = radians(tested.targets)
    both = ~np.isnan(angles).any(axis=-1)  # (N, T): residues with phi and psi
    _ramachandran(true, angles[both], f"true: {both.sum():,} residues")
    _ramachandran(predicted, radians(result.predicted)[both], f"predicted: error {result.score.mse:.3f}")
    floors = {name: result.floors[name].mse for name in ("constant mean", "mean per residue", "mean per triple")}
    finished.draw_losses(losses, result.history, "masked squared error", floors)
    positions = scores.by_position(result.predicted, tested)
    for name in ANGLES:
        errors.plot(np.arange(1, len(positions) + 1), [getattr(s, name) for s in positions], "o-", ms=3, label=name)
    errors.set(xlabel="position in the loop", ylabel="mean error (degrees)", ylim=(0, None))
    legend(errors)
    finished.write_picture(path, figure)


def _ramachandran(axis: "Axes", angles: np.ndarray, title: str) -> None:
    """How many residues have which (phi, psi), on a grid of 5 degrees, the counts on a logarithmic scale."""
    from matplotlib.colors import LogNorm

    edges = np.linspace(-180, 180, 73)
    counts, _, _ = np.histogram2d(np.degrees(angles[:, 0]), np.degrees(angles[:, 1]), bins=(edges, edges))
    norm = LogNorm(1, max(2, counts.max()))  # where nothing is predicted, nothing is drawn
    mesh = axis.pcolormesh(edges, edges, np.ma.masked_equal(counts.T, 0), cmap="viridis", norm=norm, rasterized=True)
    axis.figure.colorbar(mesh, ax=axis, label="residues")
    axis.set(xlabel="phi (degrees)", ylabel="psi (degrees)", title=title, aspect="equal")
    axis.set(xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
