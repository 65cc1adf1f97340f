"""docs/derivation.md defines every equation once, and the code's comments cite what is there, in the same order."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from lstmcore.debug.diagnose.beside import SECTIONS

ROOT = Path(__file__).parents[1]
CELLS = ROOT / "lstmcore" / "ops" / "cells"
NUMBER = r"(?<![\w)\]])\((\d+)\)"  # (12), but not f(12)
TEXT = (ROOT / "docs" / "derivation.md").read_text(encoding="utf-8")
EQUATIONS = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)  # the blocks of numbered equations
DEFINED = [int(number) for block in EQUATIONS for number in re.findall(r"^\((\d+)\) ", block, re.MULTILINE)]


def comments(path: Path) -> str:
    """The comments of a source file, in order, one to a line."""
    source = io.StringIO(path.read_text(encoding="utf-8"))
    return "\n".join(
        token.string for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.COMMENT
    )


def docstrings(path: Path) -> str:
    """Everything in a source file that is a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return "\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, holders))


def cited(text: str) -> set[int]:
    """The equations that a text names: "(12)", "equation 12", "equations 1 to 25"."""
    numbers = {int(number) for number in re.findall(NUMBER, text)}
    for first, last in re.findall(r"equations? (\d+)(?: to (\d+))?", text):
        numbers |= {int(first), int(last or first)}
    return numbers


def undoings(text: str) -> list[tuple[int, int]]:
    """(k, n) wherever a line says that equation k undoes equation n."""
    return [(int(k), int(n)) for k, n in re.findall(r"\((\d+)\).*?undoes \((\d+)\)", text)]


def test_every_number_is_defined_exactly_once():
    """Not in order: the numbers belong to the code and stay where a section moves."""
    assert sorted(DEFINED) == list(range(1, len(DEFINED) + 1))
    assert len(DEFINED) >= 41


def test_the_core_takes_33_minutes():
    """Of reading at 120 words a minute, formulas among them: slower than prose is read, for it is to be followed.
    Blocks of code, figures and the table of contents are not read. The page says how many words it is, to the ten."""
    core = TEXT[: TEXT.index("## 10. ")]
    contents = core[core.index("The core:\n") : core.index("## 1. ")]
    read = re.sub(
        r"^```python\n.*?^```$|!\[.*?\]\(.*?\)", "", core.replace(contents, ""), flags=re.MULTILINE | re.DOTALL
    )
    words = len(read.split())
    (said,) = re.findall(r"The core is sections 1 to 9: ([\d,]+) words, 33 minutes", core)
    assert abs(words - int(said.replace(",", ""))) <= 10
    assert words <= 33 * 120


def test_the_worked_example_shows_what_its_block_checks():
    """Every number of the table stands in an assertion of the block behind it, column by column."""
    (table,) = (block for block in EQUATIONS if "forward, t = 0" in block)
    behind = TEXT[TEXT.index(table) :]
    code = behind[behind.index("```python\n") : behind.index("## 6. ")]
    number = r"(-?\d+(?:\.\d+)?)"
    shown: list[list[float]] = [[], [], [], []]
    for line in table.splitlines():
        for start, at in ((r"^  [a-z_]+", 0), (r"^.{40,}? d[a-z_]+", 2)):
            for row in re.findall(rf"{start} +{number} +{number}", line):
                for column, text in enumerate(row):
                    shown[at + column].append(float(text))
    checked = [
        [float(n) for n in re.findall(number, numbers)]
        for numbers in re.findall(r"reads\((?:down|up)\[\d\](?:\[:11\])?, (.*)\)$", code, re.MULTILINE)
    ]
    assert [len(column) for column in shown] == [11, 11, 12, 12]
    assert shown == checked
    for numbers in re.findall(r"^  d.*= +\(?(.*[^) ])\)?$", table, re.MULTILINE):
        wanted = [float(n) for n in re.findall(number, numbers)]
        assert any(
            wanted == [float(n) for n in re.findall(number, said)] for said in re.findall(r"reads\(\S+, (.*?)\)", code)
        )


def test_a_line_is_shown_with_its_section():
    """What diagnose prints: each equation's section is the one that defines it."""
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        name = section.splitlines()[0]
        for block in re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            for number in map(int, re.findall(r"^\((\d+)\) ", block, re.MULTILINE)):
                told = [said for first, last, said in SECTIONS if first <= number <= last]
                assert told in ([name], [])
                assert told or number in {*range(65, 71), 119, 120}, number  # of no line of code that a mistake changes


def test_the_text_cites_only_what_it_defines():
    assert cited(TEXT) == set(DEFINED)


def test_the_blocks_hold_every_equation():
    """Each stands in a comment of a block that asserts it; those of section 17 are proved by gradcheck, as variants."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    said = "\n".join(re.findall(r"#[^\n]*|\"\"\".*?\"\"\"", code, re.DOTALL))
    variants = next(section for section in re.split(r"^## ", TEXT, flags=re.MULTILINE) if section.startswith("17. "))
    assert set(DEFINED) - cited(said) == {int(n) for n in re.findall(r"^\((\d+)\) ", variants, re.MULTILINE)}


def test_kernels_in_cuda_cite_only_what_is_defined():
    files = [path for kind in ("*.cu", "*.cuh") for path in sorted((ROOT / "lstmcore").rglob(kind))]
    assert files
    for path in files:
        numbers = cited("\n".join(re.findall(r"//[^\n]*|/\*.*?\*/", path.read_text(encoding="utf-8"), re.DOTALL)))
        assert numbers <= set(DEFINED), f"{path}: {sorted(numbers - set(DEFINED))}"


def test_the_code_cites_only_what_is_defined():
    everywhere = set()
    for path in sorted((ROOT / "lstmcore").rglob("*.py")):
        numbers = cited(comments(path)) | cited(docstrings(path))
        assert numbers <= set(DEFINED), f"{path}: {sorted(numbers - set(DEFINED))}"
        everywhere |= numbers
    assert everywhere >= set(range(1, 42)), f"no code for {sorted(set(range(1, 42)) - everywhere)}"


@pytest.mark.parametrize(("cell", "first", "last"), [("lstm", 2, 17), ("gru", 26, 37), ("rnn", 38, 41)])
def test_a_cell_stands_in_the_order_of_the_text(cell, first, last):
    numbers = [int(number) for number in re.findall(r"^# \((\d+)\)", comments(CELLS / f"{cell}.py"), re.MULTILINE)]
    assert numbers == list(range(first, last + 1))


def test_every_block_undoes_its_lines_in_reverse_order():
    undone = [[n for _, n in undoings(block)] for block in EQUATIONS]
    assert sum(map(len, undone)) > 20
    for order in undone:
        assert order == sorted(order, reverse=True)
    assert all(n < k for block in EQUATIONS for k, n in undoings(block))


def test_code_and_text_agree_on_which_line_undoes_which():
    said = dict(undoings("\n".join(EQUATIONS)))
    code = [pair for path in sorted((ROOT / "lstmcore").rglob("*.py")) for pair in undoings(comments(path))]
    assert len(code) > 10
    assert [(k, n) for k, n in code if said.get(k) != n] == []
