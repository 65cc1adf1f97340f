"""How far predicted torsion angles are from the true ones: as the loss counts it, and in degrees."""

from dataclasses import asdict, dataclass

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.recipes.loops.torsions import UNDEFINED, Loops, radians


@dataclass(frozen=True)
class Score:
    """Means over the angles that are defined; NaN where there is none."""

    mse: float  # of all four channels: what is trained for
    phi: float  # mean |error|, degrees; 90 is what a guess has
    psi: float
    residues: int

    def as_plain(self) -> Plain:
        """For JSON, which has no NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def score(predicted: np.ndarray, targets: np.ndarray) -> Score:
    """predicted, targets (..., 4)."""
    defined = targets != UNDEFINED
    square = (predicted.astype(float) - targets)[defined] ** 2
    phi, psi = np.moveaxis(angular_errors(predicted, targets), -1, 0)
    return Score(_mean(square), _mean(phi), _mean(psi), int(defined.any(axis=-1).sum()))


def angular_errors(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(..., 4) twice -> (..., 2): |error| of phi and psi in degrees, from 0 to 180, NaN where there is no angle."""
    difference = radians(predicted) - radians(targets)
    return np.degrees(np.abs((difference + np.pi) % (2 * np.pi) - np.pi))  # the short way round


def by_residue(predicted: np.ndarray, loops: Loops) -> dict[str, Score]:
    """One score per letter that occurs, in the order of the alphabet; predicted (N, T, 4)."""
    rows = {letter: loops.index == k for k, letter in enumerate(loops.alphabet)}
    return {name: score(predicted[where], loops.targets[where]) for name, where in rows.items() if where.any()}


def by_position(predicted: np.ndarray, loops: Loops) -> list[Score]:
    """One score per position, from a loop's first residue on; predicted (N, T, 4)."""
    return [score(predicted[:, t], loops.targets[:, t]) for t in range(int(loops.lengths.max()))]


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
