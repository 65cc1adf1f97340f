"""The loops that are made up: repeatable, of the promised lengths and shares, drawn by the rules that are told."""

import numpy as np
import pytest

from lstmcore.recipes.loops import generator
from lstmcore.recipes.loops.torsions import UNDEFINED, radians


def test_what_it_makes():
    loops = generator.generate(600, seed=5)
    assert len(loops) == 600
    assert loops.lengths.min() >= generator.SHORTEST
    assert loops.lengths.max() <= generator.LONGEST
    assert np.array_equal(loops.targets == UNDEFINED, np.repeat(~loops.mask[..., None], 4, axis=-1))
    distinct = len(set(loops.sequences))
    # each sequence comes 1 / 0.55 times on average, with a deviation of 1.2: 330 +- 3 * 1.2 * 0.55 * sqrt(330)
    assert abs(distinct - 330) <= 40
    assert np.array_equal(loops.targets, generator.generate(600, seed=5).targets)
    assert not np.array_equal(loops.targets[:9, :4], generator.generate(600, seed=6).targets[:9, :4])


def test_transitions_are_probabilities_that_neighbours_change():
    p = generator.transitions("GPG")
    assert p.shape == (3, 5, 5)
    assert np.allclose(p.sum(axis=-1), 1, rtol=0, atol=1e-14)
    assert np.all(p[0] == p[0, 0])  # nothing stands before the first
    assert not np.allclose(generator.transitions("GPG")[0], generator.transitions("GAG")[0])
    assert not np.allclose(generator.transitions("GPG")[2], generator.transitions("GAG")[2])
    assert p[1, :, [1, 3, 4]].max() < 0.1  # proline has phi near -65


def test_states_follow_the_rules():
    """1,500 loops of one sequence: the mean of the channels is `best`, but for chance.

    A channel is at most 1, its mean has a standard error of 1 / sqrt(1500) = 0.026 at most; four of them are allowed.
    """
    rng = np.random.default_rng(6)
    steps = generator.transitions("GNPAV")
    states = np.array([generator._draw(steps, rng) for _ in range(1500)])
    angles = generator.STATES[states] + rng.vonmises(0, generator.CONCENTRATION, size=(1500, 5, 2))
    means = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(1500, 5, 4).mean(axis=0)
    loops = generator.from_angles(["GNPAV"], [angles[0]])
    assert np.max(np.abs(generator.best(loops)[0] - means)) <= 4 / np.sqrt(1500)


@pytest.mark.parametrize("state", range(5))
def test_regions(state):
    """Every region is visited by generated loops: within 30 degrees of its centre."""
    loops = generator.generate(600, seed=5)
    angles = radians(loops.targets)[loops.mask]
    off = np.abs((angles - generator.STATES[state] + np.pi) % (2 * np.pi) - np.pi).max(axis=-1)
    assert (off < np.radians(30)).sum() >= 20
