"""Modules of Flax, nnx and linen: recurrent layers and cells, and models that run their layers one after the other.

A module says its options, the functions of its gates say. Its arrays are in it (nnx, and linen once bound), or beside
it (linen: params=). What a `__call__` of one's own does with the parts is tried, as for torch.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from flax import linen, nnx

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain, embedding, linear, recurrent
from lstmcore.interop.proof import LENGTHS, Differs, Proof, T, compare, flat, found_by_running, inputs
from lstmcore.layers import Bidirectional, Dropout, Layer, ReLU, Reversed, Sigmoid, Softmax, Tanh
from lstmcore.ops.masking import mask_from_lengths

CELLS = {"LSTMCell": "lstm", "OptimizedLSTMCell": "lstm", "GRUCell": "gru", "SimpleCell": "rnn"}
FUNCTIONS: dict[str, type[Layer]] = {"tanh": Tanh, "sigmoid": Sigmoid, "relu": ReLU, "softmax": Softmax}
ACTIVATIONS: dict[str, str | tuple[str | float, ...]] = {  # where they have other names or numbers here
    "soft_sign": "softsign", "hard_sigmoid": ("hard_sigmoid", 1 / 6), "leaky_relu": ("leaky_relu", 0.01),
}  # fmt: skip
ORDER = {"lstm": "ifgo", "gru": "rzn"}  # of the blocks, where nnx has them in one array
Tree: TypeAlias = Mapping[Any, Any]
Module: TypeAlias = nnx.Module | linen.Module


def read(
    thing: Module, *, dtype: str | None = None, params: Tree | None = None, **options: object
) -> tuple[Layer, Proof]:
    """params: of a linen module that is not bound, what its `init` gave.

    Raises ValueError, by name, for what lstmcore lacks, and if both sides disagree.
    """
    if options:
        raise TypeError(f"a module of Flax says its own options; got {', '.join(options)}")
    tree = _tree(thing, params)
    layers = list(_layers(thing, tree, dtype, type(thing).__name__))
    if _kind(thing) in CELLS:
        return chain(layers), _prove_cell(thing, tree, chain(layers))
    return _prove(thing, tree, layers)


def _tree(thing: Module, params: Tree | None) -> Tree:
    if isinstance(thing, nnx.Module):
        return nnx.to_pure_dict(nnx.state(thing, nnx.Param))
    if params is None and thing.scope is None:
        raise ValueError(
            f"a {type(thing).__name__} of linen does not hold its arrays: pass params=module.init(...), or hand over "
            "module.bind(variables)"
        )
    held: Tree = thing.variables if params is None else params
    return held.get("params", held)


def _kind(module: object) -> str:
    """The class of Flax that it is of."""
    first = next((k for k in type(module).__mro__ if k.__module__.startswith("flax.")), None)
    return "" if first in (None, nnx.Module, linen.Module) else first.__name__


def _in_order(module: linen.Module) -> bool:
    """Whether somebody's own module holds its parts in `layers`, one after the other, and not a number or sizes."""
    parts = getattr(module, "layers", None)
    return isinstance(parts, list | tuple) and all(isinstance(p, linen.Module) or callable(p) for p in parts)


def _layers(module: Any, tree: Tree, dtype: str | None, path: str) -> Iterator[Layer]:
    kind = _kind(module)
    if kind in CELLS:
        yield _cell(module, tree, dtype)
    elif kind == "RNN":
        (layer,) = _layers(module.cell, tree["cell"], dtype, f"{path}.cell")
        if module.reverse and not module.keep_order:
            raise ValueError(
                f"`{path}` runs backwards and gives its outputs in that order (keep_order=False); Reversed of lstmcore "
                "gives each at its own step"
            )
        yield Reversed(layer) if module.reverse else layer
    elif kind == "Bidirectional":
        ways = (getattr(module, name) for name in ("forward_rnn", "backward_rnn"))
        fw, bw = (
            _cell(way.cell, tree[name]["cell"], dtype) for way, name in zip(ways, ("forward_rnn", "backward_rnn"))
        )
        yield Bidirectional(fw, bw)
    elif kind == "List":
        for k, part in enumerate(module):
            yield from _layers(part, tree.get(k, {}), dtype, f"{path}[{k}]")
    elif isinstance(module, linen.Module) and (kind == "Sequential" or (not kind and _in_order(module))):
        for k, part in enumerate(module.layers):
            yield from _layers(part, tree.get(f"layers_{k}", {}), dtype, f"{path}.layers[{k}]")
    elif kind in ("Linear", "Dense"):
        yield linear(tree["kernel"], tree.get("bias"), dtype, path)
    elif kind == "Embed":
        yield embedding(tree["embedding"], dtype, path)
    elif kind == "Dropout":
        axes = tuple(module.broadcast_dims)
        if axes not in ((), (1,), (-2,)):
            raise ValueError(f"`{path}` draws one mask along the axes {axes}; lstmcore has that along time alone")
        yield Dropout(module.rate, per_sequence=bool(axes))
    elif not isinstance(module, nnx.Module | linen.Module):
        if getattr(module, "__name__", "") == "final_state":  # of what is written from here: running finds it
            return
        if getattr(module, "__name__", "") not in FUNCTIONS:
            raise ValueError(f"`{path}` is {module!r:.80}; of functions there are {', '.join(FUNCTIONS)}")
        yield FUNCTIONS[module.__name__]()
    elif kind not in ("", "Sequential") or isinstance(module, linen.Module):
        hint = "" if kind else " (what is in it only its __call__ says: hand over its layers one by one)"
        raise ValueError(f"`{path}` is a {type(module).__name__}, which lstmcore lacks{hint}")
    else:
        for name, part in vars(module).items():
            if isinstance(part, nnx.Module):
                yield from _layers(part, tree.get(name, {}), dtype, f"{path}.{name}")
            elif isinstance(part, nnx.Param):
                raise ValueError(f"`{path}` has an array of its own, `{name}`")


def _cell(cell: Any, tree: Tree, dtype: str | None) -> Layer:
    kind = CELLS.get(_kind(cell))
    if kind is None:
        raise ValueError(f"a {type(cell).__name__} is a cell that lstmcore lacks")
    if getattr(cell, "residual", False):
        raise ValueError("a SimpleCell with residual=True is a cell that lstmcore lacks")
    functions = (
        [cell.activation_fn] if kind == "rnn" else [cell.gate_fn, *[cell.activation_fn] * (1 + (kind == "lstm"))]
    )
    names = [getattr(function, "__name__", repr(function)) for function in functions]
    specs = [ACTIVATIONS.get(name, name) for name in names]
    (layer,) = recurrent(_by_gate(tree, kind), "flax", kind, dtype=dtype, activations=specs)
    return layer


def _by_gate(tree: Tree, kind: str) -> Plain:
    """The arrays by the names of linen, "if/kernel". nnx has `if_`, or all blocks side by side in dense_i, dense_h."""
    arrays = {f"{name.strip('_')}/{part}": np.asarray(a) for name, held in tree.items() for part, a in held.items()}
    if "dense_i/kernel" not in arrays:
        return arrays
    if kind == "rnn":
        return {f"{key[6:]}": value for key, value in arrays.items()}
    found: Plain = {}
    for key, value in arrays.items():
        side, part = key[6], key[8:]
        for gate, block in zip(ORDER[kind], np.split(value, len(ORDER[kind]), axis=-1)):
            found[f"{side}{gate}/{part}"] = block
    return found


# ---- proofs ----------------------------------------------------------------------------------------------------------


def _run(thing: Module, tree: Tree, *given: object, **options: Any) -> Any:
    if isinstance(thing, nnx.Module):
        twin = nnx.clone(thing)
        twin.eval()
        return twin(*given, **options)
    module = thing if thing.scope is None else thing.unbind()[0]
    return module.apply({"params": tree}, *given, **options)


def _prove_cell(thing: Module, tree: Tree, model: Layer) -> Proof:
    x = inputs(model)[0]
    zeros = np.zeros((len(x), len(model.params["W_hh"])), x.dtype)
    carry, _ = _run(thing, tree, (zeros, zeros) if CELLS[_kind(thing)] == "lstm" else zeros, x)
    want = [np.asarray(part) for part in (carry[::-1] if isinstance(carry, tuple) else (carry,))]  # (c, h) there
    error = compare(flat(model.to(engine="reference").step(x)[1]), want, float(np.finfo(x.dtype).eps))
    return Proof(error, "one step beside Flax on random input")


def _prove(thing: Module, tree: Tree, layers: list[Layer]) -> tuple[Layer, Proof]:
    """Which reading of the parts gives what the module gives."""
    x = inputs(chain(layers))
    alone = _kind(thing) in ("RNN", "Bidirectional")
    parts = [part for _, part in nnx.iter_graph(thing)] if isinstance(thing, nnx.Module) else [thing]
    parts += getattr(thing, "layers", ())
    order = not any(getattr(part, "time_major", False) for part in parts)
    given = np.ascontiguousarray(x.swapaxes(0, 1)) if order else x
    words = "run beside Flax on random input" + (" of unequal lengths" if alone else "")
    words += ", batch first there: here x is (T, B, I)" if order else ""
    try:
        answer = _run(thing, tree, given, **({"seq_lengths": LENGTHS} if alone else {}))
    except Exception as reason:  # whatever somebody's own __call__ wants besides
        return chain(layers), Proof(None, f"it does not run on {given.shape} alone ({reason!s:.100})")
    answer = answer[-1] if isinstance(answer, tuple) else answer  # (carry, y)
    want = np.asarray(answer)
    want = want.swapaxes(0, 1) if order and want.ndim > 2 else want
    mask = mask_from_lengths(LENGTHS, T) if alone else None
    if mask is not None:  # what stands beyond is not ours
        want = np.where(mask.reshape(*mask.shape, *[1] * (want.ndim - 2)), want, 0)
    found = found_by_running(layers, layers, x, want, float(np.finfo(want.dtype).eps), mask)
    if found is None:
        raise Differs(
            f"{type(thing).__name__} gives something else than its parts in order, {chain(layers)!r}: read its "
            "recurrent layers one by one"
        )
    return chain(found.layers), Proof(found.error, words + found.note)
