"""Builds docs/questions/antibodies.npz: the loops H1, H2 and H3 of antibodies, with their torsion angles.

    git clone https://github.com/wengong-jin/RefineGNN && git -C RefineGNN checkout f41aa5f
    python -m benchmarks.antibodies RefineGNN/data/sabdab/hcdr3_cluster/test_data.jsonl.gz --out antibodies.npz

A line of such a file is a heavy chain: `seq`, its letters; `cdr`, a digit for each, 1 to 3 in the three loops;
`coords`, the positions of N, CA and C, NaN where there are none. The files are under the MIT
licence (beside antibodies.npz); they were cut out of SAbDab (Dunbar et al. 2014, CC BY 4.0), whose
structures are those of the Protein Data Bank (CC0). Chains that are the same are taken once. With all six files of
hcdr1_cluster, hcdr2_cluster, hcdr3_cluster and those of rabd it becomes the larger collection of the page.
"""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.machine import cli
from lstmcore.recipes.loops.pdb import BOND, LENGTHS
from lstmcore.recipes.loops.torsions import ALPHABET, Loops, from_angles


def dihedral(p: np.ndarray) -> float:
    """The angle of four points (4, 3) in radians, NaN where a coordinate is: about the axis of the middle two."""
    before, axis, after = np.diff(p, axis=0)
    one, other = np.cross(before, axis), np.cross(axis, after)
    return float(np.arctan2(np.linalg.norm(axis) * (before @ other), one @ other))


def angles(backbone: np.ndarray, first: int, last: int) -> np.ndarray:
    """(last - first, 2): phi and psi of residues first to last - 1 of a chain (n, 3, 3), of N, CA, C; NaN for none."""
    pairs = np.full((last - first, 2), np.nan)
    bound = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1)  # of C to the next N
    linked = (bound >= BOND[0]) & (bound <= BOND[1])  # false where one is missing
    for row, t in zip(pairs, range(first, last)):
        if t > 0 and linked[t - 1]:
            row[0] = dihedral(np.stack([backbone[t - 1, 2], *backbone[t]]))
        if t + 1 < len(backbone) and linked[t]:
            row[1] = dihedral(np.stack([*backbone[t], backbone[t + 1, 0]]))
    return pairs


def loops_of(lines: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(letters, angles) of every loop all of whose letters are known, and of which an angle is."""
    seen = set()
    for line in lines:
        chain = json.loads(line)
        if (chain["pdb"], chain["seq"]) in seen:
            continue
        seen.add((chain["pdb"], chain["seq"]))
        backbone = np.array([chain["coords"][atom] for atom in ("N", "CA", "C")], float).transpose(1, 0, 2)
        for run in re.finditer(r"1+|2+|3+", chain["cdr"]):
            letters = chain["seq"][run.start() : run.end()]
            pairs = angles(backbone, run.start(), run.end())
            shortest, longest = LENGTHS["loops"]
            if set(letters) <= set(ALPHABET) and shortest <= len(letters) <= longest and np.isfinite(pairs).any():
                yield letters, pairs


def write(path: Path, loops: Loops) -> None:
    """docs/loops-format.md, small: targets in float16, which are right to 0.03 degrees."""
    np.savez_compressed(
        path, aa_index=loops.index.astype(np.int8), targets=loops.targets.astype(np.float16), length=loops.lengths,
        seq=loops.sequences, alphabet=np.array(loops.alphabet),
    )  # fmt: skip


def command(
    files: Annotated[list[Path], typer.Argument(help=".jsonl or .jsonl.gz")],
    out: Annotated[Path, typer.Option(help="The .npz file to write.")] = Path("antibodies.npz"),
) -> None:
    """Cut the loops out, and write them."""
    lines = []
    for file in files:
        with gzip.open(file, "rt") if file.suffix == ".gz" else open(file, encoding="utf-8") as opened:
            lines += opened.read().splitlines()
    found = list(loops_of(lines))
    loops = from_angles([letters for letters, _ in found], [pairs for _, pairs in found])
    write(out, loops)
    typer.echo(f"{len(loops):,} loops, {len(set(loops.sequences)):,} sequences, of {len(set(lines)):,} lines: {out}")


if __name__ == "__main__":
    cli(command)
