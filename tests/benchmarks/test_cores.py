"""The model of many cores reckons with the cut that the engine makes, and docs/cpu.md shows what it says."""

import re

import numpy as np
import pytest

from benchmarks import cores
from benchmarks.measure import ROOT
from benchmarks.shapes import Shape
from lstmcore.ops.cells import lstm
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.recurrence.cpu.plan import cut, plan

PAGE = (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", cores.SHAPES, ids=str)
def test_the_page_shows_how_the_engine_cuts(shape):
    """Its cut for such vectors as the page tells of, and its plan where this machine has them."""
    (row,) = re.findall(rf"^\| {re.escape(str(shape))} \| (\d+ x .*) \|$", PAGE, re.MULTILINE)
    given, alone = (lstm, *shape[:4]), plan(lstm, *shape[:4], "float32", False, 1)
    for threads, cell in zip(cores.CORES[1:], row.split(" | "), strict=True):
        tiles, parts = map(int, cell.partition(":")[0].split(" x "))
        assert cut(*given, cores.LANES, cores.SIZE, False, threads)[:2] == (tiles, parts)
        found = plan(*given, "float32", False, threads)
        assert np.array_equal(found.edges, alone.edges)  # by the shape alone
        if vectors("float32").lanes == cores.LANES:
            assert (len(found.edges) - 1, found.parts, found.tasks) == (tiles, parts, tiles * parts)


@pytest.mark.parametrize("shape", [Shape(50, 128, 256, 256), Shape(31, 200, 21, 256)], ids=str)
def test_eight_cores_are_five_times_as_fast(shape):
    assert cores.estimate(shape, 8).tiles * cores.estimate(shape, 8).parts == 8
    assert cores.estimate(shape, 1).seconds >= 5 * cores.estimate(shape, 8).seconds


@pytest.mark.parametrize("shape", cores.SHAPES, ids=str)
def test_no_thread_is_a_hindrance(shape):
    """Of a machine that has them: each number of cores is as fast as any smaller one."""
    times = [cores.estimate(shape, count).seconds for count in cores.CORES]
    assert times == sorted(times, reverse=True)


def test_the_page_shows_it():
    assert cores.table() in PAGE
