"""The hooks of `watch` in a recurrent layer of Keras 3, on the torch and the jax backend.

A Bidirectional is watched as its two layers: each direction's own outputs and gradients are compared, whatever it makes
of them afterwards.
"""

import keras
import numpy as np

from lstmcore.arrays import Plain, State
from lstmcore.debug.watch.keras_direction import Direction, came_back
from lstmcore.debug.watch.keras_taps import TAPS
from lstmcore.debug.watch.seen import PRECISIONS, Call, Notes, Seen
from lstmcore.interop.build import refuse
from lstmcore.interop.read.keras_config import CELLS, options_of

FUSED = ("_can_attempt_fused_lstm", "_can_attempt_fused_gru")  # both directions in one kernel, past both layers


class Recorder:
    """Notes the calls of one layer. Raises ValueError for what lstmcore lacks, TypeError for another layer."""

    def __init__(self, layer: keras.layers.Layer):
        self.layer = layer
        self.both = isinstance(layer, keras.layers.Bidirectional)
        parts = [layer.forward_layer, layer.backward_layer] if self.both else [layer]
        found = [_cell(part) for part in parts]
        if keras.backend.backend() not in TAPS:
            raise ValueError(f"Keras can be watched on {' and '.join(TAPS)}; it runs on {keras.backend.backend()}")
        if any(other != found[0] for other in found):
            raise ValueError(f"`module` should have two directions that are alike; got {found[0]} and {found[1]}")
        self.cell, self.options = found[0]
        if self.both and (parts[0].go_backwards or not parts[1].go_backwards):
            raise ValueError("`module` should be a Bidirectional whose first direction goes forwards")
        self.directions = [Direction(part) for part in parts]

    def attach(self) -> None:
        for direction in self.directions:
            direction.attach()
        for name in FUSED if self.both else ():
            object.__setattr__(self.layer, name, lambda *_, **__: False)

    def detach(self) -> None:
        for name in FUSED if self.both else ():
            object.__delattr__(self.layer, name)
        for direction in self.directions:
            direction.detach()
        if keras.backend.backend() == "jax":
            import jax

            jax.effects_barrier()  # until every callback has come back

    def seen(self) -> Seen:
        """All of it in lstmcore's terms."""
        every = [direction.whole() for direction in self.directions]
        calls = every[0]
        obstacles = tuple(dict.fromkeys(text for direction in self.directions for text in direction.obstacles))
        if not calls and not obstacles:
            raise RuntimeError(
                "the watched layer was not called inside the with block, or in a function compiled before it "
                "(compile anew: model.make_train_function(force=True))"
            )
        if not calls:
            raise RuntimeError(f"this step cannot be replayed: {obstacles[0]}")
        if not any(came_back(call) for call in calls):
            raise RuntimeError("no gradient came back: differentiate the loss inside the with block")
        weights: Notes = {}
        grads: Notes = {}
        for direction, noted, path in zip(self.directions, every, ("forward/", "backward/") if self.both else ("",)):
            for name in direction.weights:
                if any(c[f"{name}, times"] > 1 or np.any(c[name] != noted[0][name]) for c in noted):
                    raise RuntimeError("watch one training step at a time: the layer ran in two")
                weights[path + name] = noted[0][name]
                parts = [c[f"d{name}"] for c in noted if f"d{name}" in c]
                grads |= {path + name: np.sum(parts, axis=0)} if parts else {}
        notes: list[str] = []
        told = [[d.told(call, notes) for call in noted] for d, noted in zip(self.directions, every)]
        if self.both and self.layer.merge_mode != "concat":
            notes.append(
                f"merge_mode={self.layer.merge_mode!r} comes after what is compared: y here is both directions side by "
                "side"
            )
        formats = {name for direction in self.directions for name in direction.formats}
        precision = max(formats & PRECISIONS.keys(), key=lambda name: PRECISIONS[name].eps)
        if precision != self.layer.variable_dtype:
            notes.append(
                f"computed in {precision} where the weights are {self.layer.variable_dtype}: compared as far as its "
                f"rounding, {PRECISIONS[precision].eps:.1e}, tells"
            )
        return Seen(
            "keras", self.cell, self.options, weights, grads,
            tuple(_beside(*parts) if self.both else parts[0] for parts in zip(*told, strict=True)),
            self.directions[0].layer.return_sequences, precision, tuple(dict.fromkeys(notes)), (), obstacles,
        )  # fmt: skip


def _cell(layer: keras.layers.Layer) -> tuple[str, Plain]:
    """Which cell a layer runs, and the options of the lstmcore layer. Raises TypeError and ValueError, by name."""
    kind = type(layer).__name__
    if not isinstance(layer, keras.layers.RNN):
        inside = [part for part in getattr(layer, "layers", ()) if isinstance(part, RECURRENT)]
        hint = f": of this model watch {', '.join(part.name for part in inside)}" if inside else ""
        raise TypeError(f"`module` should be a Keras 3 LSTM, GRU, SimpleRNN, RNN or Bidirectional; got {kind}{hint}")
    kinds = [base.__name__ for base in type(layer.cell).__mro__ if base.__module__.startswith("keras.")]
    if kinds[0] not in CELLS:
        raise ValueError(f"`module` should run a cell of Keras's own; got {type(layer.cell).__name__}")
    if not layer.built:
        raise ValueError("`module` should be built: call the model once before the watch")
    if layer.zero_output_for_mask and not layer.return_sequences:
        raise ValueError("`module` should return sequences if it has zero_output_for_mask")
    cell = CELLS[kinds[0]]
    bias = {} if getattr(layer.cell, "use_bias", True) else {"bias": False}
    return cell, refuse(cell, options_of(cell, layer.cell.get_config())) | bias


RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)


def _beside(fw: Call, bw: Call) -> Call:
    """Both directions as one call: y, dy side by side, the second in the order of time."""
    sequences = fw.y.ndim == 3

    def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, b[::-1] if sequences else b], axis=-1)

    def both(name: str) -> State | None:
        pair = getattr(fw, name), getattr(bw, name)
        return None if pair == (None, None) else pair

    dx = None if fw.dx is None or bw.dx is None else fw.dx + bw.dx[::-1]
    drawn = {place: of.drawn[""] for place, of in (("fw", fw), ("bw", bw)) if of.drawn}
    return Call(
        fw.x, both("state"), fw.mask, joined(fw.y, bw.y), joined(fw.dy, bw.dy), both("dstate"), dx, both("dstate0"),
        drawn,
    )  # fmt: skip
