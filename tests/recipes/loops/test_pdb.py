"""Structures built from known angles, written as PDB and mmCIF, read back: angles, breaks, and everything odd."""

import gzip
import sys

import gemmi
import numpy as np
import pytest
from recipes.loops.backbone import THREE, add_helix, add_strand, chain, residue, structure, worst_error

from lstmcore.recipes.loops import pdb
from lstmcore.recipes.loops.torsions import UNDEFINED, radians

SEQUENCE = "ACDEFGHIKLMNPQ"  # residues 1 to 14: helix 1 to 4, loop 5 to 10, strand 11 to 14
ANGLES = np.random.default_rng(0).uniform(-180, 180, size=(14, 2))


def protein() -> gemmi.Structure:
    built = structure(chain("A", SEQUENCE, ANGLES))
    add_helix(built, "A", 1, 4)
    add_strand(built, "A", 11, 14)
    return built


def quiet(message: str) -> None:
    pass


def write(built: gemmi.Structure, path) -> None:
    text = built.make_mmcif_document().as_string() if ".cif" in path.name else built.make_pdb_string()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def errors(found: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """|error| in radians, the short way round; NaN where both are undefined."""
    off = radians(found) - np.radians(degrees)
    return np.abs((off + np.pi) % (2 * np.pi) - np.pi)


def ends_undefined(angles: np.ndarray) -> np.ndarray:
    """A chain's angles, the first phi and the last psi being NaN."""
    angles = angles.copy()
    angles[0, 0] = angles[-1, 1] = np.nan
    return angles


def assert_chain(loops, row: int, sequence: str, degrees: np.ndarray) -> None:
    """The sequence, the same angles undefined, and the others to what three decimals of the coordinates leave."""
    assert loops.sequences[row] == sequence
    n = len(sequence)
    assert np.array_equal(np.isnan(radians(loops.targets[row, :n])), np.isnan(degrees))
    assert np.nanmax(errors(loops.targets[row, :n], degrees)) <= worst_error()
    assert np.all(loops.targets[row, n:] == UNDEFINED)


@pytest.mark.parametrize("name", ["a.pdb", "a.ent", "a.PDB", "a.cif", "a.pdb.gz", "a.cif.gz"])
def test_a_loop_between_helix_and_strand(tmp_path, name):
    """All its angles are defined: the residues before and behind it are there."""
    write(protein(), tmp_path / name)
    loops = pdb.read(tmp_path)
    assert len(loops) == 1
    assert_chain(loops, 0, "FGHIKL", ANGLES[4:10])


def test_whole_chains(tmp_path):
    """phi of the first residue and psi of the last do not exist: both channels of each are marked."""
    write(protein(), tmp_path / "a.pdb")
    loops = pdb.read(tmp_path, "chains")
    assert_chain(loops, 0, SEQUENCE, ends_undefined(ANGLES))
    assert np.all(loops.targets[0, 0, :2] == UNDEFINED)
    assert np.all(loops.targets[0, 13, 2:] == UNDEFINED)
    assert (loops.targets == UNDEFINED).sum() == 4


@pytest.mark.parametrize("format", ["a.pdb", "a.cif"])
def test_a_gap_ends_a_chain_whatever_the_numbers_say(tmp_path, format):
    built = protein()
    for _ in range(2):
        del built[0]["A"][5]  # residues 6 and 7
    for k, part in enumerate(built[0]["A"]):
        part.seqid = gemmi.SeqId(str(k + 1))  # without a gap
    built.helices.clear()
    built.sheets.clear()
    write(built, tmp_path / format)
    loops = pdb.read(tmp_path, "chains")
    assert len(loops) == 2
    assert_chain(loops, 0, SEQUENCE[:5], ends_undefined(ANGLES[:5]))
    assert_chain(loops, 1, SEQUENCE[7:], ends_undefined(ANGLES[7:]))


def test_a_gap_in_the_numbers_ends_nothing(tmp_path):
    built = protein()
    for part in list(built[0]["A"])[7:]:
        part.seqid = gemmi.SeqId(str(part.seqid.num + 100))
    write(built, tmp_path / "a.pdb")
    assert list(pdb.read(tmp_path, "chains").sequences) == [SEQUENCE]


def test_a_loop_with_a_gap_is_none(tmp_path):
    built = protein()
    del built[0]["A"][6]
    write(built, tmp_path / "a.pdb")
    with pytest.raises(ValueError, match=r"no loops found in 1 structures; are there HELIX and SHEET records\?"):
        pdb.read(tmp_path, tell=quiet)


def test_a_missing_atom_leaves_its_angles_undefined(tmp_path):
    """Without CA of residue 7 its phi and psi are undefined, those of its neighbours are not."""
    built = protein()
    built[0]["A"]["7"][0].remove_atom("CA", "\0")
    write(built, tmp_path / "a.pdb")
    want = ANGLES[4:10].copy()
    want[2] = np.nan
    assert_chain(pdb.read(tmp_path), 0, "FGHIKL", want)


def test_of_alternative_locations_the_first_counts(tmp_path):
    """B of an atom stands elsewhere; B of a residue is another kind of residue."""
    built = protein()
    for number, name in ((7, "HIS"), (8, "TRP")):
        part = built[0]["A"][str(number)][0]
        other = residue(name, number, [[9.0, 9.0, k] for k in range(3)])
        for atom in part:
            atom.altloc = "A"
        for atom in other:
            atom.altloc = "B"
            if name == "HIS":
                part.add_atom(atom)
        if name == "TRP":
            built[0]["A"].add_residue(other, 8)
    write(built, tmp_path / "a.pdb")
    told = []
    assert_chain(pdb.read(tmp_path, tell=told.append), 0, "FGHIKL", ANGLES[4:10])
    assert told == ["left out: 2 alternate conformers of residues"]


def test_modified_and_unknown_residues(tmp_path):
    """Selenomethionine is M, selenocysteine U, phosphoserine S; what nobody knows ends a run, but not its neighbours'
    angles."""
    names = ["ALA", "MSE", "SEC", "SEP", "UNK", "GLY", "HIS"]
    built = structure(chain("A", names, ANGLES[:7]))
    for part in built[0]["A"]:
        part.entity_type = gemmi.EntityType.Polymer
    write(built, tmp_path / "a.cif")
    loops = pdb.read(tmp_path, "chains")
    first, last = ANGLES[:4].copy(), ANGLES[5:7].copy()
    first[0, 0] = last[-1, 1] = np.nan
    assert_chain(loops, 0, "AMUS", first)
    assert_chain(loops, 1, "GH", last)


def test_the_first_model_and_only_proteins(tmp_path):
    built = protein()
    second = gemmi.Model(2)
    second.add_chain(chain("A", "GGGG", np.full((4, 2), -60.0)))
    built.add_model(second)
    water = gemmi.Chain("W")
    water.add_residue(residue("HOH", 1, [[50.0, 50.0, 50.0]]))
    nucleic = gemmi.Chain("D")
    for k in range(3):
        nucleic.add_residue(residue("DA", k + 1, [[20.0 + 5 * k, 0.0, 0.0]]))
    built[0].add_chain(water)
    built[0].add_chain(nucleic)
    built.setup_entities()
    write(built, tmp_path / "a.pdb")
    told = []
    assert list(pdb.read(tmp_path, "chains", told.append).sequences) == [SEQUENCE]
    assert told == ["left out: 1 models after the first"]


def test_several_files_and_what_is_left_out(tmp_path):
    small = structure(chain("A", "GA", ANGLES[:2]), chain("B", "KAR", ANGLES[:3]))
    small[0]["B"][0].remove_atom("C", "\0")  # nothing binds K now
    write(small, tmp_path / "b.pdb")
    write(protein(), tmp_path / "a.cif")
    (tmp_path / "notes.txt").write_text("no structure")
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n'")
    (tmp_path / "broken.pdb.gz").write_bytes(gzip.compress(protein().make_pdb_string().encode())[:300])
    said = []
    loops = pdb.read(tmp_path, "chains", said.append)
    assert list(loops.sequences) == [SEQUENCE, "GA", "AR"]
    assert any(message.startswith("broken.cif is left out: ") for message in said)
    assert any(message.startswith("broken.pdb.gz is left out: ") for message in said)
    assert said[-1] == ("left out: 2 files that cannot be read, 1 chains of less than 2 or more than 2000 residues")


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match=r"holds no structure: no file ends in \.pdb, \.ent, \.cif"):
        pdb.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        pdb.read(tmp_path / "nowhere")
    write(structure(chain("A", SEQUENCE, ANGLES)), tmp_path / "a.pdb")
    with pytest.raises(ValueError, match="are there HELIX and SHEET records"):
        pdb.read(tmp_path, tell=quiet)


def test_without_gemmi(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(ImportError, match=r"pip install 'lstmcore\[pdb\]'"):
        pdb.read(tmp_path)


def test_every_letter_is_read(tmp_path):
    sequence = "".join(THREE)
    angles = np.random.default_rng(1).uniform(-180, 180, size=(21, 2))
    write(structure(chain("A", sequence, angles)), tmp_path / "a.pdb")
    assert_chain(pdb.read(tmp_path, "chains"), 0, sequence, ends_undefined(angles))


@pytest.mark.parametrize("name", ["a.pdb", "a.cif"])
def test_damage_is_told_of_or_harmless(tmp_path, nightly, name):
    """Bits flipped and ends cut off at random: loops of known letters and proper angles, or a ValueError."""
    write(protein(), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(2)
    for trial in range(250 if nightly else 30):
        broken = bytearray(content[: rng.integers(len(content))] if trial % 5 == 0 else content)
        for _ in range(min(len(broken), 3)):
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        (tmp_path / name).write_bytes(broken)
        for cut in ("loops", "chains"):
            try:
                loops = pdb.read(tmp_path, cut, lambda message: None)
            except ValueError:
                continue
            assert np.all((np.abs(loops.targets) <= 1) | (loops.targets == UNDEFINED))


# ---- what writers of structures do -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.cif", "a.cif.gz"])
def test_strands_in_struct_conf(tmp_path, name):
    """As AlphaFold and DSSP 4 write them; turns and bends there are coil."""
    built = protein()
    built.sheets.clear()
    document = built.make_mmcif_document()
    block = document[0]
    ends = ["auth_asym_id", "auth_comp_id", "auth_seq_id"]
    table = block.init_loop(
        "_struct_conf.", ["id", "conf_type_id", *(f"beg_{e}" for e in ends), *(f"end_{e}" for e in ends)]
    )
    table.add_row(["H1", "HELX_RH_AL_P", "A", "ALA", "1", "A", "GLU", "4"])
    table.add_row(["B1", "BEND", "A", "GLY", "6", "A", "HIS", "7"])
    table.add_row(["S1", "STRN", "A", "MET", "11", "A", "GLN", "14"])
    text = document.as_string()
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert_chain(pdb.read(tmp_path), 0, "FGHIKL", ANGLES[4:10])


@pytest.mark.parametrize("parted", ["TER", ""])
def test_two_chains_of_one_letter(tmp_path, parted):
    """Both are read, with or without TER between them, each with its own angles."""
    other = np.random.default_rng(5).uniform(-180, 180, size=(14, 2))
    second = structure(chain("A", SEQUENCE, other))
    lines = [[line for line in one.make_pdb_string().splitlines() if line.startswith(("ATOM", "HELIX", "SHEET"))]
             for one in (protein(), second)]  # fmt: skip
    (tmp_path / "a.pdb").write_text("\n".join([*lines[0], parted, *lines[1], "TER", "END"]))
    told = []
    loops = pdb.read(tmp_path, tell=told.append)
    assert told == ["a.pdb: 2 chains are called 'A'; each is read by itself, with the same records"]
    assert_chain(loops, 0, "FGHIKL", ANGLES[4:10])
    assert_chain(loops, 1, "FGHIKL", other[4:10])
    assert [len(s) for s in pdb.read(tmp_path, "chains", quiet).sequences] == [14, 14]


@pytest.mark.parametrize(("gone", "undefined"), [((4,), (0, 0)), ((3, 4), (0, 0)), ((11,), (5, 1)), ((11, 12), (5, 1))])
@pytest.mark.parametrize("format", ["a.pdb", "a.cif"])
def test_a_record_whose_end_is_not_in_the_coordinates(tmp_path, gone, undefined, format):
    """It counts for what is there, and the loop beside it is whole but for the angle towards the gap."""
    write(protein(), tmp_path / format)
    if format == "a.cif":
        document = gemmi.cif.read(str(tmp_path / format))
        atoms = document[0].find("_atom_site.", ["auth_seq_id"])
        for k in reversed([k for k, row in enumerate(atoms) if int(row[0]) in gone]):
            atoms.remove_row(k)
        (tmp_path / format).write_text(document.as_string())
    else:
        lines = (tmp_path / format).read_text().splitlines()
        there = [line for line in lines if not (line.startswith("ATOM") and int(line[22:26]) in gone)]
        (tmp_path / format).write_text("\n".join(there))
    told = []
    loops = pdb.read(tmp_path, tell=told.append)
    assert told == ["left out: 1 helices and strands with an end that is not in the coordinates"]
    want = ANGLES[4:10].copy()
    want[undefined] = np.nan
    assert_chain(loops, 0, "FGHIKL", want)


@pytest.mark.parametrize(("occupancy", "wanted"), [((0.4, 0.6), 1), ((0.6, 0.4), 0), ((0.5, 0.5), 0)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_conformer_for_the_whole_residue(tmp_path, occupancy, wanted, order):
    """The one with the highest occupancy, of equals A, in whatever order they stand: no chimera of both."""
    built = protein()
    part = built[0]["A"]["8"][0]
    atoms = [part.clone(), part.clone()]
    for k, one in enumerate(atoms):
        for atom in one:
            atom.altloc, atom.occ = "AB"[k], occupancy[k]
            atom.pos = gemmi.Position(atom.pos.x + 0.3 * k, atom.pos.y, atom.pos.z)
    for name in ("N", "CA", "C"):
        part.remove_atom(name, "\0")
    for name, first in zip(("N", "CA", "C"), (order, order[::-1], order)):  # in mixed order
        for k in first:
            part.add_atom(atoms[k].find_atom(name, "*"))
    write(built, tmp_path / "a.pdb")
    found = pdb.read(tmp_path, tell=quiet)
    pure = protein()
    for atom in pure[0]["A"]["8"][0]:
        atom.pos = gemmi.Position(atom.pos.x + 0.3 * wanted, atom.pos.y, atom.pos.z)
    (tmp_path / "pure").mkdir()
    write(pure, tmp_path / "pure" / "a.pdb")
    np.testing.assert_array_equal(found.targets, pdb.read(tmp_path / "pure").targets)


def test_atoms_without_occupancy_are_not_there(tmp_path):
    """Two residues at the origin are no bonded pair; where no atom has an occupancy, all count."""
    built = protein()
    for number in ("7", "8"):
        for atom in built[0]["A"][number][0]:
            atom.pos, atom.occ = gemmi.Position(0, 0, 0), 0.0
    write(built, tmp_path / "a.pdb")
    told = []
    assert list(pdb.read(tmp_path, "chains", told.append).sequences) == [SEQUENCE[:6], SEQUENCE[8:]]
    assert told == ["left out: 6 atoms without occupancy"]
    built = protein()
    for part in built[0]["A"]:
        for atom in part:
            atom.occ = 0.0
    write(built, tmp_path / "a.pdb")
    assert_chain(pdb.read(tmp_path), 0, "FGHIKL", ANGLES[4:10])


def test_coil_at_the_ends_is_counted(tmp_path):
    built = structure(chain("A", "A" + SEQUENCE, np.concatenate([ANGLES[:1], ANGLES])))
    add_helix(built, "A", 2, 5)
    add_strand(built, "A", 12, 14)
    write(built, tmp_path / "a.pdb")
    told = []
    assert list(pdb.read(tmp_path, tell=told.append).sequences) == ["FGHIKL"]
    assert told == ["left out: 2 runs of coil without a helix or strand at both ends"]
