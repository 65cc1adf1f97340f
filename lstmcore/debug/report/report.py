"""All of it as one page to look at, and as text. The page is one file: no network; no script but the explorer's."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from lstmcore.arrays import Array, dtype_name, to_numpy
from lstmcore.debug.between import DroppedStack
from lstmcore.debug.explain import Explanation, explain_run
from lstmcore.debug.flow.flow import Flow, flow_of
from lstmcore.debug.ledger.ledger import Ledger, ledger_of
from lstmcore.debug.padding.padding import PaddingProof, padding
from lstmcore.debug.show.page import Finding, as_text, finding_list, framed, picture_of, told
from lstmcore.debug.show.tables import paragraphs
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, run_step
from lstmcore.debug.tripwire.tripwire import Tripwire, tripwire_of
from lstmcore.layers import Layer
from lstmcore.train.files.atomic import write_atomically
from lstmcore.train.update.optimizer import Optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; }
body { background: Canvas; color: CanvasText; max-width: 860px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } p.about { opacity: .7; margin-top: 0; }
#explorer { font: 15px/1.5 system-ui, sans-serif; border-top: 1px solid #8885; padding: .4em 0; }
#explorer summary { cursor: pointer; font-weight: 600; font-size: 1.1em; }
#explorer iframe { width: min(96vw, 1500px) !important; margin-left: calc(50% - min(48vw, 750px)); }
@media print { #explorer { display: none; } }
"""

NO_PROOF = "The proof is left out: "
DRAWN = (
    "it runs each row alone and the batch with more steps, "
    "and the masks of dropout between the layers are drawn for this batch as it is."
)


@dataclass(frozen=True)
class Report:
    """All tools' answers about one training step."""

    title: str
    about: str  # shapes, dtype, engines
    tripwire: Tripwire
    ledger: Ledger
    flow: Flow
    padding: PaddingProof | str | None  # None without a mask, or if it was not asked for; or why it is left out
    explorer: Explanation | str  # every number of its first row; or why this step is not shown so

    @property
    def ok(self) -> bool:
        """True if no finding is a cause for worry."""
        return all(finding.good for finding in self.findings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the tools say, worries first."""
        answers = {"tripwire": self.tripwire, "padding": self.padding, "flow": self.flow, "ledger": self.ledger}
        found = [finding for tool, answer in answers.items() if answer is not None for finding in told(answer, tool)]
        return tuple(sorted(found, key=lambda finding: finding.good))

    def __str__(self) -> str:
        parts = [f"{self.title}\n{self.about}", paragraphs([f"{f.tool}: {f.text}" for f in self.findings])]
        for name in ("tripwire", "padding", "flow", "ledger"):
            if getattr(self, name) is not None:
                parts.append(f"=== {name} ===\n{getattr(self, name)}")
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """The page."""
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
            f"<body><main>{self._repr_html_()}{self._explorer()}</main></body></html>\n"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the page without its frame."""
        about = f'<h1>{escape(self.title)}</h1><p class="about">{escape(self.about)}</p>'
        return framed(f"{about}<h2>Findings</h2>{finding_list(self.findings)}{''.join(self._sections())}")

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the page to `path`; the text, if the name ends in .txt. Returns the path."""
        path = Path(path)
        write_atomically(path, (str(self) if path.suffix == ".txt" else self.html()).encode())
        return path

    def picture(self) -> "Figure":
        """The flow's curves; the ledger has a picture of its own. Needs matplotlib; returns its Figure."""
        return self.flow.picture()

    def _explorer(self) -> str:
        """The page on which every number answers, folded; or a line that says why it is not there."""
        if isinstance(self.explorer, str):
            return f'<p id="explorer">No explorer: {escape(self.explorer)}.</p>'
        return (
            '<details id="explorer"><summary>Open in the explorer: every number of the first row, and what made it'
            f"</summary>{self.explorer._repr_html_()}</details>"
        )

    def _sections(self) -> Iterator[str]:
        for name, answer, title in (
            ("ledger", self.ledger, "Ledger: which steps, gates and paths the gradients come from"),
            ("flow", self.flow, "Flow: gradients over time, gates at their ends"),
            ("padding", self.padding, "Padding: does it change anything?"),
            ("tripwire", self.tripwire, "Tripwire: the first number that is not finite"),
        ):
            if answer is not None:
                shown = f"<p>{answer}</p>" if isinstance(answer, str) else picture_of(answer) + as_text(answer)
                yield f'<details id="{name}" open><summary>{title}</summary>{shown}</details>'


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
    real step (it is left out where a case holds masks of dropout between layers); it runs the model some twenty times
    and each row once more. `report(...).save("page.html")` writes the page, `print(report(...))` the text. Raises
    whatever the layer raises for bad input.
    """
    run, mask = run_step(layer, x, dy, **step), step.get("mask")
    proof: PaddingProof | str | None = None
    if prove_padding and mask is not None and 0 < int(to_numpy(mask).sum()) < to_numpy(mask).size:
        proof = _proved(layer, x, run.dy, step)
    engines = sorted({visit.cache.engine for visit in run.visits if visit.recurrent})
    about = f"{layer!r}: x {tuple(x.shape)} {dtype_name(run.y.dtype)}, {', '.join(engines) or 'no recurrent layer'}"
    if run.loss is not None:
        about += f", loss {float(run.loss):.6g}"
    with np.errstate(all="ignore"):  # what is not finite is the tripwire's to say
        answers = (tripwire_of(run), ledger_of(run), flow_of(run, optimizer), proof)
        return Report(title, about, *answers, _explained(run, title))


def _proved(layer: Layer, x: Array, dy: Array | None, step: StepOptions) -> PaddingProof | str:
    if isinstance(layer, DroppedStack):
        return NO_PROOF + DRAWN
    try:
        layer.to(dtype="float64")
    except ValueError as reason:
        return f"{NO_PROOF}it is made in float64, and {reason}."
    state, dstate = step.get("state"), step.get("dstate")
    return padding(layer, x, dy, state=state, mask=step["mask"], dstate=dstate, seed=step.get("seed", 0))


def _explained(run: Run, title: str) -> Explanation | str:
    try:
        return explain_run(run, title=title)
    except ValueError as reason:
        return str(reason)
