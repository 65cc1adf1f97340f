"""Every engine equals the scalar oracle: outputs, states and all gradients, under all masks.

Two measures. Per entry: the rounding bound that the oracle derives along (rounding.py), in float64 and float32. Per
array: 1e-12 relative to its largest entry, in float64. The bound takes every rounding at its worst, and comes to
5,000 u for one layer and 100,000 u = 1e-11 for the deepest networks here. Roundings of random sign add up like a random
walk, to about the square root of that: 300 u = 4e-14. So 1e-12 asks for nothing that rounding does not give, while the
mildest mistake in one step (a wrong neighbour, a lost term) is above 1e-6.
"""

from functools import cache

import pytest
from cases import (
    CELLS,
    LAYERS,
    MASKS,
    SHAPES,
    Problem,
    assert_within,
    recurrent_parts,
    run,
    witness,
    worst_relative_error,
)


@cache
def posed(spec: tuple, T: int, B: int, mask: str, dtype: str, saturate: str = ""):
    """A problem and what the oracle says of it: told once, asked of every engine."""
    problem = Problem(spec, T, B, mask, seed=T + 10 * B, dtype=dtype, saturate=saturate)
    return problem, *witness(problem)


def check(engine, spec, T, B, mask, dtype="float64", saturate=""):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(spec)}, dtype=dtype)
    problem, want, bounds = posed(spec, T, B, mask, dtype, saturate)
    got = run(problem, engine)
    assert_within(got, want, bounds, dtype)
    if dtype == "float64":
        worst, name = worst_relative_error(got, want)
        assert worst <= 1e-12, name


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_under_every_mask(engine, name, mask):
    check(engine, LAYERS[name], 4, 3, mask)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates(engine, cell, mask):
    """Biases of -30, -12, 12 and 30 on every other unit of every gate, the others in their soft range."""
    check(engine, (cell, 3, 4), 4, 3, mask, saturate="some")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_but_saturated_gates(engine, cell, dtype):
    """Every unit of every gate. A saved gate of 1 - 1e-13 has lost three quarters of the digits of its distance from 1,
    and the gradient through it likewise: so entries are held to their rounding bound, which counts that, and to no
    relative error."""
    engine.skip_if_unsupported(cell, dtype=dtype)
    problem, want, bounds = posed((cell, 3, 4), 4, 3, "none", dtype, "all")
    assert_within(run(problem, engine), want, bounds, dtype)


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_shape(engine, cell, shape, mask):
    T, B, I, H = shape
    check(engine, (cell, I, H), T, B, mask)


@pytest.mark.parametrize("mask", ["none", "gaps", "row without a step"])
@pytest.mark.parametrize("name", LAYERS)
def test_float32(engine, name, mask):
    check(engine, LAYERS[name], 4, 3, mask, dtype="float32")
