"""The page: one HTML file that needs no network. Its program is built in docs/explorer, its numbers are traced here."""

import json
import linecache
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from html import escape
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from lstmcore.arrays import Plain
from lstmcore.debug.explain.broken import broken
from lstmcore.debug.explain.examples import EXAMPLES, example
from lstmcore.debug.explain.graph import PACKAGE, Graph, graph
from lstmcore.train.files.atomic import write_atomically

TEMPLATE = Path(__file__).with_name("page.html")
SLOT = "@@DATA@@"  # where it takes the numbers
FRAME = "width: 100%; height: 800px; border: 1px solid #8885"
AROUND = 4  # lines of source that are shown before and behind one that made a number


class Traced(NamedTuple):
    """A step, as the page shows it."""

    title: str
    plain: Graph | None  # without a mask; None if it has one
    masked: Graph


@dataclass(frozen=True, repr=False)
class Explanation:
    """Small training steps, each without and with a mask; the first is the one that the page opens with."""

    steps: dict[str, Traced]
    first: str

    def plain(self) -> Plain:
        """What the page is given, as JSON holds it. The LSTM of EXAMPLES is always there, for the tour."""
        steps = self.steps if "lstm" in self.steps else {**self.steps, "lstm": _example("lstm")}
        traced = {key: {"title": title, "plain": plain and plain.plain(), "masked": masked.plain()}
                  for key, (title, plain, masked) in steps.items()}  # fmt: skip
        graphs = [g for _, *both in steps.values() for g in both if g is not None]
        mistakes = [each.plain() for each in broken()]
        return {"first": self.first, "steps": traced, "sources": _sources(graphs), "broken": mistakes}

    def html(self) -> str:
        """The page."""
        data = json.dumps(self.plain(), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return TEMPLATE.read_text(encoding="utf-8").replace(SLOT, data)

    def __repr__(self) -> str:
        titles = ", ".join(step.title for step in self.steps.values())
        return f'<Explanation of {titles}: save("lstm.html") writes the page>'

    def _repr_html_(self) -> str:
        """What a notebook shows: the page, in a frame of its own."""
        how = f'title="every number answers" style="{FRAME}" sandbox="allow-scripts" loading="lazy"'
        return f'<iframe {how} srcdoc="{escape(self.html())}"></iframe>'

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the page to `path`, and returns the path. Raises OSError."""
        path = Path(path)
        write_atomically(path, self.html().encode())
        return path


def explain(cell: str = "lstm") -> Explanation:
    """The page over the examples; `cell`, a key of EXAMPLES, is the one that it opens with.

    Raises ValueError for another name.
    """
    key = cell.lower()
    if key not in EXAMPLES:
        raise ValueError(f"`cell` should be one of {', '.join(EXAMPLES)}; got {cell!r}")
    return Explanation({name: _example(name) for name in EXAMPLES}, key)


@cache
def _example(name: str) -> Traced:
    title, cell = EXAMPLES[name]
    return Traced(title, graph(cell, example(cell)), graph(cell, example(cell, masked=True)))


def _sources(graphs: Iterable[Graph]) -> dict[str, list[str | None]]:
    """File -> its lines, as far as they are near to one that made a number; None for others."""
    near: dict[str, set[int]] = {}
    for g in graphs:
        for k in range(len(g.numbers)):
            for file, line, _ in g.lines(k):
                near.setdefault(file, set()).update(range(line - AROUND, line + AROUND + 1))
    found: dict[str, list[str | None]] = {}
    for file, lines in near.items():
        text = linecache.getlines(str(PACKAGE.parent / file)) or linecache.getlines(file)
        found[file] = [line.rstrip("\n") if n in lines else None for n, line in enumerate(text, 1)]
    return found
