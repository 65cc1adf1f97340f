"""The table of mistakes in docs/questions/breaking-through-the-wall.md can be measured again."""

import numpy as np

from benchmarks import wall
from lstmcore.recipes.loops import npz


def test_every_network_of_the_table_is_trained(capsys):
    columns = wall.main(n=80, epochs=(1, 1))
    made_up, real, random = columns.values()
    assert [name for name in made_up if name in wall.NETWORKS] == list(wall.NETWORKS)
    assert [name for name in real if name in wall.NETWORKS] == list(wall.REAL)
    for column in columns.values():
        trained = [error for name, error in column.items() if name in wall.NETWORKS]
        assert len(set(trained)) == len(trained)  # no two of them are the same network
        assert all(0.1 < error < 1 for error in trained)
    assert made_up["test loops whose sequence is learnt from"] == 0
    assert random["test loops whose sequence is learnt from"] > 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(made_up)


def test_the_antibodies_that_are_shipped():
    """As the page tells them. A loop's angles are those of a protein: phi is mostly below zero."""
    loops = npz.read(wall.ANTIBODIES)
    assert (len(loops), len(set(loops.sequences))) == (1293, 698)
    assert wall.ANTIBODIES.stat().st_size < 112_000
    assert "MIT License" in wall.ANTIBODIES.with_name("antibodies-licence.txt").read_text(encoding="utf-8")
    phi = np.arctan2(loops.targets[..., 0], loops.targets[..., 1])[loops.mask & (loops.targets[..., 0] > -2)]
    assert (phi < 0).mean() > 0.85
