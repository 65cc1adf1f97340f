"""Every ```python block of README.md and docs/*.md runs: the blocks of one page in order, in one namespace."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCED = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[int, str]]:
    """(line of the page, code) of every ```python block; code in a list loses its indent."""
    found = []
    for match in FENCED.finditer(text):
        indent, code = match.groups()
        lines = [line.removeprefix(indent) for line in code.splitlines()]
        found.append((text[: match.start()].count("\n") + 2, "\n".join(lines) + "\n"))
    return found


def test_blocks_are_found():
    text = "# a\n```python\nx = 1\n```\n```sh\nls\n```\n- item\n  ```python\n  if x:\n      y = 2\n  ```\n"
    assert blocks(text) == [(3, "x = 1\n"), (10, "if x:\n    y = 2\n")]


def test_pages_are_found():
    assert PAGES[0].is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_blocks_run(page, tmp_path, monkeypatch):
    """In an empty folder, so that what a page writes is gone afterwards. A page without code has nothing to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    found = blocks(page.read_text(encoding="utf-8"))
    assert len(found) == page.read_text(encoding="utf-8").count("```python"), "a block is not closed"
    names: dict = {"__name__": "__main__"}
    for line, code in found:
        padded = "\n" * (line - 1) + code  # an error then names the line of the page
        exec(compile(padded, os.fspath(page), "exec"), names)
