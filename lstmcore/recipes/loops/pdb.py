"""Loops from protein structures: a folder of PDB and mmCIF files, read by gemmi (the extra `pdb`).

Of each file the first model counts; ligands and waters do not. Of alternate locations one conformer counts for the
whole residue: the one with most of its backbone, then with the highest occupancy, then the first by its letter. Atoms
without occupancy count as not there, but where no atom has any. Residues belong to one chain as long as C and the next
N are within bonding distance: a gap in the structure ends a chain, whatever the numbering says; chains that share a
letter are told apart. phi of a chain's first residue and psi of its last do not exist, nor do angles of which an atom
is missing: both channels are then undefined.

loops   the runs of coil between two helices or strands of one chain: residues that the file's own records (HELIX and
        SHEET in PDB; struct_conf, strands in it too, and struct_sheet_range in mmCIF) put into neither. A record whose
        ends are not in the coordinates counts for those of its residues that are.
chains  whole chains, from break to break.

A modified residue counts as its parent (selenomethionine as M); an unknown one ends a run.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from lstmcore.recipes.loops.torsions import ALPHABET, Loops, from_angles
from lstmcore.train.callbacks.watchers import Tell, warn

if TYPE_CHECKING:
    import gemmi

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")  # and each with .gz
BOND = (0.8, 2.0)  # angstrom; C-N is 1.33 in a peptide, and at least 2.7 where nothing binds them
BACKBONE = ("N", "CA", "C")
Cut: TypeAlias = Literal["loops", "chains"]
LENGTHS = {"loops": (4, 31), "chains": (2, 2000)}  # shorter and longer runs are left out


def read(folder: Path, cut: Cut = "loops", tell: Tell = warn) -> Loops:
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
    if +left_out:
        tell("left out: " + ", ".join(f"{n:,} {what}" for what, n in (+left_out).most_common()))
    if not sequences:
        hint = "; are there HELIX and SHEET records? --cut chains does without" if cut == "loops" else ""
        raise ValueError(f"{folder}: no {cut} found in {len(paths)} structures{hint}")
    return from_angles(sequences, angles)


class Residue(NamedTuple):
    """What a loop is made of."""

    letter: str  # of the parent for a modified residue; "X" for an unknown one
    number: tuple[int, str]  # with the insertion code
    atoms: "tuple[gemmi.Position | None, ...]"  # of N, CA, C; None for one that is not there


class Span(NamedTuple):
    """A helix or a strand of the file's records."""

    chain: str
    first: tuple[int, str]
    last: tuple[int, str]


def _of_file(path: Path, cut: Cut, left_out: Counter[str], tell: Tell) -> Iterator[tuple[str, np.ndarray]]:
    """(sequence, angles (length, 2)) of every run of one structure. A file that gemmi cannot read is reported."""
    import gemmi

    try:
        if path.name.lower().removesuffix(".gz").endswith((".pdb", ".ent")):
            structure = gemmi.read_pdb(str(path), split_chain_on_ter=True)
        else:
            structure = gemmi.read_structure(str(path))
        structure.setup_entities()
        spans = list(_spans(structure, path)) if cut == "loops" else []
    except (RuntimeError, ValueError, OSError) as error:  # gemmi's own words; of a damaged .gz too
        left_out["files that cannot be read"] += 1
        tell(f"{path.name} is left out: {error}")
        return
    if cut == "loops" and not spans:
        left_out["files without a record of helices or strands"] += 1
        return
    left_out["models after the first"] += max(0, len(structure) - 1)
    pieces = _pieces(structure[0]) if len(structure) else ()
    chains = [(name, residues) for name, piece in pieces for residues in _chains(piece, left_out)]
    for name, n in Counter(name for name, _ in chains).items():
        if n > 1:
            tell(f"{path.name}: {n} chains are called {name!r}; each is read by itself, with the same records")
    shortest, longest = LENGTHS[cut]
    for name, residues in chains:
        structured = _structured(residues, [span for span in spans if span.chain == name], left_out)
        first = 0
        for part in _bonded(residues):
            inside, behind, before = ({k - first for k in places} for places in structured)
            first += len(part)
            pairs = _angles(part)
            for start, end in _runs(part, inside, behind, before, cut, left_out):
                if not shortest <= end - start <= longest:
                    left_out[f"{cut} of less than {shortest} or more than {longest} residues"] += 1
                elif np.isnan(pairs[start:end]).all():
                    left_out[f"{cut} without an angle"] += 1
                else:
                    yield "".join(r.letter for r in part[start:end]), pairs[start:end]


def _pieces(model: "gemmi.Model") -> "Iterator[tuple[str, list[gemmi.Residue]]]":
    """The letter and the residues of each chain. What a TER has split is one chain, except where an atom comes again
    with the same number, name and conformer."""
    pieces: dict[str, tuple[list[gemmi.Residue], set[tuple[str, str, str]]]] = {}
    for chain in model:
        residues = list(chain.get_polymer())
        atoms = {(str(r.seqid), atom.name, atom.altloc) for r in residues for atom in r}
        before, seen = pieces.get(chain.name, ([], set()))
        if seen & atoms:
            yield chain.name, before
            before, seen = [], set()
        pieces[chain.name] = (before + residues, seen | atoms)
    yield from ((name, residues) for name, (residues, _) in pieces.items())


def _chains(chain: "list[gemmi.Residue]", left_out: Counter[str]) -> Iterator[list[Residue]]:
    """The amino acids of a chain; of several, where gemmi has taken two chains of one letter for one.

    Then an atom of one residue number comes again with the same name and conformer: its second time it is of the second
    chain.
    """
    copies: dict[int, list[Residue]] = defaultdict(list)
    occupied = any(atom.occ > 0 for residue in chain for atom in residue)
    groups: dict[tuple[int, str], list[gemmi.Residue]] = {}
    for residue in chain:
        groups.setdefault(_number(residue.seqid), []).append(residue)
    for number, residues in groups.items():
        seen: Counter[tuple[str, str]] = Counter()
        parts: dict[int, list[tuple[gemmi.Residue, gemmi.Atom]]] = defaultdict(list)
        for residue in residues:
            for atom in residue:
                if occupied and atom.occ <= 0:
                    left_out["atoms without occupancy"] += 1
                elif atom.name in BACKBONE:
                    parts[seen[atom.name, atom.altloc]].append((residue, atom))
                    seen[atom.name, atom.altloc] += 1
        for k, atoms in parts.items():
            chosen = _conformer(number, atoms, left_out)
            if chosen is not None:
                copies[k].append(chosen)
    yield from copies.values()


def _number(seqid: "gemmi.SeqId") -> tuple[int, str]:
    """With the insertion code; -999, as gemmi has it inside, for what has no number."""
    return -999 if seqid.num is None else seqid.num, seqid.icode


def _conformer(
    number: tuple[int, str], atoms: "list[tuple[gemmi.Residue, gemmi.Atom]]", left_out: Counter[str]
) -> Residue | None:
    """One residue out of the backbone atoms of all its conformers; None for what is no amino acid."""
    import gemmi

    found = []
    for name in dict.fromkeys(residue.name for residue, _ in atoms):
        own = [atom for residue, atom in atoms if residue.name == name]
        labels = sorted({atom.altloc for atom in own} - {"\0"}) or ["\0"]
        for label in labels:
            mine = {atom.name: atom for atom in own if atom.altloc in ("\0", label)}
            occupancy = sum(atom.occ for atom in mine.values()) / len(mine)
            found.append((-len(mine), -occupancy, label, name, mine))
    if not found:
        return None
    if len(found) > 1:
        left_out["alternate conformers of residues"] += len(found) - 1
    *_, name, mine = min(found, key=lambda one: one[:3])
    kind = gemmi.find_tabulated_residue(name)
    if not kind.is_amino_acid() and "CA" not in mine:
        return None  # a nucleotide
    letter = kind.one_letter_code.upper()
    positions = tuple(mine[atom].pos if atom in mine else None for atom in BACKBONE)
    return Residue(letter if letter in ALPHABET else "X", number, positions)


def _bonded(residues: list[Residue]) -> Iterator[list[Residue]]:
    """A chain, cut wherever two that follow each other are not bonded."""
    part: list[Residue] = []
    for residue in residues:
        if part and not _bond(part[-1], residue):
            yield part
            part = []
        part.append(residue)
    if part:
        yield part


def _bond(residue: Residue, after: Residue) -> bool:
    C, N = residue.atoms[2], after.atoms[0]
    return C is not None and N is not None and BOND[0] < C.dist(N) < BOND[1]


def _angles(part: list[Residue]) -> np.ndarray:
    """(length, 2): phi and psi in radians, NaN where one does not exist."""
    pairs = np.full((len(part), 2), math.nan)
    for t, residue in enumerate(part):
        if t > 0:
            pairs[t, 0] = _dihedral(part[t - 1].atoms[2], *residue.atoms)
        if t + 1 < len(part):
            pairs[t, 1] = _dihedral(*residue.atoms, part[t + 1].atoms[0])
    return pairs


def _dihedral(*positions: "gemmi.Position | None") -> float:
    import gemmi

    known = [position for position in positions if position is not None]
    return gemmi.calculate_dihedral(*known) if len(known) == len(positions) else math.nan


def _spans(structure: "gemmi.Structure", path: Path) -> Iterator[Span]:
    """The helices and strands that the file records."""
    import gemmi

    mmcif = structure.input_format == gemmi.CoorFormat.Mmcif
    records = [] if mmcif else [(h.start, h.end) for h in structure.helices]
    records += [(strand.start, strand.end) for sheet in structure.sheets for strand in sheet.strands]
    for start, end in records:
        if start.chain_name == end.chain_name:
            yield Span(start.chain_name, _number(start.res_id.seqid), _number(end.res_id.seqid))
    if not mmcif:
        return
    ends = [f"{end}_auth_{what}" for end in ("beg", "end") for what in ("asym_id", "seq_id")]
    codes = ["?pdbx_beg_PDB_ins_code", "?pdbx_end_PDB_ins_code"]
    for row in gemmi.cif.read(str(path))[0].find("_struct_conf.", ["conf_type_id", *ends, *codes]):
        if row.str(0).upper().startswith(("HELX", "STRN")) and row.str(1) == row.str(
            3
        ):  # of gemmi's own reading, the strands would be missing
            codes_there = [row.str(k) if row.has(k) else "" for k in (5, 6)]
            yield Span(row.str(1), *((int(row.str(k)), code.strip() or " ") for k, code in zip((2, 4), codes_there)))


def _structured(residues: list[Residue], spans: list[Span], left_out: Counter[str]) -> tuple[set[int], ...]:
    """Which residues of a chain stand in a helix or a strand; which follow one whose last residue is not there; which
    stand before one whose first is not."""
    place = {residue.number: k for k, residue in enumerate(residues)}
    found: set[int] = set()
    behind: set[int] = set()
    before: set[int] = set()
    for span in spans:
        if span.first in place and span.last in place:
            inside = set(range(place[span.first], place[span.last] + 1))
        else:  # by number, for want of the residue
            inside = {k for number, k in place.items() if span.first <= number <= span.last}
            left_out["helices and strands with an end that is not in the coordinates"] += 1
            if inside and span.last not in place:
                behind |= {k for number, k in place.items() if number[0] == span.last[0] + 1}
            if inside and span.first not in place:
                before |= {k for number, k in place.items() if number[0] == span.first[0] - 1}
        found |= inside
    return found, behind, before


def _runs(
    part: list[Residue], structured: set[int], behind: set[int], before: set[int], cut: Cut, left_out: Counter[str]
) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of each run of known residues; for loops, with a helix or strand at both ends."""
    free = [r.letter != "X" and (cut == "chains" or k not in structured) for k, r in enumerate(part)]
    first = 0
    for t in range(len(part) + 1):
        if t < len(part) and free[t]:
            continue
        between = (first - 1 in structured or first in behind) and (t in structured or t - 1 in before)
        if t > first and (cut == "chains" or between):
            yield first, t
        elif t > first:
            left_out["runs of coil without a helix or strand at both ends"] += 1
        first = t + 1
