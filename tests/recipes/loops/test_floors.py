"""The floors, by hand on three loops, and ordered as they should be on generated ones."""

import numpy as np
import pytest

from lstmcore.recipes.loops import floors, generator, scores, split
from lstmcore.recipes.loops.torsions import UNDEFINED, Loops, from_angles


def channels(phi: float, psi: float) -> np.ndarray:
    return np.array([np.sin(phi), np.cos(phi), np.sin(psi), np.cos(psi)])


LEARNT = from_angles(["GA", "GA", "PP"], [np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[0.5, 0.6], [0.7, np.nan]]),
                                          np.array([[np.nan, 1.0], [1.2, 1.4]])])  # fmt: skip
TESTED = from_angles(["GA", "AG", "GP", "R", "PPP"], [np.zeros((n, 2)) for n in (2, 2, 2, 1, 3)])


def answer(name: str, loop: int, residue: int) -> np.ndarray:
    return floors.floors(LEARNT, TESTED)[name][loop, residue]


def mean(*channels_of) -> np.ndarray:
    return np.nanmean(channels_of, axis=0)


EVERY = [channels(0.1, 0.2), channels(0.3, 0.4), channels(0.5, 0.6), channels(0.7, np.nan), channels(np.nan, 1.0),
         channels(1.2, 1.4)]  # fmt: skip
G, A, P = mean(EVERY[0], EVERY[2]), mean(EVERY[1], EVERY[3]), mean(EVERY[4], EVERY[5])
G_FIRST = (EVERY[0] + EVERY[2] + 2 * G) / 4  # seen twice between nothing and A, drawn towards G by two


@pytest.mark.parametrize(
    ("name", "loop", "residue", "want"),
    [
        ("constant mean", 3, 0, mean(*EVERY)),
        ("mean per residue", 0, 0, G),
        ("mean per residue", 0, 1, A),
        ("mean per residue", 1, 0, A),
        ("mean per residue", 2, 1, P),
        ("mean per residue", 3, 0, mean(*EVERY)),  # R was not learnt from
        ("mean per triple", 0, 0, G_FIRST),
        ("mean per triple", 2, 0, G),  # G before P was never seen
        ("exact memory", 0, 1, A),
        ("exact memory", 1, 1, G),  # AG was never seen
        ("nearest of same length", 2, 0, mean(EVERY[0], EVERY[2], EVERY[4])),  # GA twice and PP, one residue off each
        ("nearest of same length", 4, 1, P),  # none of three residues
    ],
)
def test_by_hand(name, loop, residue, want):
    """float32 targets, off by 2^-25 each; means of them are too, and a mean in float64 adds nothing to speak of."""
    assert np.max(np.abs(answer(name, loop, residue) - want)) <= 2.0**-24


def test_undefined_channels_are_left_out():
    assert answer("mean per residue", 0, 1)[2] == pytest.approx(np.sin(0.4), abs=1e-7)  # psi of one A only


def test_names_and_shapes():
    found = floors.floors(LEARNT, TESTED)
    assert tuple(found) == floors.FLOORS
    for value in found.values():
        assert value.shape == TESTED.targets.shape
        assert np.isfinite(value[TESTED.mask]).all()


@pytest.mark.parametrize("kind", ["grouped", "random"])
def test_their_order(kind):
    """On generated loops. Knowing more helps; and memory, where sequences leak, beats what has to be worked out."""
    loops = generator.generate(1500, seed=3)
    parts = split.split(loops, kind, np.random.default_rng(0))
    error = {name: scores.score(told, parts.tested.targets).mse for name, told in
             floors.floors(parts.learnt, parts.tested).items()}  # fmt: skip
    error["best"] = scores.score(generator.best(parts.tested), parts.tested.targets).mse
    assert error["constant mean"] > error["mean per residue"] > error["mean per triple"] > error["best"]
    if kind == "grouped":
        assert error["exact memory"] == error["mean per residue"]
    else:
        assert error["exact memory"] < error["best"]


def test_the_best_answers_are_the_best():
    """Shorter ones, longer ones and those of another sequence are worse."""
    loops = generator.generate(400, seed=4)
    told = generator.best(loops)
    error = scores.score(told, loops.targets).mse
    for factor in (0.8, 1.2):
        assert scores.score(factor * told, loops.targets).mse > error
    assert scores.score(generator.best(Loops(loops.index[::-1], loops.targets)), loops.targets).mse > error
    assert not (told[loops.targets == UNDEFINED]).any()
