"""Loops out of protein structures: a folder of PDB and mmCIF files, read by gemmi (the extra `pdb`).

Of each file the first model counts; of alternative locations the first; ligands and waters do not. Residues belong to
one chain as long as C and the next N are within bonding distance: a gap in the structure ends a chain, whatever the
numbering says. phi of a chain's first residue and psi of its last do not exist, nor do angles of which an atom is
missing: both channels are then undefined.

loops   the runs of coil between two helices or strands of one chain: residues that the file's own records (HELIX and
        SHEET in PDB, struct_conf and struct_sheet_range in mmCIF) put into neither.
chains  whole chains, from break to break.

A modified residue counts as its parent (selenomethionine as M); an unknown one ends a run.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore.recipes.loops.torsions import ALPHABET, Loops, from_angles
from lstmcore.train.callbacks.watchers import Tell, warn

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")  # and each with .gz
BOND = 2.0  # angstrom; C-N is 1.33 in a peptide, and at least 2.7 where nothing binds them
LENGTHS = {"loops": (4, 31), "chains": (2, 2000)}  # shorter and longer runs are left out


def read(folder: Path, cut: str = "loops", tell: Tell = warn) -> Loops:
    """The loops, or chains, of all structures in a folder. tell: is called with what was left out, and why.

    Raises ImportError without gemmi, ValueError where nothing is found, OSError for what is no folder.
    """
    try:
        import gemmi  # noqa: F401
    except ImportError as error:
        raise ImportError("structures are read by gemmi: pip install 'lstmcore[pdb]'") from error
    paths = sorted(path for path in folder.iterdir() if path.name.lower().removesuffix(".gz").endswith(SUFFIXES))
    if not paths:
        raise ValueError(f"{folder} holds no structure: no file ends in {', '.join(SUFFIXES)}, with or without .gz")
    sequences: list[str] = []
    angles: list[np.ndarray] = []
    left_out: Counter[str] = Counter()
    for path in paths:
        for sequence, pairs in _of_file(path, cut, left_out, tell):
            sequences.append(sequence)
            angles.append(pairs)
    if left_out:
        tell("left out: " + ", ".join(f"{n:,} {what}" for what, n in left_out.most_common()))
    if not sequences:
        hint = "; are there HELIX and SHEET records? --cut chains does without" if cut == "loops" else ""
        raise ValueError(f"{folder}: no {cut} found in {len(paths)} structures{hint}")
    return from_angles(sequences, angles)


def _of_file(path: Path, cut: str, left_out: Counter[str], tell: Tell) -> Iterator[tuple[str, np.ndarray]]:
    """(sequence, angles (length, 2)) of every run of one structure. A file that gemmi cannot read is told of."""
    import gemmi

    try:
        structure = gemmi.read_structure(str(path))
        structure.remove_alternative_conformations()
        structure.setup_entities()
    except (RuntimeError, ValueError, OSError) as error:  # gemmi's own words; of a damaged .gz too
        left_out["files that cannot be read"] += 1
        tell(f"{path.name} is left out: {error}")
        return
    structured = _structured(structure)
    if cut == "loops" and not structured:
        left_out["files without a record of helices or strands"] += 1
        return
    shortest, longest = LENGTHS[cut]
    for chain in structure[0] if len(structure) else ():
        for part in _bonded(chain):
            pairs = _angles(part)
            for first, last in _runs(
                part, {k for k, r in enumerate(part) if (chain.name, str(r.seqid)) in structured}, cut
            ):
                if not shortest <= last - first <= longest:
                    left_out[f"{cut} of less than {shortest} or more than {longest} residues"] += 1
                elif np.isnan(pairs[first:last]).all():
                    left_out[f"{cut} without an angle"] += 1
                else:
                    yield "".join(_letter(r) for r in part[first:last]), pairs[first:last]


def _bonded(chain: Any) -> Iterator[list[Any]]:
    """The amino acids of a chain, cut wherever two that follow each other are not bonded."""
    import gemmi

    part: list[Any] = []
    for residue in chain.get_polymer():
        if not gemmi.find_tabulated_residue(residue.name).is_amino_acid() and _position(residue, "CA") is None:
            continue  # a nucleotide
        if part and not _bond(part[-1], residue):
            yield part
            part = []
        part.append(residue)
    if part:
        yield part


def _bond(residue: Any, after: Any) -> bool:
    C, N = _position(residue, "C"), _position(after, "N")
    return C is not None and N is not None and C.dist(N) < BOND


def _angles(part: list[Any]) -> np.ndarray:
    """(length, 2): phi and psi in radians, NaN where one does not exist."""
    atoms = [[_position(residue, name) for name in ("N", "CA", "C")] for residue in part]
    pairs = np.full((len(part), 2), math.nan)
    for t, (N, CA, C) in enumerate(atoms):
        if t > 0:
            pairs[t, 0] = _dihedral(atoms[t - 1][2], N, CA, C)
        if t + 1 < len(part):
            pairs[t, 1] = _dihedral(N, CA, C, atoms[t + 1][0])
    return pairs


def _dihedral(*positions: Any) -> float:
    import gemmi

    return math.nan if None in positions else gemmi.calculate_dihedral(*positions)


def _position(residue: Any, name: str) -> Any:
    """Where an atom is; None if it is not there."""
    atom = residue.find_atom(name, "*")
    return None if atom is None else atom.pos


def _letter(residue: Any) -> str:
    """The one-letter code, of the parent for a modified residue; "X" for an unknown one."""
    import gemmi

    letter = gemmi.find_tabulated_residue(residue.name).one_letter_code.upper()
    return letter if letter in ALPHABET else "X"


def _structured(structure: Any) -> set[tuple[str, str]]:
    """(chain, residue number) of everything that the file puts into a helix or a strand."""
    spans = [(h.start, h.end) for h in structure.helices]
    spans += [(strand.start, strand.end) for sheet in structure.sheets for strand in sheet.strands]
    found = set()
    for start, end in spans:
        chain = structure[0].find_chain(start.chain_name) if len(structure) else None
        inside = False
        for residue in chain.get_polymer() if chain else ():
            inside = inside or residue.seqid == start.res_id.seqid
            if inside:
                found.add((start.chain_name, str(residue.seqid)))
            if residue.seqid == end.res_id.seqid:
                break
    return found


def _runs(part: list[Any], structured: set[int], cut: str) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of each run of known residues; for loops, with a helix or strand at both ends."""
    free = [_letter(r) != "X" and (cut == "chains" or k not in structured) for k, r in enumerate(part)]
    first = 0
    for t in range(len(part) + 1):
        if t < len(part) and free[t]:
            continue
        between = first - 1 in structured and t in structured
        if t > first and (cut == "chains" or between):
            yield first, t
        first = t + 1
