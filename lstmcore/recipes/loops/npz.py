"""Loops in a NumPy .npz file, as docs/loops-format.md describes it: read (train/files/npz.py), and written.

What was read must make sense as loops.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from lstmcore.recipes.loops.torsions import CHANNELS, UNDEFINED, Loops
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.files.npz import FLOATING, INTEGERS, TEXT, Header, open_npz

KINDS = {"aa_index": INTEGERS, "targets": FLOATING, "length": INTEGERS, "seq": TEXT, "alphabet": TEXT}
ON_THE_CIRCLE = 0.01  # how far sin^2 + cos^2 may be from 1: three decimals are enough


def read(path: Path, tell: Tell = warn, skip_bad: bool = False) -> Loops:
    """The loops of a file. tell: is called if an angle is marked undefined in one of its two channels; both are then.
    skip_bad: loops that make no sense are left out and counted instead of raising.

    Raises ValueError for a file that is damaged, of another format or without sense; OSError if it cannot be read.
    """
    with open_npz(path) as file:
        headers = {name: file.header(name, kind) for name, kind in KINDS.items()}
        _check_shapes(headers, path)
        arrays = {name: file.data(name) for name in KINDS}
    return _loops(arrays, path, tell, skip_bad)


def write(path: Path, loops: Loops) -> None:
    """The loops as a file that `read` reads. Raises OSError."""
    np.savez_compressed(
        path,
        aa_index=loops.index.astype(np.int8 if len(loops.alphabet) < 128 else np.int64),
        targets=loops.targets,
        length=loops.lengths,
        seq=loops.sequences,
        alphabet=np.array(loops.alphabet),
    )


def _check_shapes(headers: dict[str, Header], path: Path) -> None:
    """One N and one T for all arrays."""
    shapes = {name: header.shape for name, header in headers.items()}
    N, T = (*shapes["aa_index"], 0, 0)[:2]
    wanted = {"aa_index": (N, T), "targets": (N, T, len(CHANNELS)), "length": (N,), "seq": (N,), "alphabet": ()}
    if shapes != wanted or N == 0 or T == 0:
        raise ValueError(
            f"{path} should hold aa_index (N, T), targets (N, T, 4), length (N,), seq (N,) and alphabet (); got "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )


def _loops(arrays: dict[str, np.ndarray], path: Path, tell: Tell, skip_bad: bool) -> Loops:
    """The arrays as loops, once each number has been checked."""
    length, index = arrays["length"].astype(np.int64), arrays["aa_index"].astype(np.int64)
    with np.errstate(all="ignore"):  # what overflows is found below
        targets = arrays["targets"].astype(np.float32)
    alphabet, sequences = str(arrays["alphabet"]), arrays["seq"]
    N, T = index.shape
    if len(set(alphabet)) != len(alphabet) or not alphabet:
        raise ValueError(f"{path}: 'alphabet' should be letters, each once; got {alphabet!r}")
    good = np.ones(N, bool)
    reasons: Counter[str] = Counter()

    def check(right: np.ndarray, should: str, values: np.ndarray) -> None:
        """right: bool, (N,) or more axes; what is said of loops that are left out already does not matter."""
        bad = good & ~right.reshape(N, -1).all(axis=1)
        if bad.any() and not skip_bad:
            where = tuple(int(axis[0]) for axis in np.nonzero(~right & bad.reshape(N, *[1] * (right.ndim - 1))))
            raise ValueError(
                f"{path}: {should}; got {values[where]!s} at {where}, in a loop of {length[where[0]]} residues "
                f"({bad.sum():,} of {N:,} loops are so; --skip-bad leaves them out)"
            )
        reasons[should] += int(bad.sum())
        good[bad] = False

    check((length >= 1) & (length <= T), f"'length' should lie in 1 .. T = {T}", length)
    inside = np.arange(T) < length[:, None]
    letters = f"'aa_index' should lie in 0 .. {len(alphabet) - 1} inside a loop, and be -1 behind its end"
    check(np.where(inside, (index >= 0) & (index < len(alphabet)), index == -1), letters, index)
    undefined = targets == UNDEFINED
    check(
        ~inside[..., None] | (np.abs(targets) <= 1 + ON_THE_CIRCLE) | undefined,
        f"'targets' should lie in [-1, 1] inside a loop, or be {UNDEFINED} if undefined",
        targets,
    )
    check(
        inside[..., None] | undefined,
        f"'targets' should be {UNDEFINED} behind the end of a loop (does it have more rows of angles than residues?)",
        targets,
    )
    half = (undefined[..., ::2] != undefined[..., 1::2]) & good[:, None, None]  # (N, T, 2): one of an angle's channels
    if half.any():
        both = np.repeat(half, 2, axis=-1)
        targets = np.where(both, np.float32(UNDEFINED), targets)
        tell(
            f"{path}: {half.sum():,} angles are marked undefined in one channel of two; both are taken as undefined "
            "now (the other one flatters every error)"
        )
    with np.errstate(all="ignore"):
        squares = targets[..., ::2] ** 2 + targets[..., 1::2] ** 2  # (N, T, 2)
    check(
        (np.abs(squares - 1) <= ON_THE_CIRCLE) | (targets[..., ::2] == UNDEFINED),
        "sin^2 + cos^2 should be 1 for phi and psi (are the channels sin phi, cos phi, sin psi, cos psi?)",
        squares,
    )
    defined = (targets != UNDEFINED).any(axis=(1, 2))
    check(defined, "every loop should have an angle that is defined", defined)
    loops = Loops(np.where(good[:, None], index, -1), targets, alphabet)
    told = sequences.astype(object)
    check(told == loops.sequences, "'seq' should spell what 'aa_index' says", told)
    if not good.any():
        raise ValueError(f"{path}: no loop is left; {reasons.most_common(1)[0][0]}")
    if not good.all():
        words = "; ".join(f"{n:,}: {should}" for should, n in (+reasons).most_common())
        tell(f"{path}: {N - good.sum():,} of {N:,} loops are left out: {words}")
    return loops if good.all() else loops.take(np.flatnonzero(good))
