"""A mistake as it is shown: the wrong line beside the right one, where that stands, and where it is derived."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from lstmcore.debug.mistakes import Mistake

SECTIONS = [  # of docs/derivation.md: from which equation to which
    (1, 7, "4. LSTM, forward"), (8, 22, "5. LSTM, backward"), (23, 25, "10. Masked steps"), (26, 37, "11. GRU"),
    (38, 41, "12. Plain RNN"), (42, 45, "6. Outputs, and how dh joins"), (46, 49, "13. Two directions"),
    (50, 59, "14. The layers around it"), (60, 64, "7. Losses"), (71, 112, "17. Variants"), (113, 118, "11. GRU"),
    (121, 123, "17. Variants"),
]  # fmt: skip


class Line(NamedTuple):
    """One right line and what was made of it."""

    file: str
    number: int
    equation: int | None  # in docs/derivation.md, where the line has one
    section: str
    right: str
    wrong: str

    def __str__(self) -> str:
        where = f"    {self.file}, line {self.number}"
        if self.equation is not None:
            where += f", equation ({self.equation}): docs/derivation.md, section {self.section}"
        lines = [where]
        for kind, text in (("right", self.right), ("wrong", self.wrong)):
            first, *more = text.split("\n")
            lines.extend([f"        {kind}  {first}", *(f"               {line}" for line in more)])
        return "\n".join(lines)


def lines_of(mistake: Mistake) -> Iterator[Line]:
    """Every line that the mistake changes."""
    for module, right, wrong in mistake.edits:
        source = inspect.getsource(importlib.import_module(module))
        start, end = source.index(right), source.index(right) + len(right)
        stood = source[source.rfind("\n", 0, start) + 1 : source.find("\n", end)]
        numbers = re.findall(r"#.*?\((\d+)\)", stood)
        equation = int(numbers[0]) if numbers else None
        section = next((name for a, b, name in SECTIONS if equation and a <= equation <= b), "")
        texts = ("\n".join(line.strip() for line in text.strip("\n").split("\n")) for text in (right, wrong))
        number = source[:start].count("\n") + 1
        yield Line(f"{module.replace('.', '/')}.py", number, equation if section else None, section, *texts)
