"""How gradients flow through time: where they vanish or explode, which gates are shut, which units are dead.

The gain of step t is the norm of what step t hands on to step t-1, over the norm of what arrived at it (at h and c
together), so upstream gradients that enter on the way do not hide what is lost. Gains multiply: 0.8 per step is a
thousandth after 31 steps, 1.3 per step a thousandfold after 26.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.debug.flow.measure import LayerFlow, Update, layer_flow, norm
from lstmcore.debug.flow.words import calm, layer_worries, update_worries
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.picture import legend, panels
from lstmcore.debug.show.tables import bars, paragraphs, percent, spans, table
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, run_step
from lstmcore.layers import Layer
from lstmcore.train.update.optimizer import Optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Flow:
    """The answer. Prints its findings, then the curves as bars and numbers."""

    layers: tuple[LayerFlow, ...]
    updates: tuple[Update, ...]
    unseen: tuple[str, ...] = ()  # layers whose steps are not seen, in words

    @property
    def findings(self) -> tuple[str, ...]:
        """The verdict in words: of each layer its worries, or that there are none; then the weights'."""
        found = [line for layer in self.layers for line in (list(layer_worries(layer)) or [calm(layer)])]
        return (*found, *self.unseen, *update_worries(self.updates, self.one_step))

    @property
    def worries(self) -> tuple[str, ...]:
        """The findings that are a cause for worry."""
        return (
            *(line for layer in self.layers for line in layer_worries(layer)),
            *update_worries(self.updates, self.one_step),
        )

    @property
    def one_step(self) -> bool:
        """True if no recurrent layer was given more than one step."""
        return bool(self.layers) and all(len(layer.order) == 1 for layer in self.layers)

    @property
    def ok(self) -> bool:
        """True if nothing vanishes, explodes, is stuck, dead or wrongly scaled."""
        return not self.worries

    def __str__(self) -> str:
        parts = [paragraphs(self.findings)]
        for layer in self.layers:
            title = f"{layer.name or 'the layer'}, {layer.direction}"
            header = ["step", "rows", *(f"|{name}|" for name in layer.dstates), "gain", "left"]
            left = np.empty_like(layer.gain)
            left[layer.order] = layer.reach
            rows = []
            for label, s in spans(len(layer.rows), 32):
                middle = slice((s.start + s.stop) // 2, (s.start + s.stop) // 2 + 1)
                numbers = [*(values[middle][0] for values in layer.dstates.values()), layer.gain[middle][0]]
                rows.append(
                    [label, f"{layer.rows[middle][0]}", *(f"{v:.2e}" for v in numbers), f"{left[middle][0]:.1e}"]
                )
            parts.append(table(header, rows, title))
            rows = [
                [
                    gate,
                    layer.words[gate],
                    percent(layer.fraction(gate, "low")),
                    percent(layer.fraction(gate, "high")),
                    bars(np.nan_to_num(np.maximum(layer.low[:, k], layer.high[:, k]))),
                    f"{len(layer.stuck.get(gate, ()))}",
                ]
                for k, gate in enumerate(layer.gates)
                if gate in layer.ends
            ]
            parts.append(table(["gate", "", "low end", "high end", "over the steps", "stuck units"], rows))
        rows = [
            [
                u.name,
                f"{u.weight:.2e}",
                f"{u.gradient:.2e}",
                "" if u.update is None else f"{u.update:.2e}",
                "" if u.ratio is None else f"{u.ratio:.1e}",
            ]
            for u in self.updates
        ]
        parts.append(table(["weight", "|W|", "|dW|", "|update|", "update / weight"], rows))
        return "\n\n".join(parts)

    def picture(self) -> "Figure":
        """Curves of |dh| and |dc| and of the gates' ends, per layer. Needs matplotlib; returns its Figure."""
        figure, axes = panels(*[2.2] * (2 * len(self.layers)))
        for arriving, ends, layer in zip(axes[::2], axes[1::2], self.layers):
            title = f"{layer.name or 'the layer'}, {layer.direction}"
            for name, values in layer.dstates.items():
                arriving.plot(np.where(values > 0, values, np.nan), label=f"|{name}|")
            arriving.set(yscale="log", xlabel=f"step ({title})", ylabel="norm")
            for k, gate in enumerate(layer.gates):
                if gate in layer.ends:
                    line = ends.plot(layer.low[:, k], label=layer.words[gate])[0]
                    ends.plot(layer.high[:, k], ls="--", color=line.get_color())
            ends.set(xlabel=f"step ({title})", ylabel="at low end; high: dashed", ylim=(-0.02, 1.02))
            legend(arriving, columns=4)
            legend(ends, columns=4)
        return figure

    _repr_html_ = notebook


def flow(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    optimizer: Optimizer | None = None,
    **step: Unpack[StepOptions],
) -> Flow:
    """Watches the gradients of h and c over time, the gates and the weights of one training step.

    Arguments as in `ledger`. optimizer: one of lstmcore.train; a copy of it makes the step on a copy of the weights, to
    tell how large its updates are beside them. Cost: one loop back more; at (31, 200, 21, 64) 2.2 forward + backward
    passes of fused-cpu in all, 1.3 of the reference engine. Raises what the layer raises for bad input.
    """
    return flow_of(run_step(layer, x, dy, **step), optimizer)


def flow_of(run: Run, optimizer: Optimizer | None = None) -> Flow:
    """The flow of a training step that was recorded."""
    params = run.layer.params
    layers = tuple(layer_flow(visit) for visit in run.visits if visit.recurrent and visit.grads)
    new = None
    if optimizer is not None:
        new = {name: namespace(a).asarray(a, copy=True) for name, a in params.items()}
        copy.deepcopy(optimizer).step(new, {name: namespace(g).asarray(g, copy=True) for name, g in run.grads.items()})
    updates = [
        Update(name, norm(params[name]), norm(g), None if new is None else norm(new[name] - params[name]), g.ndim < 2)
        for name, g in run.grads.items()
    ]
    return Flow(layers, tuple(updates), run.unseen)
