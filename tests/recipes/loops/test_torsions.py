"""What a loop is made of: encoding, angles, and the loss that asks every channel whether it counts."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.recipes.loops import torsions
from lstmcore.recipes.loops.torsions import ALPHABET, UNDEFINED

NAN = np.nan


def two() -> torsions.Loops:
    """GPA, whose first phi and last psi do not exist, and AR."""
    angles = [np.array([[NAN, 1.0], [-1.0, 2.0], [0.5, NAN]]), np.array([[0.0, np.pi], [-np.pi / 2, np.pi / 2]])]
    return torsions.from_angles(["GPA", "AR"], angles)


def test_loops_from_angles():
    loops = two()
    assert np.array_equal(loops.index, [[7, 14, 0], [0, 1, -1]])
    assert list(loops.sequences) == ["GPA", "AR"]
    assert list(loops.lengths) == [3, 2]
    assert np.array_equal(loops.targets[0, 0], np.array([UNDEFINED, UNDEFINED, np.sin(1), np.cos(1)], np.float32))
    assert np.all(loops.targets[1, 2] == UNDEFINED)
    # float32 of numbers up to 1: each is off by at most 2^-25
    assert np.max(np.abs(loops.targets[1, :2] - [[0, 1, 0, -1], [-1, 0, 1, 0]])) <= 2.0**-25


def test_angles_come_back():
    """Sine and cosine are float32, off by 2^-25 at most, so the angle is by sqrt(2) times that: below 1e-7."""
    assert np.allclose(
        torsions.radians(two().targets)[0], [[NAN, 1], [-1, 2], [0.5, NAN]], rtol=0, atol=1e-7, equal_nan=True
    )
    assert np.isnan(torsions.radians(two().targets)[1, 2]).all()


def test_padding():
    loops = two().padded(5)
    assert loops.index.shape == (2, 5)
    assert loops.targets.shape == (2, 5, 4)
    assert np.array_equal(loops.padded(None).targets, two().targets)
    with pytest.raises(ValueError, match="the longest loop has 3 residues, and should be padded to 2"):
        loops.padded(2)


def test_one_hot():
    x = torsions.one_hot(two().index, 21)
    assert x.shape == (3, 2, 21)
    assert x.dtype == np.float32
    assert np.array_equal(x.argmax(axis=-1).T[two().mask], [7, 14, 0, 0, 1])
    assert np.all(x[2, 1] == 0)


@pytest.mark.parametrize("sequence", ["GXA", "gpa", ""])
def test_letters_that_nobody_knows(sequence):
    with pytest.raises(ValueError, match=f"should hold letters of {ALPHABET}; got '{sequence}'"):
        torsions.encode(["GPA", sequence], ALPHABET)


def test_the_loss_counts_what_is_defined():
    """Against a plain sum; the gradient by central differences (quadratic: exact up to rounding, eps / 1e-4)."""
    loops = two()
    targets = loops.targets.swapaxes(0, 1).astype(float)
    y = np.random.default_rng(0).normal(size=targets.shape)
    defined = [(t, b, k) for t, b, k in np.ndindex(*targets.shape) if targets[t, b, k] != UNDEFINED]
    assert len(defined) == 16
    want = sum((y[place] - targets[place]) ** 2 for place in defined) / 16
    loss, dy = torsions.masked_squared_error(y, targets)
    assert abs(loss - want) <= 1e-15 * 16
    for place in np.ndindex(*targets.shape):
        up, down = y.copy(), y.copy()
        up[place] += 1e-4
        down[place] -= 1e-4
        slope = torsions.masked_squared_error(up, targets)[0] - torsions.masked_squared_error(down, targets)[0]
        assert abs(slope / 2e-4 - dy[place]) <= 1e-10
        assert (dy[place] != 0) == (place in defined)


def test_the_loss_of_one_row_of_numbers():
    """(B, P 4) with P > T is the same loss; its gradient stands where the numbers stood, zero behind T."""
    targets = two().targets.swapaxes(0, 1).astype(float)  # (3, 2, 4)
    steps = np.random.default_rng(1).normal(size=(5, 2, 4))
    row = steps.transpose(1, 0, 2).reshape(2, 20)
    assert np.array_equal(torsions.in_steps(row), steps)
    loss, dy = torsions.masked_squared_error(steps[:3], targets)
    flat, drow = torsions.masked_squared_error(row, targets)
    assert loss == flat
    assert drow.shape == row.shape
    assert np.array_equal(torsions.in_steps(drow)[:3], dy)
    assert not torsions.in_steps(drow)[3:].any()


def test_without_undefined_angles_it_is_the_masked_squared_error():
    rng = np.random.default_rng(2)
    angles = [rng.uniform(-3, 3, size=(n, 2)) for n in (2, 4, 3)]
    loops = torsions.from_angles(["GA", "GAGA", "AAA"], angles)
    targets = loops.targets.swapaxes(0, 1).astype(float)
    y = rng.normal(size=targets.shape)
    loss, dy = torsions.masked_squared_error(y, targets)
    want, dwant = lc.squared_error(y, targets, loops.mask.T)
    assert loss == want
    assert np.array_equal(dy, dwant)
