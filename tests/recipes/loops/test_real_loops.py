"""Collections of real loops: --data DIR with sabdab_hcdr_torsions.npz and bm5_loops_torsions.npz.

5,289 loops of antibodies, 4,164 of other proteins. The floors must be those that somebody else's program has found
on a split of its own, and the network must be below them.
"""

from dataclasses import replace

import numpy as np
import pytest

from lstmcore.recipes import loops
from lstmcore.recipes.loops import floors, npz, scores, split

SPLITS = 8
PUBLISHED = {  # masked squared errors, in the order of floors.FLOORS
    ("sabdab_hcdr_torsions", "random"): (0.379, 0.320, 0.215, 0.182, 0.167),
    ("sabdab_hcdr_torsions", "grouped"): (0.378, 0.327, 0.256, 0.327, 0.249),
    ("bm5_loops_torsions", "random"): (0.382, 0.346, 0.314, 0.255, 0.373),
    ("bm5_loops_torsions", "grouped"): (0.383, 0.343, 0.338, 0.343, 0.489),
}


def read(data, name: str) -> loops.Loops:
    path = data / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} in {data}")
    return npz.read(path)


@pytest.mark.parametrize(("name", "kind"), PUBLISHED)
def test_the_floors_are_those_that_are_known(data, name, kind):
    """Within the noise of splits: the mean over eight, and one that is not ours, so 4 standard deviations of a single
    split times sqrt(1 + 1/8); and half a unit of the third decimal."""
    found = read(data, name)
    parts = [split.split(found, kind, np.random.default_rng(seed)) for seed in range(SPLITS)]
    errors = np.array(
        [
            [scores.score(told, p.tested.targets).mse for told in floors.floors(p.learnt, p.tested).values()]
            for p in parts
        ]
    )
    allowed = 4 * errors.std(axis=0, ddof=1) * np.sqrt(1 + 1 / SPLITS) + 0.0005
    off = np.abs(errors.mean(axis=0) - PUBLISHED[name, kind])
    assert np.all(off <= allowed), f"{errors.mean(axis=0)} +- {errors.std(axis=0, ddof=1)}"
    assert np.all(allowed < 0.06)  # splits are not so unlike that anything would pass


@pytest.mark.parametrize("name", ["sabdab_hcdr_torsions", "bm5_loops_torsions"])
def test_the_network_beats_the_floors(data, name):
    """In eight epochs, by more than 0.005."""
    found = read(data, name)
    result = loops.run(found, replace(loops.MODELS["per-step"], epochs=8), progress=False)
    for floor, score in result.floors.items():
        assert result.score.mse < score.mse - 0.005, floor
    assert result.leaked == 0
