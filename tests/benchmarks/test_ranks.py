"""The rows of ranks, and the model's numbers, which are those of its formula."""

import json

import pytest

from benchmarks import ranks
from benchmarks.rows import Ranked, append, read
from benchmarks.shapes import SHAPES, Shape

SMALL = Shape(5, 16, 3, 8)


def row(shape, way, ms, turn=0):
    w = ranks.WAYS[way]
    return Ranked("2026-01-01", "machine", 2, "0", "mpi", shape, 1, 8 * w.times, 1, 1, 10**6, way, w.ranks or 1,
                  w.threads, turn, 1, ms)  # fmt: skip


def test_a_row_of_one_rank(mpi4py, monkeypatch, capfd):
    """The job itself, in this process: ranks of their own would look for the shape by its name."""
    monkeypatch.setitem(SHAPES, "small", SMALL)
    monkeypatch.setitem(ranks.UPDATES, "small", 3)
    ranks.train("small", ranks.Way(1, 1, True))
    parameters, ms = json.loads(capfd.readouterr().out)
    assert parameters == 3 * 32 + 8 * 32 + 32 + 8 * 65 + 65
    assert 0 < ms < 60_000


def test_the_model():
    """1,000 ranks, 4 MB of gradients: 20 messages of 1 ms, and 8 MB, less a thousandth, at 1 GB/s."""
    assert ranks.exchange(1, 10**6, 1e-3, 1e9) == 0
    assert ranks.exchange(1000, 10**6, 1e-3, 1e9) == pytest.approx(0.020 + 0.007992)
    assert ranks.weak(1000, 0.027992, 10**6, 1e-3, 1e9) == pytest.approx(0.5)
    assert ranks.strong(1000, 27.992, 10**6, 1e-3, 1e9) == pytest.approx(0.5)


def test_ratios_are_taken_within_a_turn_and_the_picture_says_what_is_modelled(tmp_path):
    times = {"alone": 100.0, "2 ranks": 55.0, "2 ranks, twice the rows": 110.0}
    rows = [row("loop256", way, ms * (1 + turn), turn) for way, ms in times.items() for turn in range(2)]
    append(tmp_path / "ranks.csv", rows)
    assert read(tmp_path / "ranks.csv", Ranked) == rows
    assert ranks.ratio(rows, "loop256", "2 ranks", "alone") == pytest.approx(100 / 55)
    ranks.draw(rows, tmp_path / "ranks.svg")
    words = (tmp_path / "ranks.svg").read_text()
    for said in ("loop256, measured", "loop256, model: 2 us, 10 GB/s", "weak: a batch for each rank"):
        assert f"<!-- {said} -->" in words


def test_the_picture_hides_no_dot(tmp_path, monkeypatch):
    """Two ranks may be more than twice as fast as one, whose cache is too small."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    times = {"alone": 100.0, "2 ranks": 40.0, "2 ranks, twice the rows": 80.0}
    ranks.draw([row("loop256", way, ms) for way, ms in times.items()], tmp_path / "ranks.png")
    for axes in drawn[0].axes:
        (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert dots.get_ydata() == pytest.approx([1, 1.25])
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] > 1.25


def test_the_page_shows_the_rows():
    rows = read(ranks.RESULTS / "ranks.csv", Ranked)
    page = (ranks.RESULTS.parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    ways = ("1 rank", "2 ranks", "1 rank, exact", "2 ranks, exact")
    for shape in sorted({row.shape for row in rows}):
        cells = [f"{ranks.ratio(rows, shape, way, 'plain'):.2f}" for way in ways]
        assert f"| {shape} | {' | '.join(cells)} |" in page
