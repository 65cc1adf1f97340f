"""The model of many cores reckons with the cut that the engine makes, and docs/cpu.md shows what it says."""

import numpy as np
import pytest

from benchmarks import cores
from benchmarks.measure import ROOT
from benchmarks.shapes import Shape
from lstmcore.ops.cells import lstm
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.recurrence.cpu.plan import cut, plan


@pytest.mark.parametrize("threads", cores.CORES)
@pytest.mark.parametrize("shape", cores.SHAPES, ids=str)
def test_the_numbers_of_tasks_are_the_plans(shape, threads):
    """The plan is made for this machine's vectors: so is the cut, and the model's is the same for its own."""
    found, v = plan(lstm, *shape[:4], "float32", False, threads), vectors("float32")
    tiles, parts, _ = cut(lstm, *shape[:4], v.lanes, v.size, False, threads)
    assert (len(found.edges) - 1, found.parts, found.tasks) == (tiles, parts, tiles * parts)
    assert np.array_equal(found.edges, plan(lstm, *shape[:4], "float32", False, 1).edges)  # by the shape alone
    if v.lanes == cores.LANES:
        assert cores.estimate(shape, threads)[:2] == (tiles, parts)


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
    assert cores.table() in (ROOT / "docs" / "cpu.md").read_text()
