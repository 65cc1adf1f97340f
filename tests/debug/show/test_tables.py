"""The small tools that the others print and draw with."""

import sys

import numpy as np
import pytest

from lstmcore.debug.report.svg import curves, heat_map
from lstmcore.debug.show.picture import panels
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


def test_heat_map():
    text = heat_map(np.array([[0.0, 1.0], [np.nan, 0.25]]), ["i <", "f"], ["0", "1"])
    assert text.count("<rect") == 4
    assert 'fill="#ffffff"><title>i &lt;, step 0: 0</title>' in text
    assert 'fill="#08306b"><title>i &lt;, step 1: 1</title>' in text  # the largest is the darkest
    assert 'fill="#dc2626"><title>f, step 0: nan</title>' in text
    assert text.count("<rect") == heat_map(np.zeros((2, 2)), ["a", "b"], ["0", "1"]).count('fill="#ffffff"')


def test_curves():
    text = curves({"a": np.array([1.0, 10.0, 0.0, 100.0]), "b": np.array([np.nan] * 4)}, list("0123"), log=True)
    assert text.count("<polyline") == 2  # zero cuts the line in two, and b has no point
    assert "1.0e+00" in text
    assert "1.0e+02" in text
    assert "nothing to draw" in curves({"a": np.zeros(3)}, list("012"), log=True)


def test_pictures_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pictures need matplotlib: pip install "lstmcore\[plot\]"'):
        panels(1)
