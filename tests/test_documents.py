"""Every ```python block of README.md and docs/*.md runs: the blocks of one page in order, in one namespace."""

import blocks
import pytest


def test_blocks_are_found():
    text = "# a\n```python\nx = 1\n```\n```sh\nls\n```\n- item\n  ```python\n  if x:\n      y = 2\n  ```\n"
    assert blocks.blocks(text) == [(3, "x = 1\n"), (10, "if x:\n    y = 2\n")]


def test_pages_are_found():
    assert blocks.pages()[0].is_file()


@pytest.mark.parametrize("page", blocks.pages(), ids=lambda page: page.relative_to(blocks.ROOT).as_posix())
def test_code_blocks_run(page, tmp_path, monkeypatch):
    """In an empty folder, so that what a page writes is gone afterwards. A page without code has nothing to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    shown = blocks.run(page)
    assert len(shown) == page.read_text(encoding="utf-8").count("```python"), "a block is not closed"
    assert blocks.shown(page) == shown  # what the site shows
