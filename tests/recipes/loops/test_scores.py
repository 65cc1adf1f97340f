"""Errors in degrees go the short way round; what is undefined is not counted."""

import numpy as np
import pytest

from lstmcore.recipes.loops import scores, torsions


def channels(*pairs) -> np.ndarray:
    """(n, 4) of angles in degrees."""
    return torsions.from_angles(["G" * len(pairs)], [np.radians(pairs)]).targets[0]


@pytest.mark.parametrize(
    ("true", "told", "off"), [(179, -179, 2), (-90, 90, 180), (10, 30, 20), (-170, 100, 90), (0, 0, 0)]
)
def test_the_short_way_round(true, told, off):
    """float32 sines: an angle is off by 2^-24.5 radians at most, both together by 5e-6 degrees."""
    errors = scores.angular_errors(channels((told, true)), channels((true, told)))
    assert np.max(np.abs(errors - off)) <= 5e-6


def test_a_score_by_hand():
    true = channels((0, 90), (np.nan, 180))
    told = np.array([[0, 0.5, 1, 0], [9, 9, 0, 1]])  # the first: right angles, phi too short; the second psi opposite
    score = scores.score(told, true)
    assert score.mse == pytest.approx((0.25 + 4) / 6, abs=1e-6)  # of float32 sines
    assert score.phi == pytest.approx(0, abs=1e-5)
    assert score.psi == pytest.approx(90, abs=1e-5)
    assert score.residues == 2


def test_no_angle_at_all():
    score = scores.score(np.zeros((1, 4)), channels((30, np.nan)))
    assert np.isnan(score.psi)
    assert score.as_plain()["psi"] is None
    assert score.as_plain()["residues"] == 1


def test_by_residue_and_position():
    """Loops GA and G: what is predicted is wrong only for the A, which stands second."""
    loops = torsions.from_angles(["GA", "G"], [np.radians([[10, 20], [30, 40]]), np.radians([[50, 60]])])
    told = loops.targets.copy()
    told[0, 1] = 0
    by_residue, by_position = scores.by_residue(told, loops), scores.by_position(told, loops)
    assert list(by_residue) == ["A", "G"]
    assert (by_residue["G"].mse, by_residue["G"].residues) == (0, 2)
    assert by_residue["A"].mse == pytest.approx(0.5)  # (sin^2 + cos^2) / 2
    assert [s.residues for s in by_position] == [2, 1]
    assert by_position[0].mse == 0
    assert by_position[1].mse == by_residue["A"].mse
