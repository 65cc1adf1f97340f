"""Loops are cut out of chains as files of RefineGNN tell them, with the angles that their backbones were built from."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("gemmi")  # the builder of backbones stands in its tests

from recipes.loops.backbone import coordinates

from benchmarks import antibodies
from lstmcore.recipes.loops import npz

SEQ, CDR = "GAVLKHRWDEGA", "000111100220"
ANGLES = np.random.default_rng(0).uniform(-179, 179, (len(SEQ), 2))


def chain(backbone):
    named = {atom: backbone[:, k].tolist() for k, atom in enumerate(("N", "CA", "C"))}
    return json.dumps({"pdb": "1abc", "seq": SEQ, "cdr": CDR, "coords": named})


def test_the_angles_of_a_backbone_come_back():
    ((letters, pairs),) = antibodies.loops_of([chain(coordinates(ANGLES))])  # the run of two is too short
    assert letters == "LKHR"
    np.testing.assert_allclose(np.degrees(pairs), ANGLES[3:7], rtol=0, atol=1e-9)  # of some hundred roundings of 1e-14


def test_a_missing_atom_and_a_gap_leave_angles_undefined():
    backbone = coordinates(ANGLES)
    backbone[4, 1] = np.nan  # CA of K: its own phi and psi
    backbone[6:] += 5.0  # from R on, away by more than a bond: psi of H and phi of R
    ((_, pairs),) = antibodies.loops_of([chain(backbone)])
    assert np.isnan(pairs).tolist() == [[False, False], [True, True], [False, True], [True, False]]


def test_chains_are_taken_once_and_a_file_is_written(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join([chain(coordinates(ANGLES))] * 2).encode()))
    antibodies.command([tmp_path / "a.jsonl.gz"], tmp_path / "a.npz")
    loops = npz.read(tmp_path / "a.npz")
    assert list(loops.sequences) == ["LKHR"]
    want = np.radians(ANGLES[3:7])
    np.testing.assert_allclose(loops.targets[0, :, ::2], np.sin(want), rtol=0, atol=2.0**-11)  # float16
