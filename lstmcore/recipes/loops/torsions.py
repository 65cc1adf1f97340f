"""Loops and their torsion angles: sequences, four numbers per residue, and the mark of what is not defined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.ops.losses import squared_error

ALPHABET = "ARNDCEQGHILKMFPUSTYWV"  # the twenty amino acids and selenocysteine (U)
CHANNELS = ("sin phi", "cos phi", "sin psi", "cos psi")
ANGLES = ("phi", "psi")
UNDEFINED = -3.0  # no sine: beyond the end of a loop, and in both channels of an angle that does not exist


@dataclass(frozen=True)
class Loops:
    """N loops of at most T residues.

    A residue that stands inside a chain has two torsion angles of the backbone: phi, of C(t-1) N CA C, and psi, of
    N CA C N(t+1). Sine and cosine stand for each, so that -179 and 179 degrees are neighbours.
    """

    index: np.ndarray  # (N, T) int64, the residue as an index into the alphabet; -1 behind the end
    targets: np.ndarray  # (N, T, 4) float32, CHANNELS; UNDEFINED behind the end and for angles that do not exist
    alphabet: str = ALPHABET

    def __len__(self) -> int:
        return len(self.index)

    @property
    def mask(self) -> np.ndarray:
        """(N, T) bool, true on residues."""
        return self.index >= 0

    @property
    def lengths(self) -> np.ndarray:
        """(N,) residues of each loop."""
        return self.mask.sum(axis=1)

    @property
    def sequences(self) -> np.ndarray:
        """(N,) text, one letter per residue."""
        letters = np.array(list(self.alphabet))
        return np.array(["".join(letters[row[row >= 0]]) for row in self.index])

    def take(self, rows: np.ndarray) -> "Loops":
        """The loops of these rows."""
        return Loops(self.index[rows], self.targets[rows], self.alphabet)

    def padded(self, T: int | None) -> "Loops":
        """The same loops in T steps; None for as many as the longest has. Raises ValueError if T is less than that."""
        longest = int(self.lengths.max())
        T = longest if T is None else T
        if longest > T:
            raise ValueError(f"the longest loop has {longest} residues, and should be padded to {T}")
        index = np.full((len(self), T), -1)
        targets = np.full((len(self), T, len(CHANNELS)), UNDEFINED, np.float32)
        index[:, :longest], targets[:, :longest] = self.index[:, :longest], self.targets[:, :longest]
        return Loops(index, targets, self.alphabet)


def from_angles(sequences: Sequence[str], angles: Sequence[np.ndarray], alphabet: str = ALPHABET) -> Loops:
    """Loops of sequences and their angles (phi, psi), each (length, 2) in radians, NaN for an undefined one.

    Raises ValueError for letters that are not in the alphabet.
    """
    index = encode(sequences, alphabet)
    targets = np.full((*index.shape, len(CHANNELS)), UNDEFINED, np.float32)
    for row, pair in zip(targets, angles, strict=True):
        channels = np.stack([np.sin(pair), np.cos(pair)], axis=-1).reshape(len(pair), len(CHANNELS))
        row[: len(pair)] = np.where(np.isnan(channels), UNDEFINED, channels)
    return Loops(index, targets, alphabet)


def encode(sequences: Sequence[str], alphabet: str) -> np.ndarray:
    """(N, T) int64, -1 beyond the end of each. Raises ValueError for letters that are not in the alphabet."""
    index = np.full((len(sequences), max(map(len, sequences), default=0)), -1)
    for row, sequence in zip(index, sequences):
        unknown = sorted(set(sequence) - set(alphabet))
        if unknown or not sequence:
            raise ValueError(f"a sequence should hold letters of {alphabet}; got {sequence!r}")
        row[: len(sequence)] = [alphabet.index(letter) for letter in sequence]
    return index


def one_hot(index: np.ndarray, classes: int) -> np.ndarray:
    """index (N, T) -> x (T, N, classes) float32, one 1 per residue, zeros beyond the end."""
    return np.ascontiguousarray(index.T[..., None] == np.arange(classes), np.float32)


def masked_squared_error(y: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """Mean of (y - t)^2 over the channels that are not UNDEFINED, and its gradient.

    targets (T, B, 4). y (T, B, 4), or (B, P 4) with P >= T: all steps of a loop from one dense layer, step by step.
    mask is not used: the targets say what counts.
    """
    if y.ndim == 3:
        return squared_error(y, targets, targets != UNDEFINED)
    xp = namespace(y)
    loss, dsteps = squared_error(in_steps(y)[: len(targets), ...], targets, targets != UNDEFINED)
    dy = xp.zeros_like(in_steps(y))
    dy[: len(targets), ...] = dsteps
    return loss, xp.reshape(xp.permute_dims(dy, (1, 0, 2)), y.shape)  # undoes `in_steps`


def in_steps(y: Array) -> Array:
    """(B, P 4) -> (P, B, 4); (P, B, 4) stays as it is."""
    xp = namespace(y)
    return y if y.ndim == 3 else xp.permute_dims(xp.reshape(y, (y.shape[0], -1, len(CHANNELS))), (1, 0, 2))


def radians(channels: np.ndarray) -> np.ndarray:
    """(..., 4) -> (..., 2): phi and psi in (-pi, pi], NaN where one is undefined. No need for sin^2 + cos^2 = 1."""
    sine, cosine = channels[..., ::2].astype(float), channels[..., 1::2].astype(float)
    return np.where(sine == UNDEFINED, np.nan, np.arctan2(sine, cosine))
