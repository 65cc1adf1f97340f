"""docs/figures/*.svg are what docs/figures/draw.py draws today, and every one of them stands on a page."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
NUMBER = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with all figures, drawn now."""
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("draw", FOLDER / "draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    folder = tmp_path_factory.mktemp("figures")
    draw.main(folder)
    return folder


def same(one: str, other: str) -> bool:
    """The same marks and words, and coordinates within a tenth of a point: sums round differently elsewhere."""
    one, other = (re.sub(r'(#|id=")\w+', "", text) for text in (one, other))  # names of marks, made of their numbers
    numbers = [np.array(NUMBER.findall(text), float) for text in (one, other)]
    words = [NUMBER.sub("", text) for text in (one, other)]
    return words[0] == words[1] and np.abs(numbers[0] - numbers[1]).max() < 0.1


def test_a_changed_word_or_place_is_seen():
    assert same('<text x="1.04">0.23</text>', '<text x="1.05">0.23</text>')
    assert not same('<text x="1.04">f</text>', '<text x="1.04">g</text>')
    assert not same('<text x="1.04">f</text>', '<text x="1.24">f</text>')


def test_the_figures_are_up_to_date(drawn):
    assert {path.name for path in drawn.iterdir()} == {path.name for path in FOLDER.glob("*.svg")}
    for path in sorted(drawn.iterdir()):
        assert same(path.read_text("utf-8"), (FOLDER / path.name).read_text("utf-8")), f"`make figures` for {path.name}"


def test_every_figure_stands_on_a_page_and_every_picture_is_there():
    shown = set()
    for page in FOLDER.parent.rglob("*.md"):
        if "node_modules" in page.parts:
            continue  # where the explorer was built
        for target in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
            shown.add((page.parent / target).resolve())
    assert shown >= {path.resolve() for path in FOLDER.glob("*.svg")}
