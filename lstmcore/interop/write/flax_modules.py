"""A model as a module of Flax: of nnx, which holds its arrays, or of linen, beside which they stand."""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TypeAlias, cast

import numpy as np

try:
    import jax
    from flax import linen, nnx
except ImportError as error:
    raise ImportError(f"a module of Flax is made by Flax: pip install flax ({error})") from None
from jax import nn
from jax import numpy as jnp

from lstmcore.arrays import Plain
from lstmcore.interop.host import on_host
from lstmcore.interop.read.flax_modules import ORDER
from lstmcore.interop.write.blocks import Block, Run, blocks, time_major
from lstmcore.layers import Dropout, Embedding, Last, Layer, Linear, ReLU, Sigmoid, Softmax, Tanh
from lstmcore.ops.cells.activations import Spec

Function: TypeAlias = Callable[..., jax.Array]
Part: TypeAlias = nnx.Module | linen.Module | Function
Made = tuple[Part, Plain]  # and its arrays as linen has them

CELLS = {"lstm": "LSTMCell", "gru": "GRUCell", "rnn": "SimpleCell"}
FUNCTIONS: dict[type[Layer], Function] = {Tanh: nn.tanh, Sigmoid: nn.sigmoid, ReLU: nn.relu, Softmax: nn.softmax}
ACTIVATIONS: dict[Spec, Function] = {
    ("tanh",): nn.tanh, ("sigmoid",): nn.sigmoid, ("relu",): nn.relu, ("softsign",): nn.soft_sign,
    ("softplus",): nn.softplus, ("elu", 1.0): nn.elu, ("hard_sigmoid", 1 / 6, 0.5): nn.hard_sigmoid,
    ("leaky_relu", 0.01): nn.leaky_relu, ("identity",): nn.identity,
}  # fmt: skip
MERGES: dict[str, Function] = {
    "concat": lambda fw, bw: jnp.concatenate((fw, bw), -1),
    "sum": lambda fw, bw: fw + bw,
    "mean": lambda fw, bw: (fw + bw) / 2,
    "mul": lambda fw, bw: fw * bw,
    "none": lambda fw, bw: jnp.stack((fw, bw), -2),
}
OPTIONS = {"lstm": ("gate_activation", "activation", "cell_activation"), "gru": ("gate_activation", "activation"),
           "rnn": ("activation",)}  # fmt: skip


def to_flax(model: Layer) -> nnx.Module:
    """The model as a module of nnx, with these weights; batch first, as Flax has it: (B, T, I), or classes (B, T).

    One recurrent layer that gives all its outputs is nnx.RNN or nnx.Bidirectional itself, whose outputs beyond
    seq_lengths are of no use; another model is a module whose call(x, seq_lengths=None) gives zero there. Dropout rests
    until module.train(). Raises ValueError for a layer or an option that nnx lacks: a GRU's b_hn, say, which linen has.
    """
    made = _made(model, nnx)
    parts = [part for part, _ in made]
    module, tree = (cast(nnx.Module, parts[0]), made[0][1]) if _alone(parts) else (_Nnx(parts), _tree(made, {}))
    state = nnx.state(module, nnx.Param)
    nnx.replace_by_pure_dict(state, tree)
    nnx.update(module, state)
    module.eval()
    return module


def to_linen(model: Layer) -> tuple[linen.Module, Plain]:
    """The model as a module of linen, and its variables: `module.apply(variables, x)`, and else as `to_flax`."""
    made = _made(model, linen)
    parts = [part for part, _ in made]
    whole = _Linen(tuple(parts)), _tree(made, "layers_{}")
    module, tree = (cast(linen.Module, parts[0]), made[0][1]) if _alone(parts) else whole
    return module, {"params": jax.tree_util.tree_map(jnp.asarray, tree)}


class _Nnx(nnx.Module):
    """Layers of nnx one after the other, each recurrent one with the lengths of the rows."""

    def __init__(self, layers: list[Part]):
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array, seq_lengths: jax.Array | None = None) -> jax.Array:
        return _through(self.layers, x, seq_lengths)


class _Linen(linen.Module):
    """The same of linen."""

    layers: tuple[Part, ...]

    @linen.compact
    def __call__(self, x: jax.Array, seq_lengths: jax.Array | None = None, deterministic: bool = True) -> jax.Array:
        return _through(self.layers, x, seq_lengths, deterministic=deterministic)


def _through(layers: Iterable[Part], x: jax.Array, lengths: jax.Array | None, deterministic: bool = True) -> jax.Array:
    for layer in layers:
        if isinstance(layer, nnx.RNN | nnx.Bidirectional | linen.RNN | linen.Bidirectional):
            x = cast(jax.Array, layer(x, seq_lengths=lengths))  # a pair only with return_carry
        elif getattr(layer, "__name__", "") == "final_state":
            x = layer(x, lengths)
        else:
            x = layer(x, deterministic) if isinstance(layer, linen.Dropout) else layer(x)
    if lengths is None or x.ndim < 3:
        return x
    real = jnp.arange(x.shape[1]) < lengths[:, None]  # (B, T)
    return jnp.where(real.reshape(*real.shape, *[1] * (x.ndim - 2)), x, 0)


def _final(run: Run) -> Function:
    """What takes the final states (B, H) out of all outputs (B, T, H) of a layer, the last real one of each row; of
    flipped time the first."""

    def final_state(y: jax.Array, lengths: jax.Array | None) -> jax.Array:
        last = y[:, -1] if lengths is None else y[jnp.arange(len(y)), lengths - 1]
        if run.reverse:
            last = y[:, 0]
        if run.bidirectional:
            fw, bw = last[:, : run.hidden_size], y[:, 0, run.hidden_size :]
            last = MERGES[run.merge](fw, bw)
        return last if lengths is None else jnp.where(lengths[:, None] > 0, last, 0)

    return final_state


def _alone(parts: list[Part]) -> bool:
    return len(parts) == 1 and isinstance(parts[0], nnx.Module | linen.Module)


def _made(model: Layer, room: ModuleType) -> list[Made]:
    model, _ = time_major(model)
    kinds = {a.dtype for a in on_host(model.params).values()}
    if np.dtype("float64") in kinds and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            'JAX would round float64 to float32: jax.config.update("jax_enable_x64", True) before, or '
            'hand over model.to(dtype="float32")'
        )
    return [part for block in blocks(model, joined=False) for part in _parts(block, room)]


def _parts(block: Block, room: ModuleType) -> Iterator[Made]:
    """The parts of Flax that one block is, with their arrays."""
    rngs = {"rngs": nnx.Rngs(0)} if room is nnx else {}
    if isinstance(block, Run):
        layer, arrays = _recurrent(block, room)
        yield layer, arrays
        if not block.return_sequences:
            yield _final(block), {}
    elif isinstance(block, Last):
        yield _final(Run("rnn", 0, 0, (), False, False, {})), {}
    elif isinstance(block, Linear | Embedding):
        params = on_host(block.params)
        sizes = {"param_dtype": params["W"].dtype, "dtype": params["W"].dtype}
        if isinstance(block, Embedding):
            first = {"num_embeddings": block.classes, "features": block.output_size}
            yield room.Embed(**first, **sizes, **rngs), {"embedding": params["W"]}
            return
        given = (block.input_size, block.output_size) if room is nnx else (block.output_size,)
        kind = room.Linear if room is nnx else room.Dense
        arrays = {"kernel": params["W"]} | ({"bias": params["b"]} if block.bias else {})
        yield kind(*given, use_bias=block.bias, **sizes, **rngs), arrays
    elif isinstance(block, Dropout):
        yield room.Dropout(block.p, broadcast_dims=(1,) if block.per_sequence else (), **rngs), {}
    elif type(block) in FUNCTIONS:
        yield FUNCTIONS[type(block)], {}
    else:
        raise ValueError(f"{block!r} is a layer that Flax lacks")


def _recurrent(run: Run, room: ModuleType) -> Made:
    run.refuse("Flax", OPTIONS[run.cell])
    if run.cell == "lstm" and run.activation("cell_activation") != run.activation("activation"):
        raise ValueError(f"{run.layers[0]!r} has two activations, of the candidate and of c; Flax has one for both")
    if not run.bidirectional:
        turned = {"reverse": True, "keep_order": True} if run.reverse else {}
        return room.RNN(_cell(run, room), **turned), {"cell": _arrays(run.weights("flax"), run, room)}
    whole, merge = run.weights("flax"), run.merge if run.return_sequences else "concat"
    ways = {way: {k.removeprefix(f"{way}/"): v for k, v in whole.items() if k.startswith(way)}
            for way in ("forward_rnn", "backward_rnn")}  # fmt: skip
    layer = room.Bidirectional(room.RNN(_cell(run, room)), room.RNN(_cell(run, room)), merge_fn=MERGES[merge])
    return layer, {way: {"cell": _arrays(arrays, run, room)} for way, arrays in ways.items()}


def _cell(run: Run, room: ModuleType) -> Part:
    functions = {"activation_fn": _function(run, "activation")}
    if run.cell != "rnn":
        functions["gate_fn"] = _function(run, "gate_activation")
    kind = next(iter(on_host(run.layers[0].params).values())).dtype
    given = (run.input_size, run.hidden_size) if room is nnx else (run.hidden_size,)
    rngs = {"rngs": nnx.Rngs(0)} if room is nnx else {}
    return getattr(room, CELLS[run.cell])(*given, **functions, dtype=kind, param_dtype=kind, **rngs)


def _function(run: Run, option: str) -> Function:
    spec = run.activation(option)
    if spec not in ACTIVATIONS:
        names = ", ".join(str(name[0]) for name in ACTIVATIONS)
        raise ValueError(f"{run.layers[0]!r} has {option}={spec}, which Flax lacks: it has {names}")
    return ACTIVATIONS[spec]


def _arrays(arrays: dict[str, np.ndarray], run: Run, room: ModuleType) -> Plain:
    """Arrays by the names of linen ("ii/kernel") as a tree; for nnx, which has a GRU's blocks side by side."""
    if room is nnx and run.cell == "gru":
        if np.any(arrays.pop("hn/bias")):
            raise ValueError(
                f"{run.layers[0]!r} has a bias b_hn that is not zero, which the GRUCell of Flax's nnx lacks; that of "
                "linen has it (lc.interop.to_linen)"
            )
        sides = {f"{side}/{part}": [f"{side}{gate}/{part}" for gate in ORDER["gru"]]
                 for side, part in (("i", "kernel"), ("i", "bias"), ("h", "kernel"))}  # fmt: skip
        arrays = {name: np.concatenate([arrays[key] for key in keys], -1) for name, keys in sides.items()}
    tree: Plain = {}
    for key, value in arrays.items():
        name, part = key.split("/")
        if room is nnx:
            name = {"if": "if_", "i": "dense_i", "h": "dense_h"}.get(name, name)
        tree.setdefault(name, {})[part] = value
    return tree


def _tree(made: list[Made], name: str | Plain) -> Plain:
    """The arrays of layers by their places: "layers_0" of linen, layers/0 of nnx."""
    places = {k: arrays for k, (_, arrays) in enumerate(made) if arrays}
    return {name.format(k): arrays for k, arrays in places.items()} if isinstance(name, str) else {"layers": places}
