"""Checks at the public edge. A complaint says what, what was expected in letters and numbers, what came, and why.

Called before anything is changed; below the layers nothing is checked again (compiled kernels have no bounds checks).
What is recorded, to be done later, has no values yet: there shapes and kinds are checked, and no value.
Shapes of the wrong size raise ValueError, things of the wrong kind (type, dtype, library) TypeError.
"""

from collections.abc import Sequence

import numpy as np

from lstmcore.arrays import Array, State, dtype_name, is_array, is_float32_or_64, is_recorded, library_name, namespace

SWAPPED = "are batch and time swapped? x is (T, B, I)"  # asked where there is but one step


def check_array(name: str, value: object, like: Array) -> None:
    """`value` is a floating array of the library and dtype of `like` (the layer's parameters)."""
    if type(value) is type(like) and value.dtype == like.dtype:
        return  # this line decides nearly always: checks are a good part of a small layer's time
    if not is_array(value):
        raise TypeError(
            f"`{name}` should be an array of {library_name(like)}; got {type(value).__name__}"
            + {"torch": " (a tensor: pass lc.from_dlpack(tensor.detach()))"}.get(library_name(value), "")
            + {"list": " (pass numpy.asarray(...))", "tuple": " (a state given as input?)"}.get(library_name(value), "")
        )
    _refuse_masked(name, value)
    if library_name(value) != library_name(like):
        raise TypeError(
            f"`{name}` should be an array of {library_name(like)}, as the parameters are; got one of "
            f"{library_name(value)} (move one of the two: layer.to(array=...), lc.to_gpu, lc.to_cpu)"
        )
    if value.dtype == like.dtype:
        return
    expected, got = dtype_name(like.dtype), dtype_name(value.dtype)
    if got == expected:
        raise TypeError(
            f"`{name}` should be {expected} in the byte order of this machine; got the other order "
            f'(read from a file? pass {name}.astype("{expected}"))'
        )
    if got.startswith(("int", "uint", "bool")):
        raise TypeError(
            f"`{name}` should be {expected}; got {got} (integers: class indices go through lc.Embedding, "
            f'numbers through {name}.astype("{expected}"))'
        )
    other = f', or build the layer with dtype="{got}"' if is_float32_or_64(value.dtype) else ""
    raise TypeError(
        f"`{name}` should be {expected}, as the parameters are; got {got} (mixed dtypes: "
        f'{name}.astype("{expected}"){other})'
    )


def check_sequence(name: str, x: Array, I: int, like: Array, mask: Array | None = None, fixed_by: str = "W_ih") -> None:
    """`x` is (T, B, I), with at least one step and one row."""
    check_array(name, x, like)
    if x.ndim != 3 or x.shape[-1] != I:
        wanted = f"`{name}` should be (T, B, I) with I = {I}, as {fixed_by} fixes it; got {tuple(x.shape)}"
        if x.ndim != 3:
            raise ValueError(wanted + (" (one step alone? use layer.step, or x[None])" if x.ndim == 2 else ""))
        raise ValueError(wanted + _batch_first(x, mask))
    check_not_empty(name, x, "TBI")
    check_mask(mask, x)


def check_features(name: str, x: Array, I: int | None, like: Array | None, mask: Array | None = None) -> None:
    """`x` is (T, B, I), or (B, I) without a mask: a layer that works on each row alone. I, like: None means any."""
    if like is None:
        _check_output(name, x, "(T, B, I) or (B, I)", 0)
    else:
        check_array(name, x, like)
    if x.ndim not in (2, 3) or (I is not None and x.shape[-1] != I):
        fixed = "" if I is None else f" with I = {I}, as W fixes it"
        raise ValueError(f"`{name}` should be (T, B, I) or (B, I){fixed}; got {tuple(x.shape)}")
    check_not_empty(name, x, "TBI"[-x.ndim :])
    check_mask(mask, x)


def check_not_empty(name: str, x: Array, letters: str) -> None:
    """No axis of length zero: there is no mean, no last step and no gradient of nothing. letters: one for each axis."""
    if 0 in x.shape:
        axis = letters[x.shape.index(0)]
        raise ValueError(f"`{name}` should have no empty axis; got {tuple(x.shape)}, {axis} = 0 (an empty batch?)")


def check_mask(mask: Array | None, x: Array) -> None:
    """`mask` is None, or boolean with the (T, B) of `x` and of the same library."""
    if mask is None:
        return
    if x.ndim < 2 or (x.ndim == 2 and dtype_name(x.dtype).startswith(("float", "complex"))):
        raise ValueError(
            f"`mask` goes with inputs that have a time axis; got x {tuple(x.shape)} and a mask (pass None)"
        )
    if not is_array(mask) or library_name(mask) != library_name(x):
        raise TypeError(f"`mask` should be a boolean array of {library_name(x)}; got {_kind(mask)}")
    _refuse_masked("mask", mask)
    if dtype_name(mask.dtype) != "bool":
        raise TypeError(
            f"`mask` should be boolean, true on real steps; got {dtype_name(mask.dtype)} (mask != 0, or "
            "lc.mask_from_lengths(lengths, T) if these are lengths)"
        )
    T, B = x.shape[:2]
    if tuple(mask.shape) != (T, B):
        hint = " (batch first? pass mask.T)" if tuple(mask.shape) == (B, T) else ""
        raise ValueError(f"`mask` should be (T, B) = ({T}, {B}), as x fixes it; got {tuple(mask.shape)}{hint}")


def check_like(name: str, value: Array, shape: tuple[int, ...], letters: str, like: Array) -> Array:
    """`value`, which has exactly this shape, and the dtype and library of `like`."""
    check_array(name, value, like)
    if tuple(value.shape) != shape:
        raise ValueError(f"`{name}` should be {letters} = {shape}; got {tuple(value.shape)}{_swapped(value, shape)}")
    return value


def check_columns(name: str, value: Array, n: int, whose: str) -> Array:
    """`value`, a floating array whose last axis has n entries; the caller checks the others."""
    _check_output(name, value, "(T, B, H) or (B, H)", 1)
    if value.shape[-1] != n:
        raise ValueError(f"`{name}` should have {n} columns, {whose}; got {tuple(value.shape)}")
    return value


def check_state(name: str, state: object, parts: tuple[str, ...], B: int, widths: Sequence[int], like: Array) -> None:
    """`state` is a tuple of one (B, H) array per state of the cell; widths: the H of each."""
    if not isinstance(state, tuple | list) or len(state) != len(parts):
        wanted = f"`{name}` should be a tuple ({', '.join(parts)}{',' if len(parts) == 1 else ''}) of (B, H) arrays"
        got = f"{len(state)} parts" if isinstance(state, tuple | list) else _kind(state)
        raise TypeError(f"{wanted}; got {got} (a state of another kind of layer?)")
    for part, value, H in zip(parts, state, widths):
        check_like(f"{name}.{part}", value, (B, H), "(B, H)", like)


def check_parts(name: str, state: object, n: int, owner: str) -> Sequence[State | None]:
    """The state of each part of a container, whose own is None, or a tuple with one entry per part."""
    if state is None:
        return (None,) * n
    if not isinstance(state, tuple | list) or len(state) != n:
        got = f"{len(state)} parts" if isinstance(state, tuple | list) else _kind(state)
        raise TypeError(f"`{name}` of a {owner} should be a tuple of {n} parts (None where a part has none); got {got}")
    return state


def check_cache(cache: object, owner: object) -> None:
    """`cache` came from this very layer's forward."""
    if not hasattr(cache, "owner"):
        raise TypeError(
            f"`cache` should be the third value of this layer's forward; got {_kind(cache)} "
            "(forward returns y, state, cache)"
        )
    if cache.owner is not owner:
        raise ValueError(f"`cache` should come from this {owner!r}; it comes from another layer, {cache.owner!r}")


def check_targets(targets: Array, logits: Array, mask: Array | None) -> None:
    """Class indices of the shape of the logits less V, in range wherever they are valid."""
    _check_output("logits", logits, "(..., V)", 1)
    shape, V = tuple(logits.shape[:-1]), logits.shape[-1]
    if not is_array(targets) or library_name(targets) != library_name(logits):
        raise TypeError(f"`targets` should be an integer array of {library_name(logits)}; got {_kind(targets)}")
    _refuse_masked("targets", targets)
    if not dtype_name(targets.dtype).startswith(("int", "uint")):
        hint = " (one-hot? pass targets.argmax(-1))" if tuple(targets.shape) == tuple(logits.shape) else ""
        raise TypeError(f"`targets` should be integers, class indices; got {dtype_name(targets.dtype)}{hint}")
    if tuple(targets.shape) != shape:
        hint = " (one-hot? pass targets.argmax(-1))" if tuple(targets.shape) == tuple(logits.shape) else ""
        raise ValueError(
            f"`targets` should be {shape}, the shape of the logits without V; got {tuple(targets.shape)}{hint}"
        )
    check_valid(mask, targets, "targets")
    where = _outside(targets, V, mask)
    if where is not None:
        raise ValueError(
            f"`targets` should lie in 0 .. {V - 1}; got {int(targets[where])} at {where} "
            "(a mark for what does not count? give its mask)"
        )


def check_values(targets: Array, y: Array) -> None:
    """Values to be compared with `y`: the same shape, dtype and library."""
    _check_output("y", y, "(...)", 0)
    check_array("targets", targets, y)
    if tuple(targets.shape) != tuple(y.shape):
        raise ValueError(f"`targets` should have the shape of y, {tuple(y.shape)}; got {tuple(targets.shape)}")


def check_probabilities(targets: Array, mask: Array | None) -> None:
    """Valid targets lie in [0, 1]."""
    if is_recorded(targets):
        return
    outside = (targets < 0) | (targets > 1) | (targets != targets)
    outside = outside if mask is None else outside & mask
    if bool(namespace(targets).any(outside)):
        where = tuple(int(axis[0]) for axis in namespace(targets).nonzero(outside))
        raise ValueError(
            f"`targets` should lie in 0 .. 1, false to true; got {float(targets[where]):g} at {where} "
            "(a mark for what does not count? give its mask)"
        )


def check_class_weights(weights: Array, logits: Array) -> None:
    """(V,) floating as the logits, finite, not negative."""
    check_array("weights", weights, logits)
    if tuple(weights.shape) != tuple(logits.shape[-1:]):
        raise ValueError(
            f"`weights` should be (V,) = {tuple(logits.shape[-1:])}, one per class; got {tuple(weights.shape)} "
            "(one per item? a mask leaves items out)"
        )
    xp = namespace(weights)
    if not is_recorded(weights) and not bool(xp.all(xp.isfinite(weights) & (weights >= 0))):
        raise ValueError("`weights` should be finite and not negative")


def check_weighed(targets: Array, mask: Array | None, weights: Array) -> None:
    """At least one valid target has a weight."""
    if is_recorded(targets):
        return
    xp = namespace(targets)
    valid = targets if mask is None else xp.where(mask, targets, xp.argmin(weights))
    if not bool(xp.any(xp.take(weights, xp.reshape(valid, (-1,))) > 0)):
        raise ValueError("`weights` should count at least one valid target; all of theirs are 0")


def check_positive(name: str, value: object) -> None:
    """A positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"`{name}` should be a positive number; got {value!r}")


def check_valid(mask: Array | None, items: Array, name: str) -> None:
    """The mask of a loss: boolean, the shape of the items, at least one of them valid."""
    if items.size == 0:
        raise ValueError(f"`{name}` should hold at least one item; got {tuple(items.shape)} (an empty batch?)")
    if mask is None:
        return
    if not is_array(mask) or library_name(mask) != library_name(items):
        raise TypeError(f"`mask` should be a boolean array of {library_name(items)}; got {_kind(mask)}")
    if dtype_name(mask.dtype) != "bool":
        raise TypeError(f"`mask` should be boolean, true on what counts; got {dtype_name(mask.dtype)} (mask != 0)")
    if tuple(mask.shape) != tuple(items.shape):
        raise ValueError(
            f"`mask` should be {tuple(items.shape)}, the shape of {name} (or that less its last axis); "
            f"got {tuple(mask.shape)}"
        )
    if not is_recorded(mask) and not bool(namespace(mask).any(mask)):
        raise ValueError("`mask` should have at least one valid item; got none (the mean of nothing is undefined)")


def check_indices(index: Array, V: int, like: Array, mask: Array | None = None) -> None:
    """Integers (T, B) or (B,) in [0, V), wherever the mask is true."""
    if not is_array(index) or library_name(index) != library_name(like):
        raise TypeError(f"`x` should be an integer array of {library_name(like)}; got {_kind(index)}")
    _refuse_masked("x", index)
    if not dtype_name(index.dtype).startswith(("int", "uint")):
        raise TypeError(f"`x` should be integers, indices of the {V} rows; got {dtype_name(index.dtype)}")
    if index.ndim not in (1, 2):
        raise ValueError(f"`x` should be (T, B) or (B,); got {tuple(index.shape)} (one-hot? pass x.argmax(-1))")
    check_not_empty("x", index, "TB"[-index.ndim :])
    check_mask(mask, index)
    where = _outside(index, V, mask)
    if where is not None:
        raise ValueError(f"`x` should lie in 0 .. {V - 1}; got {int(index[where])} at {where} (padding? give its mask)")


def check_lengths(lengths: Array, T: int) -> None:
    """A one-dimensional sequence of integers in 0 .. T."""
    if lengths.ndim != 1 or not dtype_name(lengths.dtype).startswith(("int", "uint")):
        raise TypeError(
            f"`lengths` should be (B,) integers; got {dtype_name(lengths.dtype)} of shape {tuple(lengths.shape)}"
        )
    for b, length in enumerate(lengths):
        if not 0 <= length <= T:
            raise ValueError(f"`lengths` should lie in 0 .. T = {T}; got {int(length)} in row {b} (T too small?)")


def check_kind(name: str, value: object, fits: bool, wanted: str, call: str) -> None:
    """`value` is of the kind that the call expects there; else two arguments may have been swapped."""
    if not fits:
        raise TypeError(
            f"`{name}` should be {wanted}; got {' '.join(_kind(value).split()):.80}{f' ({call})' * bool(call)}"
        )


def check_layer(name: str, value: object, method: str, call: str = "") -> None:
    """`value` is a layer, with this method, which the call needs; not the class of one. call: how it is typed."""
    wanted = "a layer"
    if isinstance(value, type):
        wanted = "a layer, not a class"
    elif hasattr(value, "forward"):
        wanted = f"a layer with `{method}`, as a class has that inherits lstmcore.layers.Layer"
    check_kind(name, value, hasattr(value, method) and not isinstance(value, type), wanted, call)


def check_size(name: str, value: object, wanted: str = "a positive int") -> None:
    """A width or a count: a positive int, and no more than an array can have."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63:
        limit = " below 2^63" if isinstance(value, int) and value > 1 else ""
        raise ValueError(f"`{name}` should be {wanted}{limit}; got {value!r:.80}")


def check_probability(name: str, value: object, of: str = "") -> None:
    """A number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"`{name}` should be a probability in [0, 1){of}; got {value!r}")


def check_pieces(name: str, value: object) -> None:
    """How many steps a piece of a sequence has: a positive int, True for near sqrt(T), False for none."""
    if not isinstance(value, int) or value < 0 or (value == 0 and value is not False):
        raise ValueError(f"`{name}` should be a number of steps, True (near sqrt(T)) or False; got {value!r}")


def _outside(index: Array, V: int, mask: Array | None) -> tuple[int, ...] | None:
    """The place of the first valid index outside [0, V); None if there is none, or if that cannot be known yet."""
    if mask is None and isinstance(index, np.ndarray) and index.min() >= 0 and index.max() < V:
        return None  # decides nearly always, in half the time of what follows
    if is_recorded(index):
        return None
    xp = namespace(index)
    outside = (index < 0) | (index >= V) if mask is None else ((index < 0) | (index >= V)) & mask
    return tuple(int(axis[0]) for axis in xp.nonzero(outside)) if bool(xp.any(outside)) else None


def _check_output(name: str, value: Array, letters: str, ndim: int) -> None:
    if not is_array(value) or value.ndim < ndim:
        raise TypeError(f"`{name}` should be a floating array {letters}; got {_kind(value)}")
    _refuse_masked(name, value)
    if not dtype_name(value.dtype).startswith(("float", "complex")):
        raise TypeError(f"`{name}` should be a floating array {letters}; got {dtype_name(value.dtype)}")


def _refuse_masked(name: str, value: Array) -> None:
    """NumPy's masked arrays are arrays too, and most functions forget their masks."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` should be a plain array; got a masked array of NumPy, whose mask would be lost (pass "
            f"{name}.filled(0), and which steps are real as mask=, (T, B))"
        )


def _kind(value: object) -> str:
    return (
        f"{dtype_name(value.dtype)} {tuple(value.shape)} of {library_name(value)}" if is_array(value) else repr(value)
    )


def _batch_first(x: Array, mask: Array | None) -> str:
    """A hint for an input whose width does not fit: is its time axis in the wrong place?"""
    if is_array(mask) and tuple(mask.shape) == (x.shape[1], x.shape[0]):
        return " (batch first? pass x.transpose(1, 0, 2))"
    return " (is the last axis the input width?)"


def _swapped(value: Array, shape: tuple[int, ...]) -> str:
    if value.ndim == len(shape) >= 2 and tuple(value.shape) == (shape[1], shape[0], *shape[2:]):
        return " (batch first? the time axis comes first here)" if len(shape) == 3 else " (transposed?)"
    if value.ndim == 2 and len(shape) == 3 and tuple(value.shape) == shape[1:]:
        return " (one step alone, where all T are wanted)"
    return ""
