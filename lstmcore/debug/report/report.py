"""All of it as one page to look at, and as text. The page is one file: no network, no script."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Unpack

import numpy as np

from lstmcore.arrays import Array, dtype_name, to_numpy
from lstmcore.debug.flow.flow import Flow, flow_of
from lstmcore.debug.flow.measure import LayerFlow
from lstmcore.debug.ledger.ledger import Ledger, ledger_of
from lstmcore.debug.ledger.parts import Entry
from lstmcore.debug.padding.padding import PaddingProof, padding
from lstmcore.debug.report.svg import curves, heat_map
from lstmcore.debug.show.tables import paragraphs, percent, spans
from lstmcore.debug.step.visits import StepOptions, Upstream, run_step
from lstmcore.debug.tripwire.tripwire import Tripwire, tripwire_of
from lstmcore.layers import Layer
from lstmcore.train.update.optimizer import Optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; color: #111;
       background: #fff; }
h1 { font-size: 1.5em; margin-bottom: 0; } p.about { color: #555; margin-top: 0; }
ul.findings { padding: 0; list-style: none; } ul.findings li { border-left: 5px solid #16a34a; padding: .2em .8em;
       margin: .3em 0; background: #f6f6f6; } ul.findings li.bad { border-color: #dc2626; }
ul.findings b { font-weight: 600; } details { border-top: 1px solid #ccc; padding: .4em 0; }
summary { cursor: pointer; font-weight: 600; font-size: 1.1em; } details details { border: 0; margin-left: 1em; }
details details summary { font-weight: 400; font-size: 1em; } pre { overflow-x: auto; font-size: 12px; line-height: 1.3;
       background: #f6f6f6; padding: .6em; } svg { max-width: 100%; height: auto; } svg text { font: 11px sans-serif;
       fill: #333; } p.legend { font-size: 12px; margin: 0 0 1em; } td, th { padding: .1em .7em; text-align: right; }
"""


class Finding(NamedTuple):
    """One sentence, the tool that found it, and whether it is a cause for worry."""

    tool: str
    text: str
    good: bool


@dataclass(frozen=True)
class Report:
    """All tools' answers about one training step."""

    title: str
    about: str  # shapes, dtype, engines
    tripwire: Tripwire
    ledger: Ledger
    flow: Flow
    padding: PaddingProof | None  # None without a mask, or if it was not asked for

    @property
    def ok(self) -> bool:
        """True if no finding is a cause for worry."""
        return all(finding.good for finding in self.findings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the tools say, worries first."""
        found = [Finding("tripwire", text, self.tripwire.ok) for text in self.tripwire.findings]
        if self.padding is not None:
            found += [Finding("padding", text, self.padding.ok) for text in self.padding.findings]
        found += [Finding("flow", text, text not in self.flow.worries) for text in self.flow.findings]
        found += [Finding("ledger", text, _harmless(text)) for text in self.ledger.findings]
        return tuple(sorted(found, key=lambda finding: finding.good))

    def __str__(self) -> str:
        parts = [f"{self.title}\n{self.about}", paragraphs([f"{f.tool}: {f.text}" for f in self.findings])]
        for name in ("tripwire", "padding", "flow", "ledger"):
            if getattr(self, name) is not None:
                parts.append(f"=== {name} ===\n{getattr(self, name)}")
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """The page."""
        items = "".join(
            f'<li class="{"good" if f.good else "bad"}"><b>{escape(f.tool)}</b>: {escape(f.text)}</li>'
            for f in self.findings
        )
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f"<style>{STYLE}</style></head><body><h1>{escape(self.title)}</h1>"
            f'<p class="about">{escape(self.about)}</p>'
            f'<h2>Findings</h2><ul class="findings" id="findings">{items}</ul>'
            f"{''.join(self._sections())}</body></html>\n"
        )

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the page to `path`; the text, if the name ends in .txt. Returns the path."""
        path = Path(path)
        path.write_text(str(self) if path.suffix == ".txt" else self.html(), encoding="utf-8")
        return path

    def picture(self) -> "Figure":
        """The flow's curves; the ledger has a picture of its own. Needs matplotlib; returns its Figure."""
        return self.flow.picture()

    def _sections(self) -> Iterator[str]:
        maps = "".join(_ledger_map(entry) for entry in self.ledger.entries)
        yield _section("ledger", "Ledger: which steps, gates and paths the gradients come from", maps, str(self.ledger))
        lines = "".join(_flow_curves(layer) for layer in self.flow.layers)
        yield _section("flow", "Flow: gradients over time, gates at their ends", lines, str(self.flow))
        if self.padding is not None:
            steps = [str(t) for t in range(len(self.padding.mask))]
            rows = [f"row {b}" for b in range(min(self.padding.mask.shape[1], 32))]
            values = np.where(self.padding.wrong, np.nan, self.padding.mask).T[: len(rows)]
            picture = "<p>real steps dark, padding white, a broken rule red</p>" + heat_map(values, rows, steps)
            yield _section("padding", "Padding: does it change anything?", picture, str(self.padding))
        yield _section("tripwire", "Tripwire: the first number that is not finite", "", str(self.tripwire))


def report(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    optimizer: Optimizer | None = None,
    prove_padding: bool = True,
    title: str = "A training step",
    **step: Unpack[StepOptions],
) -> Report:
    """Runs one training step and asks every tool about it.

    Arguments as in `ledger` and `flow`. prove_padding: run the padding proof too, if there is a mask with padding and a
    real step; it runs the model some twenty times and each row once more. `report(...).save("page.html")` writes the
    page, `print(report(...))` the text. Raises whatever the layer raises for bad input.
    """
    run, mask = run_step(layer, x, dy, **step), step.get("mask")
    proof = None
    if prove_padding and mask is not None and 0 < int(to_numpy(mask).sum()) < to_numpy(mask).size:
        state, dstate = step.get("state"), step.get("dstate")
        proof = padding(layer, x, run.dy, state=state, mask=mask, dstate=dstate, seed=step.get("seed", 0))
    engines = sorted({visit.cache.engine for visit in run.visits if visit.recurrent})
    about = f"{layer!r}: x {tuple(x.shape)} {dtype_name(run.y.dtype)}, {', '.join(engines) or 'no recurrent layer'}"
    if run.loss is not None:
        about += f", loss {float(run.loss):.6g}"
    with np.errstate(all="ignore"):  # what is not finite is the tripwire's to say
        return Report(title, about, tripwire_of(run), ledger_of(run), flow_of(run, optimizer), proof)


def _section(name: str, title: str, picture: str, text: str) -> str:
    return (
        f'<details id="{name}" open><summary>{escape(title)}</summary>{picture}'
        f"<details><summary>as text</summary><pre>{escape(text)}</pre></details></details>"
    )


def _ledger_map(entry: Entry) -> str:
    """Norms over steps, one row per gate and path; long sequences are put together."""
    where = spans(len(entry.norms), 120)
    names = [(int(k), int(p)) for k, p in np.argwhere(entry.reached)]
    rows = [f"{entry.gates[k]}, {entry.paths[p]}" if len(entry.paths) > 1 else entry.gates[k] for k, p in names]
    values = np.array([[np.sqrt((entry.norms[s, k, p] ** 2).sum()) for _, s in where] for k, p in names])
    hints = np.array(
        [
            [
                f"step {label}, {row}: norm {np.sqrt((entry.norms[s, k, p] ** 2).sum()):.3g}, share "
                f"{percent(entry.shares[s, k, p].sum())}"
                for label, s in where
            ]
            for row, (k, p) in zip(rows, names)
        ]
    )
    title = f"d{entry.name}, norm {entry.norm:.3g}"
    return f"<h3>{escape(title)}</h3>" + heat_map(values, rows, [label for label, _ in where], hints)


def _flow_curves(layer: LayerFlow) -> str:
    steps = [str(t) for t in range(len(layer.rows))]
    title = f"{layer.name or 'the layer'}, {layer.direction}"
    norms = {f"|{name}|": values for name, values in layer.dstates.items()}
    ends: dict[str, np.ndarray] = {}
    for k, gate in enumerate(layer.gates):
        if gate in layer.ends:
            ends |= {f"{layer.words[gate]} low": layer.low[:, k], f"{layer.words[gate]} high": layer.high[:, k]}
    return (
        f"<h3>{escape(title)}: what arrives at each step</h3>{curves(norms, steps, log=True)}"
        f"<h3>{escape(title)}: fraction of values at an end of the gate</h3>{curves(ends, steps)}"
    )


def _harmless(text: str) -> bool:
    return not any(sign in text for sign in ("WRONG", "no gradient", "not finite"))
