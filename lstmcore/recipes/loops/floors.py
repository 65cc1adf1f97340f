"""Predictions that cost nothing, from the same loops that a network learns from: what it must beat.

The best answer under squared error is a mean of sines and cosines; the floors differ in which residues they average.
"""

import numpy as np

from lstmcore.recipes.loops.torsions import CHANNELS, UNDEFINED, Loops

FLOORS = ("constant mean", "mean per residue", "mean per triple", "exact memory", "nearest of same length")
BACK_OFF = 2  # the mean per residue counts as two sightings of a triple


def floors(learnt: Loops, tested: Loops) -> dict[str, np.ndarray]:
    """Each floor's predictions (N, T, 4) for the loops tested, learnt from the others; padding is not looked at.

    constant mean           of all residues
    mean per residue        of the residues of this kind
    mean per triple         of those between these two neighbours too (none, at an end), drawn towards the mean per
                            residue by `BACK_OFF`
    exact memory            of the loops with the same sequence; if there is none, the mean per residue
    nearest of same length  of the loops that differ in the fewest residues; if there is none, the mean per residue
    """
    constant, residue = constant_mean(learnt, tested), residue_mean(learnt, tested)
    predictions = (constant, residue, triple_mean(learnt, tested), *memories(learnt, tested))
    return dict(zip(FLOORS, predictions, strict=True))


def constant_mean(learnt: Loops, tested: Loops) -> np.ndarray:
    """The same four numbers for every residue."""
    means = _means(np.zeros_like(learnt.index), learnt, 1, np.zeros(len(CHANNELS)))
    return np.broadcast_to(means[0], (*tested.index.shape, len(CHANNELS)))


def residue_mean(learnt: Loops, tested: Loops) -> np.ndarray:
    """One answer per letter; the constant mean for a letter that was not learnt from."""
    constant = constant_mean(learnt, tested)[0, 0]
    return _means(learnt.index, learnt, len(learnt.alphabet), constant)[tested.index]


def triple_mean(learnt: Loops, tested: Loops) -> np.ndarray:
    """One answer per letter and its two neighbours."""
    V = len(learnt.alphabet) + 1  # with "none"
    sums, counts = _sums(_triples(learnt, V), learnt, V**3)
    keys = _triples(tested, V)
    return (sums[keys] + BACK_OFF * residue_mean(learnt, tested)) / (counts[keys] + BACK_OFF)


def memories(learnt: Loops, tested: Loops) -> tuple[np.ndarray, np.ndarray]:
    """What is remembered of equal sequences, and of those that are as near as any of the same length."""
    same = residue_mean(learnt, tested)
    near = same.copy()
    lengths = learnt.lengths
    for n, (row, length) in enumerate(zip(tested.index, tested.lengths)):
        rows = np.flatnonzero(lengths == length)
        if len(rows) == 0:
            continue
        differ = (learnt.index[rows, :length] != row[:length]).sum(axis=1)
        recalled = learnt.take(rows[differ == differ.min()])
        mean = _means(np.broadcast_to(np.arange(length), (len(recalled), length)), recalled, length, near[n, :length])
        near[n, :length] = mean
        if differ.min() == 0:
            same[n, :length] = mean
    return same, near


def _triples(loops: Loops, V: int) -> np.ndarray:
    """(N, T): a number for the letter at each step and its neighbours."""
    around = np.pad(loops.index + 1, ((0, 0), (1, 1)))  # 0 is "none"
    return (around[:, :-2] * V + around[:, 1:-1]) * V + around[:, 2:]


def _means(keys: np.ndarray, loops: Loops, size: int, unseen: np.ndarray) -> np.ndarray:
    """(size, 4): the mean of the residues of each key, `unseen` ((4,) or (size, 4)) where there is none."""
    sums, counts = _sums(keys, loops, size)
    return np.where(counts > 0, sums / np.maximum(counts, 1), unseen)


def _sums(keys: np.ndarray, loops: Loops, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, 4) twice: sums of the channels over the residues of each key, and how many were defined."""
    sums, counts = np.zeros((2, size, len(CHANNELS)))
    targets = loops.targets[:, : keys.shape[1]]
    for k in range(len(CHANNELS)):
        defined = targets[..., k] != UNDEFINED
        sums[:, k] = np.bincount(keys[defined], targets[..., k][defined], size)
        counts[:, k] = np.bincount(keys[defined], minlength=size)
    return sums, counts
