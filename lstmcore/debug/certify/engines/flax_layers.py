"""Flax: RNN over its cells, with seq_lengths, by jax's own derivatives; of linen, and as flax:nnx of nnx."""

import functools
from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.jax_layers import compiled
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

CELLS = {"lstm": "OptimizedLSTMCell", "gru": "GRUCell", "rnn": "SimpleCell"}


def engine(kind: str, dtype: str, *words: str) -> tuple[str, Run]:
    if set(words) - {"nnx"}:
        raise ValueError(f"after flax may stand nnx; got {':'.join(words)}")
    import flax
    import flax.linen
    import flax.nnx
    import jax

    jax.config.update("jax_enable_x64", True)
    make = partial(_nnx, flax.nnx) if words else partial(_linen, flax.linen)

    @functools.cache
    def layer(*told: Theirs) -> Theirs:
        return compiled(jax, make(*told))

    return flax.__version__, partial(_run, layer, jax, dtype)


def _linen(nn: ModuleType, kind: str, dtype: str, I: int, H: int, backwards: bool) -> Theirs:
    """What runs one layer: (its arrays by the names of linen, x, initial carry, lengths) -> the final carry, y."""
    cell = getattr(nn, CELLS[kind])(H, dtype=dtype, param_dtype=dtype)
    run = nn.RNN(cell, reverse=backwards, keep_order=True, return_carry=True)

    def call(weights: Theirs, x: Theirs, begin: Theirs, lengths: Theirs) -> Theirs:
        return run.apply({"params": {"cell": weights}}, x, initial_carry=begin, seq_lengths=lengths)

    return call


def _nnx(nnx: ModuleType, kind: str, dtype: str, I: int, H: int, backwards: bool) -> Theirs:
    if kind == "gru":
        raise Refused("no bias b_hn in a GRUCell")
    cell = getattr(nnx, {"lstm": "LSTMCell", "rnn": "SimpleCell"}[kind])(
        I, H, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0)
    )
    made = nnx.RNN(cell, reverse=backwards, keep_order=True, return_carry=True)
    names = {"if": "if_"} if kind == "lstm" else {"i": "dense_i", "h": "dense_h"}

    def call(weights: Theirs, x: Theirs, begin: Theirs, lengths: Theirs) -> Theirs:
        graph, held, rest = nnx.split(made, nnx.Param, ...)
        nnx.replace_by_pure_dict(held, {"cell": {names.get(name, name): part for name, part in weights.items()}})
        return nnx.merge(graph, held, rest)(x, initial_carry=begin, seq_lengths=lengths)

    return call


def _nested(flat: dict[str, np.ndarray]) -> Plain:
    tree: Plain = {}
    for name, value in flat.items():
        *path, last = name.split("/")
        here = tree
        for part in path:
            here = here.setdefault(part, {})
        here[last] = value
    return tree


def _flat(tree: Theirs, before: str = "") -> dict[str, np.ndarray]:
    if not isinstance(tree, dict):
        return {before[:-1]: np.asarray(tree)}
    return {name: a for key, part in tree.items() for name, a in _flat(part, f"{before}{key}/").items()}


def _run(layer: Theirs, jax: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case)
    for there, why in (
        (case.topology == "towers", "no independent towers"),
        (case.mask is not None and case.lengths is None, "no mask with gaps"),
    ):
        if there:
            raise Refused(why)
    lengths = None if case.lengths is None else jax.numpy.asarray(case.lengths)
    x = np.ascontiguousarray(case.x.astype(dtype).swapaxes(0, 1))
    weights = [
        jax.tree.map(lambda a: jax.numpy.asarray(a.astype(dtype)), _nested(theirs(case, place, "flax")))
        for place in case.places
    ]
    given = list(zip(*states(case, "state0", dtype)))  # by place: (h, c) or (h,)
    per = len(case.places) // case.layers

    def pure(x: Theirs, given: Theirs, weights: Theirs) -> Theirs:
        last: list[Theirs] = []
        for k in range(case.layers):
            outputs = []
            for d in range(per):
                at = k * per + d
                backwards = case.direction == "reverse" or case.places[at].endswith("bw")
                run = layer(case.cell, dtype, x.shape[-1], case.H, backwards)
                begin = tuple(reversed(given[at])) if case.cell == "lstm" else given[at][0]  # Flax's carry is (c, h)
                end, y = run(weights[at], x, begin, lengths)
                outputs.append(y)
                last += reversed(end) if case.cell == "lstm" else [end]
            x = jax.numpy.concatenate(outputs, axis=-1)
        return [x, *last]

    upstream = [dy(case, dtype).swapaxes(0, 1)] + [s for pair in zip(*states(case, "dstate", dtype)) for s in pair]
    outputs, back = jax.vjp(pure, x, given, weights)
    dx, dstate0, dweights = back([jax.numpy.asarray(a) for a in upstream])
    names = [f"{place}.{s}" for place in case.places for s in case.states]
    found: dict[str, object] = {"y": np.asarray(outputs[0]).swapaxes(0, 1), "dx": np.asarray(dx).swapaxes(0, 1)}
    found |= {f"state/{name}": np.asarray(s) for name, s in zip(names, outputs[1:])}
    found |= {f"dstate0/{name}": np.asarray(s) for name, s in zip(names, (s for pair in dstate0 for s in pair))}
    for place, gradients in zip(case.places, dweights):
        found |= ours(case, place, "flax", _flat(gradients))
    return found
