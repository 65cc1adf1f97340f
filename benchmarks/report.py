"""Tables and pictures from CSV rows, and from nothing else: `python -m benchmarks.report FILE.csv`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.machine import cli
from benchmarks.rows import Row, read

AXES = {"T": "steps T", "B": "rows B", "H": "units H"}


def latest(rows: Iterable[Row]) -> list[Row]:
    """Of rows of the same thing measured twice the later one, in the order of the first."""
    return list({(r.machine, r.threads, r.dtype, r.mode, r.shape, r.contestant): r for r in rows}.values())


def line(rows: Sequence[Row]) -> str:
    """One race in a line of text: the base's time, then everybody's ratio to it."""
    head = f"{rows[0].shape:<14}{rows[0].mode:<9}"
    return head + "  ".join(
        f"{r.contestant} {r.note if r.median_ms is None else f'{r.median_ms:.3g} ms'}"
        if r.ratio is None or r.contestant == r.base
        else f"{r.contestant} {r.ratio:.2f}x"
        for r in rows
    )


def table(rows: Iterable[Row]) -> str:
    """Markdown, a table per machine, dtype and mode: the base's time and rate, and how many times as long the others
    took in the same rounds. The last column is the quickest of the others. What was not timed says why beneath.
    """
    rows = latest(rows)
    parts = []
    for group in dict.fromkeys((r.machine, r.threads, r.dtype, r.mode) for r in rows):
        parts.append(_table([r for r in rows if (r.machine, r.threads, r.dtype, r.mode) == group], *group))
    return "\n\n".join(parts)


def _table(rows: list[Row], machine: str, threads: int, dtype: str, mode: str) -> str:
    by_shape: dict[str, dict[str, Row]] = {}
    for r in rows:
        by_shape.setdefault(r.shape, {})[r.contestant] = r
    base = next((r.base for r in rows if r.base), rows[0].contestant)
    others = [name for name in dict.fromkeys(r.contestant for r in rows) if name != base]
    head = ["shape", "(T, B, I, H)", f"{base}, ms", "GFLOP/s", "of the product", *others, "quickest other"]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    for shape, by_name in by_shape.items():
        first = next(iter(by_name.values()))
        size = f"({first.T}, {first.B}, {first.I}, {first.H}){' lengths ' + first.lengths if first.lengths else ''}"
        own = by_name.get(base)
        if own is None or own.median_ms is None:
            times = ["-"] * 3
        else:
            part = f"{own.gflops / own.product_gflops:.0%}" if own.product_gflops else "-"
            times = [f"{own.median_ms:.3g}", f"{own.gflops:.3g}", part]
        known = [by_name[name].ratio for name in others if name in by_name and by_name[name].ratio is not None]
        cells = [_ratio(by_name.get(name)) for name in others]
        lines.append([shape, size, *times, *cells, f"**{min(known):.2f}**" if known else "-"])
    versions = ", ".join(dict.fromkeys(f"{r.contestant} {r.version}" for r in rows if r.version))
    unit = "training step" if mode == "train" else mode
    title = f"**{unit}, {dtype}**; {machine}, {threads} threads; {versions}"
    notes = dict.fromkeys(f"- {_where(r, rows)}: {' '.join(r.note.split())}" for r in rows if r.note)
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n\n".join([title, text, *(["\n".join(notes)] if notes else [])])


def _ratio(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.ratio is None:
        return row.note.split(":")[0] or "-"
    return f"{row.ratio:.2f} ({row.ratio_q20:.2f} to {row.ratio_q80:.2f})"


def _where(row: Row, rows: list[Row]) -> str:
    """The contestant, and the shape unless it is all of them."""
    everywhere = all(r.note == row.note for r in rows if r.contestant == row.contestant)
    return row.contestant if everywhere else f"{row.contestant}, {row.shape}"


def draw(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Pictures of every mode: time and ratio over the shapes, and scaling with T, B and H where it was measured.

    Rows of several machines, threads or dtypes do not mix: those of the last row are drawn. Raises ImportError without
    matplotlib.
    """
    from matplotlib.figure import Figure

    rows = [r for r in latest(rows) if r.median_ms is not None]
    if not rows:
        return []
    last = rows[-1]
    rows = [r for r in rows if (r.machine, r.threads, r.dtype) == (last.machine, last.threads, last.dtype)]
    sweep = {f"{axis}{getattr(r, axis)}" for r in rows for axis in AXES}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for mode in dict.fromkeys(r.mode for r in rows):
        here = [r for r in rows if r.mode == mode]
        plain = [r for r in here if r.shape not in sweep]
        figures = {}
        if plain:
            for name, title in (("time", "time (ms)"), ("ratio", "time / base's time in the same rounds")):
                figures[name] = Figure(figsize=(11, 4.5), layout="constrained")
                _bars(figures[name].subplots(), plain, name, title)
        if len(plain) < len(here):
            figures["scaling"] = Figure(figsize=(13, 4.5), layout="constrained")
            for axes, axis in zip(figures["scaling"].subplots(1, len(AXES)), AXES):
                _scaling(axes, [r for r in here if r.shape == f"{axis}{getattr(r, axis)}"], axis)
        for name, figure in figures.items():
            figure.suptitle(f"{mode}, {last.dtype}; {last.machine}, {last.threads} threads")
            written.append(folder / f"{mode}-{name}.png")
            figure.savefig(written[-1], dpi=120)
    return written


def _bars(axes, rows: list[Row], what: str, label: str) -> None:
    """Groups of bars, one group per shape; the whiskers are 20 % and 80 % quantiles."""
    shapes = list(dict.fromkeys(r.shape for r in rows))
    names = list(dict.fromkeys(r.contestant for r in rows))
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        own = [r for r in rows if r.contestant == name and (what == "time" or r.ratio is not None)]
        low, middle, high = zip(*[_whisker(r, what) for r in own]) if own else ((), (), ())
        places = [shapes.index(r.shape) + (k + 0.5) * width - 0.4 for r in own]
        whiskers = [[m - q for m, q in zip(middle, low)], [q - m for m, q in zip(middle, high)]]
        axes.bar(places, middle, width, yerr=whiskers, label=name, error_kw={"lw": 0.8})
    axes.set(yscale="log", ylabel=label)
    axes.set_xticks(range(len(shapes)), shapes, rotation=20, ha="right")  # their names would overlap
    if what == "ratio":
        axes.axhline(1, color="black", lw=0.8)
    axes.legend(fontsize=8)


def _whisker(row: Row, what: str) -> tuple[float, float, float]:
    if what == "time":
        return row.q20_ms, row.median_ms, row.q80_ms
    return row.ratio_q20, row.ratio, row.ratio_q80


def _scaling(axes, rows: list[Row], axis: str) -> None:
    """Time over one axis, both logarithmic; a line per contestant."""
    for name in dict.fromkeys(r.contestant for r in rows):
        own = sorted((r for r in rows if r.contestant == name), key=lambda r: getattr(r, axis))
        axes.plot([getattr(r, axis) for r in own], [r.median_ms for r in own], marker="o", ms=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="time (ms)")
    if rows:
        axes.legend(fontsize=8)
        fixed = ", ".join(
            f"{a} = {getattr(rows[0], a)}" for a in "TBIH" if a != axis and not (axis == "H" and a == "H")
        )
        axes.set_title(fixed, fontsize=9)


def command(
    file: Annotated[Path, typer.Argument(help="CSV rows of `python -m benchmarks`.")],
    pictures: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
) -> None:
    """A table with ratios, and pictures, from CSV rows."""
    try:
        rows = read(file)
        print(table(rows))
        if pictures is not None:
            for path in draw(rows, pictures):
                typer.echo(str(path), err=True)
    except (OSError, ValueError) as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(2) from None
    except ImportError:
        typer.echo("no pictures: pip install 'lstmcore[plot]'", err=True)


if __name__ == "__main__":
    cli(command)
