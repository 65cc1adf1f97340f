"""What lstmcore has, as models, and the systems that they go to and come back from: the table of docs/features.md.

    python tests/features.py > docs/features.md      with torch, keras, onnx, onnxruntime, flax and equinox

Every entry is found by running: the model is written, the other system runs what was written on rows of unequal
lengths where it can, its outputs are held to lstmcore's, and what was written is read back and held to the model.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore.interop import read, to_equinox, to_keras, to_onnx, to_torch
from lstmcore.layers import Layer
from lstmcore.layers.tree import leaves

I, H, T, B = 3, 4, 7, 3
LENGTHS = np.array([5, T, 1])
SINGLE = 2e-5  # float32: outputs below 4, sums of fewer than 30 terms in each of 7 steps


def _lstm(**options) -> lc.LSTM:
    return lc.LSTM(I, H, **options)


def _both(merge: str = "concat", kind: type = lc.LSTM, **options) -> lc.Bidirectional:
    return lc.Bidirectional(kind(I, H, **options), kind(I, H, **options), merge=merge)


def _tower() -> Layer:
    return lc.Stack([_lstm(), lc.LSTM(H, H)])


FEATURES: dict[str, Callable[[], Layer]] = {
    "LSTM": _lstm,
    "GRU, reset gate after the product": lambda: lc.GRU(I, H),
    "GRU, reset gate before the product": lambda: lc.GRU(I, H, reset="before"),
    "RNN with tanh": lambda: lc.RNN(I, H),
    "RNN with relu": lambda: lc.RNN(I, H, activation="relu"),
    "no biases": lambda: _lstm(bias=False),
    "the final state alone": lambda: _lstm(return_sequences=False),
    "layers in a stack, dropout between": lambda: lc.Stack([_lstm(), lc.Dropout(0.2), lc.LSTM(H, H)]),
    "both directions, side by side": _both,
    "both directions, added": lambda: _both("sum"),
    "both directions, their mean": lambda: _both("mean", lc.GRU),
    "both directions, multiplied": lambda: _both("mul"),
    "both directions, apart": lambda: _both("none"),
    "both directions, final states": lambda: _both(kind=lc.GRU, return_sequences=False),
    "two directions that are not alike": lambda: lc.Bidirectional(_lstm(), lc.LSTM(I, 5, activation="relu",
                                                                                   cell_activation="relu")),
    "two independent towers": lambda: lc.Bidirectional(_tower(), _tower()),
    "backwards by itself": lambda: lc.Reversed(_lstm()),
    "backwards by itself, the final state": lambda: lc.Reversed(_lstm(return_sequences=False)),
    "batch first": lambda: lc.BatchFirst(_lstm()),
    "projection of h": lambda: _lstm(proj_size=2),
    "peepholes": lambda: _lstm(peepholes=True),
    "coupled gates, f = 1 - i": lambda: _lstm(coupled="f"),
    "coupled gates, i = 1 - f": lambda: _lstm(coupled="i"),
    "clip of c": lambda: _lstm(clip_c=0.3),
    "clip of the inputs of activations": lambda: _lstm(clip_a=0.4),
    "hard sigmoid, slope 1/5": lambda: _lstm(gate_activation=("hard_sigmoid", 0.2)),
    "hard sigmoid, slope 1/6": lambda: _lstm(gate_activation=("hard_sigmoid", 1 / 6)),
    "relu for both tanh": lambda: _lstm(activation="relu", cell_activation="relu"),
    "one tanh replaced": lambda: _lstm(activation="softsign"),
    "identity": lambda: lc.RNN(I, H, activation="identity"),
    "elu": lambda: lc.GRU(I, H, activation="elu"),
    "softplus": lambda: _lstm(activation="softplus", cell_activation="softplus"),
    "activations with alpha and beta": lambda: _lstm(
        activation=("scaled_tanh", 0.8, 0.6), cell_activation=("affine", 0.5, 0.1)),
    "layer normalisation": lambda: _lstm(layer_norm=True),
    "a state that is learned": lambda: lc.LearnedState(_lstm()),
    "a way around a layer": lambda: lc.Residual(lc.LSTM(I, I)),
    "dropout of h, the same at every step": lambda: lc.RecurrentDropout(_lstm(), h=0.2),
    "DropConnect on W_hh": lambda: lc.RecurrentDropout(_lstm(), W_hh=0.2),
    "zoneout of h and c": lambda: lc.RecurrentDropout(_lstm(), zoneout_h=0.1, zoneout_c=0.1),
    "dropout of the candidate": lambda: lc.RecurrentDropout(_lstm(), g=0.2),
    "dropout, one mask for a sequence": lambda: lc.Stack([_lstm(), lc.Dropout(0.2, per_sequence=True)]),
    "every k-th state kept (recompute)": lambda: _lstm(recompute=3),
    "Linear, Embedding, Dropout around it": lambda: lc.Stack(
        [lc.Embedding(9, I), _lstm(), lc.Dropout(0.1), lc.Linear(H, 2)]),
    "tanh, sigmoid, relu, softmax at the end": lambda: lc.Stack([_lstm(), lc.Linear(H, 2), lc.Softmax()]),
}  # fmt: skip


def made(feature: str) -> Layer:
    """The model in float32, its weights large enough that clips and hard sigmoids meet both of their sides."""
    model, rng = FEATURES[feature](), np.random.default_rng(0)
    for name in model.params:
        model.params[name] = rng.uniform(-1, 1, model.params[name].shape).astype("float32")
    return model.to(engine="reference")


def given(model: Layer) -> np.ndarray:
    rng = np.random.default_rng(1)
    if "Embedding" in repr(model):
        return rng.integers(0, 9, (T, B))
    x = rng.standard_normal((T, B, I)).astype("float32")
    return np.ascontiguousarray(x.swapaxes(0, 1)) if isinstance(model, lc.BatchFirst) else x


class Other:
    """A system: how it runs what was written for it, and how that is read back."""

    name: str
    lengths = True  # whether what is written takes them

    def write(self, model: Layer) -> object: ...

    def run(self, written, model: Layer, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray: ...

    def read(self, written, tell: Callable[[str], object]) -> Layer:
        return read(written, tell=tell)

    def words(self, written) -> str:
        """Where it went, if there are two places."""
        return ""


class Torch(Other):
    name = "torch"

    def write(self, model):
        return to_torch(model).eval()

    def run(self, written, model, x, lengths):
        import torch
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        with torch.no_grad():
            if not isinstance(written, torch.nn.RNNBase):
                y = written(torch.from_numpy(x), None if lengths is None else torch.from_numpy(lengths))
                return y.numpy()
            first = written.batch_first
            if lengths is None:
                return written(torch.from_numpy(x))[0].numpy()
            packed = pack_padded_sequence(torch.from_numpy(x), torch.from_numpy(lengths), first, enforce_sorted=False)
            return pad_packed_sequence(written(packed)[0], batch_first=first, total_length=T)[0].numpy()


class Keras(Other):
    name = "Keras 3"
    lengths = False

    def write(self, model):
        os.environ.setdefault("KERAS_BACKEND", "torch")  # read once, at Keras's first import
        return to_keras(model)

    def run(self, written, model, x, lengths):
        first = isinstance(model, lc.BatchFirst)
        y = written(x if first else np.ascontiguousarray(x.swapaxes(0, 1)), training=False).detach().numpy()
        return y if first or y.ndim == 2 else y.swapaxes(0, 1)


class Onnx(Other):
    name = "ONNX"

    def write(self, model):
        return to_onnx(model), to_onnx(model, lengths=True)

    def run(self, written, model, x, lengths):
        import onnx
        import onnxruntime

        graph = written[lengths is not None]
        onnx.checker.check_model(graph, full_check=True)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x} | ({} if lengths is None else {"lengths": lengths.astype("int32")}))[0]

    def read(self, written, tell):
        return read(written[0], tell=tell)


class Flax(Other):
    """nnx, and linen where nnx has it not. Without jit, which would compile every loop of every shape anew."""

    name = "Flax"

    def write(self, model):
        try:
            return lc.interop.to_flax(model), None
        except ValueError:
            return lc.interop.to_linen(model)

    def run(self, written, model, x, lengths):
        import jax

        module, variables = written
        call = module if variables is None else lambda *given, **said: module.apply(variables, *given, **said)
        first = isinstance(model, lc.BatchFirst)
        with jax.disable_jit():
            y = np.asarray(call(x if first else np.ascontiguousarray(x.swapaxes(0, 1)), seq_lengths=lengths))
        if lengths is not None and type(module).__name__ in ("RNN", "Bidirectional"):  # of no use beyond them
            y = y * (np.arange(T) < lengths[:, None]).reshape(B, T, *[1] * (y.ndim - 2))
        return y if first or y.ndim == 2 else y.swapaxes(0, 1)

    def read(self, written, tell):
        import jax

        module, variables = written
        with jax.disable_jit():
            return read(module, tell=tell, **({} if variables is None else {"params": variables}))

    def words(self, written):
        return "" if written[1] is None else " (linen)"


class Equinox(Other):
    """A cell, which is called step by step and row by row."""

    name = "Equinox"

    def write(self, model):
        return to_equinox(model)

    def run(self, written, model, x, lengths):
        first, inner = isinstance(model, lc.BatchFirst), getattr(model, "model", model)
        steps = x.swapaxes(0, 1) if first else x
        y, zero = np.zeros((T, B, H), x.dtype), np.zeros(H, x.dtype)
        final = np.zeros((B, H), x.dtype)
        for b in range(B):
            state = (zero, zero) if inner.cell.name == "lstm" else zero
            for t in range(T if lengths is None else lengths[b]):
                state = written(steps[t, b], state)
                y[t, b] = final[b] = state[0] if isinstance(state, tuple) else state
        return final if not inner.return_sequences else y.swapaxes(0, 1) if first else y


SYSTEMS: tuple[Other, ...] = (Torch(), Keras(), Onnx(), Flax(), Equinox())


def entry(feature: str, system: Other) -> tuple[str, str]:
    """What the table says, and why: "reads, writes" (run there, and read back), "writes", or "no" (refused by name)."""
    model = made(feature)
    x = given(model)
    try:
        written = system.write(model)
    except ValueError as refusal:
        return "no", str(refusal)
    want = model.predict(x)[0]
    assert np.abs(system.run(written, model, x, None) - want).max() < SINGLE
    if system.lengths:
        mask = lc.mask_from_lengths(LENGTHS, T)
        want = model.predict(x, mask=mask.T if isinstance(model, lc.BatchFirst) else mask)[0]
        assert np.abs(system.run(written, model, x, LENGTHS) - want).max() < SINGLE
    said: list[str] = []
    try:
        back = system.read(written, said.append)
    except ValueError as refusal:
        return "writes" + system.words(written), str(refusal)
    assert "; proved: " in said[0], said
    core = model.model if isinstance(model, lc.BatchFirst) else model
    for name, value in core.params.items():
        assert any(np.array_equal(value, other) for other in back.params.values()), name
    return "reads, writes" + system.words(written), said[0]


def engines(feature: str) -> str:
    """The engines that run it on a CPU."""
    fastest = {leaf.own_engine().NAME for _, leaf in leaves(FEATURES[feature]()) if isinstance(leaf, lc.Recurrent)}
    return ", ".join(dict.fromkeys(["reference", *fastest]))


HEAD = """# What lstmcore has, and where it goes

Each entry was found by running, and a test finds it again: what lstmcore writes (`lc.to_torch`, `lc.interop.to_keras`,
`lc.interop.to_onnx`, `lc.interop.to_flax`, `lc.interop.to_linen`, `lc.interop.to_equinox`, `lstmcore convert`), the
other system runs, on rows of unequal lengths where it takes such, and gives the same outputs to the rounding of
float32; what was written is read back (`lc.interop.read`) with every matrix the same bit for bit. "no": the system has
not got it, or lstmcore does not write it there; it is refused by the name of the feature.

Flax is nnx, or linen where nnx has it not (a GRU whose `b_hn` is zero goes to nnx as well). Equinox has cells and no
layers over time: what is written there is called step by step. Dropout is in nobody's outputs when a model is used, and
ONNX leaves it out.

"""


def page() -> str:
    rows = [["feature", "runs on", *(system.name for system in SYSTEMS)]]
    rows += [[f, engines(f), *(entry(f, system)[0] for system in SYSTEMS)] for f in FEATURES]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return HEAD + "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "features.md").write_text(page(), encoding="utf-8")
