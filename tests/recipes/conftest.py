"""Every picture that a test of a recipe draws is looked at: no word may stand on another."""

import itertools

import pytest

from lstmcore.recipes import job


@pytest.fixture(autouse=True)
def readable(monkeypatch):
    written = job.write_picture

    def look(path, figure):
        assert words_on_words(figure) == []
        written(path, figure)

    monkeypatch.setattr(job, "write_picture", look)


def words_on_words(figure):
    """Titles, names and labels that share more than a pixel; the numbers along the axes are matplotlib's own."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    numbers = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")
    }
    words = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in numbers
    ]
    return [
        (one, two)
        for (one, a), (two, b) in itertools.combinations(words, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]
