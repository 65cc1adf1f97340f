"""Every figure of docs/questions, measured again: `make questions`.

    python -m benchmarks.questions

The blocks of the pages run, and their assertions hold the figures around them. What takes longer stands on a page as a
block of text: what a command prints. It is run and held to the page, number by number. Tables of data that are not
here are held to the rows that were measured. Exits with 1 where a figure is off.
"""

import csv
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from statistics import mean, stdev
from typing import Protocol

from benchmarks import wall
from lstmcore.recipes import alphabet, count

RESULTS = Path(__file__).parent / "results"
QUESTIONS = Path(__file__).parents[1] / "docs" / "questions"
# Engines and processors round differently, and a training magnifies it: a loss that has not settled moves by some
# percent, an error of the wall, which stands there with three digits, in the third.
WALL, LOSS, SETTLED, LETTERS = 0.01, 0.1, 0.002, 5.0


class Told(Protocol):
    """What the table of the alphabet tells of a training."""

    @property
    def loss(self) -> float: ...
    @property
    def right(self) -> float: ...
    @property
    def string(self) -> str: ...


def table(page: str, first: str) -> list[str]:
    """The lines of the ```text block whose first line begins with `first`, less that line."""
    text = (QUESTIONS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if block.lstrip().startswith(first))
    return block.rstrip().splitlines()[1:]


def wall_on_the_page() -> dict[str, list[float]]:
    """The table of breaking-through-the-wall.md: {what: its numbers, column by column}."""
    rows = (re.split(r"(?<=\d) +(?=[a-z])", row) for row in table("breaking-through-the-wall", "made up"))
    return {name: [float(n) for n in numbers.split()] for numbers, name in rows}


def off_the_wall(columns: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """What of that table is not found in {loops: {what: error}}."""
    page = wall_on_the_page()
    names = {name for column in columns.values() for name in column}
    for name in sorted(names ^ page.keys()):
        yield f"{name!r} stands on one side alone"
    for name in sorted(names & page.keys()):
        found = [column[name] for column in columns.values() if name in column]
        if len(found) != len(page[name]) or any(abs(a - b) > WALL for a, b in zip(found, page[name], strict=True)):
            yield f"{name}: the page says {page[name]}, found {[round(error, 3) for error in found]}"


def off_the_alphabet(trials: Mapping[str, Told]) -> Iterator[str]:
    """What of the table of predicts-the-mean.md is not found in these trainings."""
    rows = [re.split(r"  +", row.strip()) for row in table("predicts-the-mean", "loss")]
    if [row[0] for row in rows] != list(trials):
        yield f"the page has {[row[0] for row in rows]}, found {list(trials)}"
        return
    for name, loss, right, string in rows:
        found, said, letters = trials[name], float(loss.split()[0]), float(right.split()[0])
        exact = letters < 100 or found.string.startswith(string)
        close = abs(said - found.loss) <= max(LOSS * said, SETTLED) and abs(letters - 100 * found.right) <= LETTERS
        if not (close and exact):
            now = f"{found.loss:.4g}, {100 * found.right:.0f} %, {found.string}"
            yield f"{name}: the page says {loss}, {right}; found {now}"


def recorded() -> Iterator[str]:
    """The tables of sections 1 to 5 of that page, which follow from rows of benchmarks/results/loops.csv; what does not
    stand there as it follows. (The best floor's angles, in section 5, are in no row.)"""
    with open(RESULTS / "loops.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    antibodies, other = "sabdab_hcdr_torsions", "bm5_loops_torsions"

    def runs(column: str, data: str, **wanted: str) -> list[float]:
        """A column of the runs, split by split; floors stand in every run of a split."""
        of = {"split": "grouped", **wanted}
        return [
            float(next(r[column] for r in rows if r["data"] == data and r["seed"] == seed and of.items() <= r.items()))
            for seed in sorted({r["seed"] for r in rows if r["data"] == data and of.items() <= r.items()})
        ]

    def listed(numbers: list[float]) -> str:
        return ", ".join(f"{n:.3f}" for n in numbers)

    def spread(numbers: list[float]) -> str:
        return f"{mean(numbers):.3f} ± {stdev(numbers):.3f}"

    step, q3 = {"contestant": "lstmcore", "topology": "layers"}, {"head": "last-state", "model": "q3"}
    torch = {"contestant": "torch"}
    per_tower = {"topology": "towers", "head": "per-step"}
    lines = []
    for name, column in (
        ("constant mean", "constant"),
        ("mean per residue", "residue"),
        ("mean per triple: the residue and both neighbours", "triple"),
        ("exact memory: the mean over equal sequences", "memory"),
        ("nearest sequences of the same length", "nearest"),
    ):
        means = [runs(column, antibodies), runs(column, antibodies, split="random"), runs(column, other)]
        lines.append(f"| {name} | {' | '.join(f'{mean(m):.3f}' for m in means)} |")
    for name, kind, note in (("random split", "random", " (one run)"), ("grouped by sequence", "grouped", "")):
        found = [
            mean(runs(*of, split=kind, **more))
            for of, more in ((("memory", antibodies), {}), (("mse", antibodies), step), (("mse", antibodies), q3))
        ]
        lines.append(f"| {name} | {' | '.join(f'{n:.3f}' for n in found)}{note} |")
    for name, column, more, how in (
        ("last states (`--model q3`), towers 256, 128, 64", "mse", q3, "{}"),
        ("mean per residue", "residue", {}, "{}"),
        ("per-step head on the same two towers", "mse", per_tower, "{} on the first"),
        ("per-step, layers 64, 64", "mse", step, "**{}**"),
    ):
        both = " | ".join(how.format(listed(runs(column, data, **more))) for data in (antibodies, other))
        lines.append(f"| {name} | {both} |")
    for name, more, how in (
        ("network of the question", q3, "{}"),
        ("per-step", step, "**{}**"),
        ("the same in PyTorch", torch, "{}"),
    ):
        cells = []
        for data in (antibodies, other):
            phi, psi = (mean(runs(angle, data, **more)) for angle in ("phi", "psi"))
            cells.append(f"{how.format(spread(runs('mse', data, **more)))} | {phi:.0f}°, {psi:.0f}°")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    text = (QUESTIONS / "breaking-through-the-wall.md").read_text(encoding="utf-8")
    yield from (f"breaking-through-the-wall: from loops.csv follows {line}" for line in lines if line not in text)


def pages() -> Iterator[str]:
    """The blocks of all pages: an assertion that fails ends it."""
    sys.path.insert(0, str(QUESTIONS.parent))
    import blocks

    for page in sorted(QUESTIONS.glob("*.md")):
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            blocks.run(page)
    yield from ()


def walls() -> Iterator[str]:
    """Section 0 of breaking-through-the-wall.md."""
    yield from off_the_wall(wall.main())


def letters() -> Iterator[str]:
    """The remedies of predicts-the-mean.md."""
    result = alphabet.run(alphabet.Options(one_step=True, freeze=True), cure=True, progress=False)
    yield from off_the_alphabet({trial.name: trial for trial in result.trials})


def ones() -> Iterator[str]:
    """count-the-ones.md: below 0.1 % error on all strings that were not learnt from."""
    error = count.run(count.Options(), progress=False).test_error
    print(f"test error {error:.4%}")
    if error >= 0.001:
        yield f"count-the-ones: the page says below 0.1 %, found {error:.4%}"


def main(parts: tuple[Callable[[], Iterator[str]], ...] = (pages, recorded, walls, letters, ones)) -> int:
    """Measures, prints the seconds of each part and what is off, and gives the exit code."""
    wrong: list[str] = []
    for part in parts:
        began, cpu = time.perf_counter(), time.process_time()
        wrong += part()
        print(f"{part.__name__}: {time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} of a processor\n")
    print("\n".join(wrong) or "every figure of docs/questions is found again")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
