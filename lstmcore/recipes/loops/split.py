"""Which loops are learnt from, which decide when to stop, and which are tested on; and whether these overlap."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmcore.recipes.loops.torsions import Loops
from lstmcore.train.files.decoded import decoded

PARTS = (0.7, 0.1, 0.2)  # learnt from, validation, test
WORDS = ("train", "validation", "test")  # in a file of one's own


class Split(NamedTuple):
    learnt: Loops
    validation: Loops
    tested: Loops


def split(loops: Loops, kind: str, rng: np.random.Generator) -> Split:
    """70 % to learn from, 10 % for validation, 20 % for the test.

    kind: "grouped" keeps loops of one sequence in one part (the shares are then met as nearly as the groups allow),
    "random" draws every loop by itself. Anything else is the path of a file that assigns them: a line per loop, in
    their order, with a word of WORDS. Raises ValueError where a part would be empty, and for a file that says something
    else, OSError for one that cannot be read.
    """
    if kind not in ("grouped", "random"):
        return _own(loops, Path(kind))
    _, group = np.unique(loops.sequences, return_inverse=True)
    if kind == "random":
        group = np.arange(len(loops))
    order = rng.permutation(group.max() + 1)
    filled = np.cumsum(np.bincount(group)[order]) / len(loops)  # after each group
    part = np.empty(len(order), int)
    part[order] = np.searchsorted(np.cumsum(PARTS[:-1]), filled - 1e-9)
    rows = [np.flatnonzero(part[group] == k) for k in range(len(PARTS))]
    if not all(map(len, rows)):
        raise ValueError(
            f"{len(loops)} loops of {len(np.unique(loops.sequences))} sequences are too few to learn from 70 %, "
            "validate on 10 % and test on 20 %"
        )
    return Split(*(loops.take(part) for part in rows))


def _own(loops: Loops, path: Path) -> Split:
    """As the file has it."""
    if not path.is_file():
        raise ValueError(f"`split` should be grouped, random, or a file with a part per line; there is no file {path}")
    text, _ = decoded(path)
    told = np.array([line.strip() for line in text.splitlines()])
    wrong = [n for n, word in enumerate(told, 1) if word not in WORDS]
    if wrong:
        raise ValueError(
            f"{path}, line {wrong[0]}: should be one of {', '.join(WORDS)}; got {str(told[wrong[0] - 1])!r}"
        )
    if len(told) != len(loops):
        raise ValueError(f"{path} has {len(told):,} lines for {len(loops):,} loops (a line each; bad ones left out?)")
    missing = [word for word in WORDS if word not in told]
    if missing:
        raise ValueError(f"{path} names no loop for {', '.join(missing)}")
    return Split(*(loops.take(np.flatnonzero(told == word)) for word in WORDS))


def leaked(parts: Split) -> int:
    """How many loops of the test have a sequence that is learnt from."""
    return int(np.isin(parts.tested.sequences, parts.learnt.sequences).sum())


def warning(parts: Split) -> str | None:
    """The leak in words, None if there is none."""
    n = leaked(parts)
    if n == 0:
        return None
    return (
        f"leak: {n:,} of {len(parts.tested):,} test loops ({100 * n / len(parts.tested):.1f} %) have a sequence that "
        'is also learnt from: the test rewards memory (see "exact memory"); --split grouped keeps them apart'
    )
