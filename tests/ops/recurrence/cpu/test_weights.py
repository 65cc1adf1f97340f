"""The table of the packed weights: every weight and every bias once, in whole panels, and each where its block is."""

import numpy as np
import pytest

from lstmcore.ops.cells import CELLS
from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.tile import panel_vectors
from lstmcore.ops.recurrence.cpu.weights import forward_layout, runs


@pytest.mark.parametrize("made_of", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize(("H", "parts"), [(1, 1), (16, 1), (24, 1), (50, 1), (64, 2), (129, 1), (129, 3), (650, 2)])
def test_every_column_once(cell, H, parts, made_of):
    I, K, lanes = 7, len(cell.gates), vectors("float32").lanes
    groups, panels, joined, numbers = forward_layout(cell, I, H, made_of, parts)
    assert joined == (parts == 1 and H % lanes > 0 and H <= 128)
    assert groups["first"].tolist() == [0, *groups["end"][:-1]]
    assert groups["end"][-1] == H
    columns = {"ih": [], "hh": [], "bias": []}
    for group in groups:
        units = group["end"] - group["first"]
        for kind, first, end in (("ih", "input_first", "input_end"), ("hh", "recurrent_first", "recurrent_end")):
            blocks = cell.input_blocks if kind == "ih" else cell.recurrent_blocks
            for panel in panels[group[first] : group[end]]:
                assert 0 < panel["columns"] <= panel_vectors() * lanes
                inside = panel["place"] + np.arange(panel["columns"])  # of the blocks from panel["block"] on
                block, unit = panel["block"] + inside // units, group["first"] + inside % units
                if kind == "ih":
                    assert np.array_equal(panel["bias"] + np.arange(panel["columns"]), block * H + unit)
                    columns["bias"] += (block * H + unit).tolist()
                else:
                    assert panel["bias"] == -1
                if panel["depth"]:
                    place = np.array([blocks.index(k) for k in block])
                    assert np.array_equal(panel["column"] + np.arange(panel["columns"]), place * H + unit)
                    columns[kind] += (place * H + unit).tolist()
    assert sorted(columns["bias"]) == list(range(K * H))
    assert sorted(columns["ih"]) == list(range(len(cell.input_blocks) * H))
    assert sorted(columns["hh"]) == list(range(len(cell.recurrent_blocks) * H))
    # One behind the other in the packed weights, without a gap.
    height = -(-panels["depth"] // factors(made_of).per_word) + (panels["bias"] >= 0)
    size = height * -(-panels["columns"] // lanes)
    assert panels["start"].tolist() == [0, *np.cumsum(size)[:-1]]
    assert numbers == size.sum() * lanes


def test_runs_join_neighbours():
    assert runs((0, 1, 2, 3)) == ((0, 4, 0),)
    assert runs((0, 1, 3)) == ((0, 2, 0), (3, 1, 2))
