"""Runs the ```python blocks of a page, in order and in one namespace, and says what each of them shows.

The tests run every page this way; the site takes what they found where neither page nor package has changed since, so
that a block runs once for both.
"""

import ast
import contextlib
import functools
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "blocks"
FENCED = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


class Shown(NamedTuple):
    """What one block shows: printed text, and the value of its last line as HTML (an empty text: neither)."""

    text: str
    html: str


def pages() -> list[Path]:
    """README.md and everything in docs/."""
    written = (page for page in (ROOT / "docs").glob("**/*.md") if "node_modules" not in page.parts)
    return [ROOT / "README.md", *sorted(written)]


def blocks(text: str) -> list[tuple[int, str]]:
    """(line of the page, code) of every ```python block; code in a list loses its indent."""
    found = []
    for match in FENCED.finditer(text):
        indent, code = match.groups()
        lines = [line.removeprefix(indent) for line in code.splitlines()]
        found.append((text[: match.start()].count("\n") + 2, "\n".join(lines) + "\n"))
    return found


def run(page: Path) -> list[Shown]:
    """What every block of the page shows, run now in the working directory, and kept for the site.

    Raises what a block raises; its traceback names the line of the page.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    shown = [_show(line, code, os.fspath(page), names) for line, code in blocks(page.read_text(encoding="utf-8"))]
    KEPT.mkdir(parents=True, exist_ok=True)
    _place(page).write_text(json.dumps({"of": _state(page), "shown": shown}), encoding="utf-8")
    return shown


def shown(page: Path) -> list[Shown]:
    """What every block shows: as kept, where neither page nor package has changed; else run now, in an empty folder."""
    with contextlib.suppress(OSError):
        kept = json.loads(_place(page).read_text(encoding="utf-8"))
        if kept["of"] == _state(page):
            return [Shown(*one) for one in kept["shown"]]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return run(page)


def _show(line: int, code: str, page: str, names: dict[str, object]) -> Shown:
    tree = ast.parse("\n" * (line - 1) + code, page)  # an error then names the line of the page
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, page, "exec"), names)
        value = eval(compile(last, page, "eval"), names) if last else None
    drawn = getattr(value, "_repr_html_", None)
    text = printed.getvalue() + (f"{value!r}\n" if value is not None and drawn is None else "")
    return Shown(text, drawn() if drawn else "")


def _place(page: Path) -> Path:
    return KEPT / f"{'-'.join(page.relative_to(ROOT).with_suffix('').parts)}.json"


def _state(page: Path) -> str:
    """What a page shows follows from its text and the package."""
    return hashlib.sha256(page.read_bytes() + _package()).hexdigest()


@functools.cache
def _package() -> bytes:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted((ROOT / "lstmcore").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()
