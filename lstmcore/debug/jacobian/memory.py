"""How long does it remember? The Jacobians of every recurrent layer of a model, told as a table and in words.

The numbers are those of jacobian.py. A layer's memory is bounded by the largest singular value of d s_t / d s_start,
s = (h, c): it is 1 at the start, and what is below a hundredth of it no gradient will find again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Unpack

import numpy as np

from lstmcore.arrays import Array
from lstmcore.debug.jacobian.jacobian import lyapunov_exponents, memory_horizon, singular_values
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.picture import PLAIN, panels
from lstmcore.debug.show.tables import paragraphs, spans, table
from lstmcore.debug.step.visits import StepOptions, Upstream, Visit, run_step
from lstmcore.layers import Layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROWN = 10.0  # a largest singular value above this is called growth


class LayerMemory(NamedTuple):
    """One recurrent layer. Steps count in the layer's own order: from the end, in a backward direction."""

    name: str  # where it stands: "", "0", "0.fw"
    direction: str
    singular: np.ndarray  # (T - start + 1, B, n) of d s_t / d s_start, the largest first
    horizon: np.ndarray  # (B,) real steps until the largest is below the fraction; infinity if never
    exponents: np.ndarray  # (B, n) nats per real step


@dataclass(frozen=True)
class Memory:
    """The answer. Prints its findings, then singular values over the steps and the exponents."""

    layers: tuple[LayerMemory, ...]
    start: int
    fraction: float
    unseen: tuple[str, ...] = ()  # layers whose steps are not seen, in words

    @property
    def findings(self) -> tuple[str, ...]:
        """The verdict in words, one per layer."""
        return (*(f"{layer.name or 'the layer'}: {self._finding(layer)}" for layer in self.layers), *self.unseen)

    def _finding(self, layer: LayerMemory) -> str:
        largest = float(np.nanmax(layer.singular[:, :, 0]))
        lost = layer.horizon[np.isfinite(layer.horizon)]
        if largest > GROWN:
            at = int(np.argmax(layer.singular[:, :, 0].max(axis=1)))
            return f"grows: a small change of the state is up to {largest:.3g} times as large {at} steps later"
        if len(lost) == 0:
            return (
                f"remembers: after {len(layer.singular) - 1} steps more than {self.fraction:.0%} is left in every row"
            )
        rows = f"in {len(lost)} of {len(layer.horizon)} rows " if len(lost) < len(layer.horizon) else ""
        few, many = int(lost.min()), int(lost.max())
        steps = f"{few}" if few == many else f"{few} to {many}"
        return f"forgets: less than {self.fraction:.0%} of the state is left {rows}after {steps} steps"

    def __str__(self) -> str:
        parts = [paragraphs(self.findings)]
        for layer in self.layers:
            exponents = layer.exponents[~np.isnan(layer.exponents).any(axis=1)]
            ends = f"{exponents.max():+.3g} to {exponents.min():+.3g}" if len(exponents) else "none: no real step"
            rows = [
                [str(s.start), *(f"{value:.2e}" for value in (at[:, 0].max(), np.median(at[:, 0]), np.median(at)))]
                for _, s in spans(len(layer.singular), 32)
                for at in [layer.singular[s][0]]
            ]
            title = f"{layer.name or 'the layer'}, {layer.direction}; Lyapunov exponents {ends} nats per step"
            parts.append(table(["steps", "largest", "median row", "median direction"], rows, title))
        return "\n\n".join(parts)

    def picture(self) -> "Figure":
        """The singular values over the steps, per layer, rows averaged. Needs matplotlib; returns its Figure."""
        figure, axes = panels(*[2.4] * len(self.layers))
        for axis, layer in zip(axes, self.layers):
            with np.errstate(divide="ignore"):
                means = np.exp(np.log(layer.singular).mean(axis=1))  # geometric: (T - start + 1, n)
            axis.plot(np.where(means > 0, means, np.nan), lw=0.8)
            axis.axhline(self.fraction, color=PLAIN, ls=":")
            title = f"{layer.name or 'the layer'}, {layer.direction}"
            axis.set(yscale="log", xlabel="steps", ylabel="singular values")
            axis.set_title(title, fontsize="medium")
        return figure

    _repr_html_ = notebook


def memory(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    start: int = 0,
    fraction: float = 0.01,
    **step: Unpack[StepOptions],
) -> Memory:
    """Looks at the Jacobians of every recurrent layer of `layer` on this input.

    layer: any layer, container or model, on any engine; x, state, mask, dropout_seed as in `ledger`; dy and dstate are
    taken as other tools take them, and change nothing: the Jacobians know no loss. start: the state that is to be
    remembered, 0 the initial one; fraction: what counts as forgotten. Cost: T n^2 numbers per row (n = 2H for LSTM,
    else H) and as many singular value decompositions as there are steps and rows: a few rows are enough. Raises
    ValueError for a start beyond the sequence, and whatever the layer raises for bad input.
    """
    run = run_step(layer, x, dy, **step)
    layers = tuple(_look(visit, start, fraction) for visit in run.visits if visit.recurrent)
    return Memory(layers, start, fraction, run.unseen)


def _look(visit: Visit, start: int, fraction: float) -> LayerMemory:
    layer, cache = visit.as_recurrent()
    return LayerMemory(
        visit.name,
        visit.direction,
        singular_values(layer, cache, start),
        memory_horizon(layer, cache, start, fraction),
        lyapunov_exponents(layer, cache),
    )
