"""Pictures in one look, and as SVG inside a page."""

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from lstmcore.debug.show.picture import BAD, COLOURS, PLAIN, WIDTH, heat_map, kinds, legend, panels, svg

NAMES = ["i <", "f"]


def squares(values):
    figure, (axis,) = panels(1.5)
    heat_map(axis, values, NAMES, "norm")
    text = svg(figure)
    ElementTree.fromstring(text)  # well formed
    assert "norm" in text  # the scale has its title
    return re.findall(r'style="fill: ([^"]+)"><title>([^<]+)</title>', text)


def test_a_square_tells_its_number():
    """Zero is empty, what is not finite is red, and the largest is the brightest."""
    found = squares(np.array([[0.0, 0.25], [1.0, np.nan]]))
    assert [told for _, told in found] == [
        "step 0, i &lt;: 0", "step 1, i &lt;: 1", "step 0, f: 0.25", "step 1, f: nan",
    ]  # fmt: skip
    assert [fill for fill, _ in found] == ["none", "#fde725", "#440154", BAD]


def test_a_map_of_nothing_is_empty():
    assert {fill for fill, _ in squares(np.zeros((3, 2)))} == {"none"}


def test_many_steps_become_runs():
    """A run has the root of the sum of the squares of its steps: the norm of all of them."""
    values = np.zeros((2000, 2))
    values[:17, 0] = 3.0
    found = squares(values)
    assert len(found) == 2 * 118
    assert found[0][1] == f"step 0..16, i &lt;: {3 * 17**0.5:.3g}"


def test_two_maps_of_a_picture_keep_their_own_numbers():
    figure, axes = panels(1.5, 1.5)
    for axis, value in zip(axes, (1.0, 2.0)):
        heat_map(axis, np.full((1, 2), value), NAMES, "norm")
    assert re.findall("f: ([12])<", svg(figure)) == ["1", "2"]


def test_letters_take_the_colour_of_the_page():
    figure, (axis,) = panels(2.0)
    axis.plot([1.0, 2.0], label="a line")
    legend(axis)
    text = svg(figure)
    assert "#000000" not in text
    assert "currentColor" in text
    assert "a line" in text  # letters stay letters
    assert COLOURS[0] in text
    assert "http://purl.org" not in text  # no words about the file


def test_kinds_are_named_by_colour():
    figure, (axis,) = panels(1.5)
    kinds(axis, np.array([[0, 1]]), [("padding", PLAIN), ("real", COLOURS[0])])
    image = axis.images[0]
    assert np.array_equal(image.get_array(), [[0], [1]])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["padding", "real"]
    assert figure.axes == [axis]


def test_letters_can_be_read_on_a_phone():
    """A picture as wide as the screen, of 360 pixels: no letter is lower than 6 of these."""
    _, (axis,) = panels(2.0)
    axis.plot([1.0, 2.0], label="a line")
    axis.set(xlabel="step", ylabel="norm")
    legend(axis)
    shown = [*axis.get_xticklabels(), axis.xaxis.label, axis.yaxis.label, *axis.get_legend().get_texts()]
    assert min(text.get_fontsize() for text in shown) / 72 / WIDTH * 360 > 6


def test_a_picture_of_nothing():
    assert panels()[1] == []
    figure, (axis,) = panels(1.0)
    legend(axis)
    assert axis.get_legend() is None
    assert figure.axes == [axis]


def test_pictures_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pictures need matplotlib: pip install "lstmcore\[plot\]"'):
        panels(1.0)
