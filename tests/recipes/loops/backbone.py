"""Protein backbones built from torsion angles, as gemmi structures: what a reader of coordinates must give back."""

import gemmi
import numpy as np

THREE = {
    **{"A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "E": "GLU", "Q": "GLN", "G": "GLY", "H": "HIS"},
    **{"I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "U": "SEC", "S": "SER", "T": "THR"},
    **{"Y": "TYR", "W": "TRP", "V": "VAL"},
}
BONDS = {"N": 1.329, "CA": 1.458, "C": 1.525}  # angstrom, to the atom before (Engh & Huber 1991)
BENDS = {"N": 117.2, "CA": 121.7, "C": 111.0}  # degrees, at the atom before
ROUNDED = 0.0005 * np.sqrt(3)  # how far three decimals move an atom at most


def coordinates(angles: np.ndarray) -> np.ndarray:
    """angles (n, 2), degrees -> (n, 3, 3): N, CA, C of each residue, omega 180, by placing atom after atom.

    phi of the first residue and psi of the last are not used.
    """
    atoms = [np.array([0.0, 1.4, 0.0]), np.zeros(3), np.array([BONDS["C"], 0.0, 0.0])]
    for t in range(1, len(angles)):
        for name, torsion in (("N", angles[t - 1, 1]), ("CA", 180.0), ("C", angles[t, 0])):
            atoms.append(_placed(*atoms[-3:], BONDS[name], np.radians(BENDS[name]), np.radians(torsion)))
    return np.array(atoms).reshape(-1, 3, 3)


def _placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, bend: float, torsion: float) -> np.ndarray:
    """The atom d with |cd| = bond, the angle bcd = bend and the dihedral abcd = torsion."""
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    side = np.cross(normal, along)
    return c + bond * (-np.cos(bend) * along + np.sin(bend) * (np.cos(torsion) * side + np.sin(torsion) * normal))


def worst_error() -> float:
    """Radians by which three decimals can turn a torsion angle.

    To first order the angle changes by the sum of gradient times shift of the four atoms. The gradients' sizes are
    1 / (bond sin bend) for an outer atom; for an inner one at most that of its outer neighbour times 1 + outer bond /
    middle bond, plus that of the other outer atom times its bond / middle bond (Blondel & Karplus 1996). Second order
    adds less than a hundredth.
    """
    worst = 0.0
    for (b1, b2, b3), (t1, t2) in (  # phi: C N CA C; psi: N CA C N
        ((1.329, 1.458, 1.525), (121.7, 111.0)),
        ((1.458, 1.525, 1.329), (111.0, 117.2)),
    ):
        first, last = 1 / (b1 * np.sin(np.radians(t1))), 1 / (b3 * np.sin(np.radians(t2)))
        inner = first * (1 + b1 / b2) + last * b3 / b2 + last * (1 + b3 / b2) + first * b1 / b2
        worst = max(worst, first + last + inner)
    return 1.01 * worst * ROUNDED


def chain(name: str, sequence: str, angles: np.ndarray, first: int = 1) -> gemmi.Chain:
    """Residues numbered from `first`, each with N, CA and C."""
    built = gemmi.Chain(name)
    for t, (letter, atoms) in enumerate(zip(sequence, coordinates(angles))):
        built.add_residue(residue(THREE.get(letter, letter), first + t, atoms))
    return built


def residue(name: str, number: int, atoms: np.ndarray) -> gemmi.Residue:
    built = gemmi.Residue()
    built.name, built.seqid = name, gemmi.SeqId(str(number))
    for label, position in zip(("N", "CA", "C"), atoms):
        atom = gemmi.Atom()
        atom.name, atom.element = label, gemmi.Element(label[0])
        atom.pos = gemmi.Position(*position)
        built.add_atom(atom)
    return built


def structure(*chains: gemmi.Chain) -> gemmi.Structure:
    built = gemmi.Structure()
    model = gemmi.Model(1)
    for part in chains:
        model.add_chain(part)
    built.add_model(model)
    built.setup_entities()
    return built


def add_helix(built: gemmi.Structure, chain: str, first: int, last: int) -> None:
    """A record that these residues are one."""
    helix = gemmi.Helix()
    helix.start, helix.end = _addresses(built, chain, first, last)
    helix.pdb_helix_class = gemmi.Helix.HelixClass.RAlpha
    helix.length = last - first + 1
    built.helices.append(helix)


def add_strand(built: gemmi.Structure, chain: str, first: int, last: int) -> None:
    strand = gemmi.Sheet.Strand()
    strand.start, strand.end = _addresses(built, chain, first, last)
    strand.name = "1"
    sheet = gemmi.Sheet(f"S{len(built.sheets)}")
    sheet.strands.append(strand)
    built.sheets.append(sheet)


def _addresses(built: gemmi.Structure, chain: str, *numbers: int) -> tuple[gemmi.AtomAddress, ...]:
    residues = [built[0][chain][str(number)][0] for number in numbers]
    return tuple(gemmi.AtomAddress(chain, residue.seqid, residue.name, "") for residue in residues)
