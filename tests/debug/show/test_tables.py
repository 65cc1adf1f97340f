"""The small tools that the others print and draw with."""

import numpy as np
import pytest

from lstmcore.debug.show.tables import bars, paragraphs, percent, spans, table
from lstmcore.debug.step.zero import ZERO


def test_percent():
    assert [percent(share) for share in (0, 1e-9, 0.1234, -0.5, 1)] == ["0", "0.0 %", "12.3 %", "-50.0 %", "100.0 %"]


def test_bars():
    assert bars(np.array([0, 1, 4, 8])) == " ▁▄█"
    assert bars(np.array([0.0, 1e-12, -1.0])) == " ▁█"  # what is there shows, and so does its size without its sign
    assert bars(np.zeros(3)) == "   "
    assert bars(np.array([np.nan, 1.0])) == "██"
    assert len(bars(np.ones(1000))) == 40


@pytest.mark.parametrize(("T", "most"), [(1, 5), (5, 5), (6, 5), (100, 32), (2000, 120)])
def test_spans(T, most):
    """Every step once, in order, in at most so many runs; labels say which."""
    found = spans(T, most)
    assert len(found) <= most
    assert [t for _, s in found for t in range(T)[s]] == list(range(T))
    first, last = found[0][0], found[-1][0]
    assert first.startswith("0")
    assert last.endswith(str(T - 1))


def test_table():
    assert (
        table(["a", "number"], [["x", "1.5"], ["yyy", "-20"]], "title")
        == "title\na    number\nx       1.5\nyyy     -20"
    )
    assert table(["a", "b"], [["x"], ["y", "z"]]) == "a  b\nx\ny  z"
    assert paragraphs(["one", "two"]) == "- one\n- two"


def test_zero_is_a_symbol():
    a = np.arange(3.0)
    assert ZERO * a is ZERO
    assert a * ZERO is ZERO
    assert ZERO + a is a
    assert a + ZERO is a
    assert ZERO * ZERO + ZERO is ZERO
