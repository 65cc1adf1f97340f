"""A case: weights, what went in, what came back, and the gradients that somebody got. As a value, and as a file."""

from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lstmcore.interop import Layout

GROUPS = ("weights", "grads", "state", "dstate", "dropout")  # in a file, "weights.W_ih" is one array of the group


class Case(NamedTuple):
    """One training step of somebody's recurrent layer, stack, or both directions."""

    weights: dict[str, np.ndarray]  # in the layout named
    x: np.ndarray  # (T, B, I)
    dy: np.ndarray  # (T, B, D H), or (B, D H) if only the final states h came out
    grads: dict[str, np.ndarray]  # in the layout named; may hold "x", "h0", "c0"
    state: dict[str, np.ndarray]  # by name: "h0", "c0", or "0.fw.h0", ...; empty for zeros
    mask: np.ndarray | None  # (T, B) bool
    dstate: dict[str, np.ndarray]  # the gradient of the final state, by the same names; empty for zeros
    layout: str | Layout = "lstmcore"
    cell: str = ""  # "lstm", "gru", "rnn"; empty: the shapes tell
    top: tuple[str, ...] = ()  # the names of the top layer's h0, one per direction; not in a file, the weights tell
    dropout: Mapping[str, np.ndarray] = MappingProxyType({})  # "x", "y": what inputs and outputs were multiplied with


def save_case(path: str | PathLike, case: Case) -> None:
    """Writes a case as docs/case-format.md describes it: an .npz file without pickles."""
    if not isinstance(case.layout, str):
        raise TypeError("`layout` should be the name of a layout, to be written to a file; got a Layout")
    arrays: dict[str, Any] = {"x": case.x, "dy": case.dy}
    arrays |= {"layout": np.array(case.layout), "cell": np.array(case.cell)}
    if case.mask is not None:
        arrays["mask"] = case.mask
    for group in GROUPS:
        arrays |= {f"{group}.{name}": value for name, value in getattr(case, group).items()}
    with open(path, "wb") as file:  # given a name, savez would add .npz to it
        np.savez(file, **arrays)


def load_case(path: str | PathLike) -> Case:
    """Reads a case. Nothing in the file is executed.

    Raises ValueError that names what is missing, unknown, or of the wrong kind; OSError if there is no such file.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it holds one array without a name (.npy)")
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except ValueError as error:
        raise ValueError(
            f"{path} should be an .npz file of named, plain arrays (docs/case-format.md): {error}"
        ) from error
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in GROUPS}
    single: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        group, _, key = name.partition(".")
        if group in GROUPS and key:
            groups[group][key] = value if group == "dropout" else _floating(name, value)
        elif name in ("x", "dy", "mask", "layout", "cell"):
            single[name] = value
        else:
            raise ValueError(
                f"{path}: no array {name!r} is known; x, dy, mask, layout, cell, and weights.NAME, grads.NAME, "
                "state.NAME, dstate.NAME, dropout.NAME are"
            )
    missing = [name for name in ("x", "dy") if name not in single] + [g for g in GROUPS[:2] if not groups[g]]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} should be there; got {', '.join(arrays) or 'nothing'}")
    return Case(
        x=_floating("x", single["x"]),
        dy=_floating("dy", single["dy"]),
        mask=None if "mask" not in single else _boolean(single["mask"]),
        layout=_text(single, "layout", "lstmcore"),
        cell=_text(single, "cell", ""),
        weights=groups["weights"],
        grads=groups["grads"],
        state=groups["state"],
        dstate=groups["dstate"],
        dropout=groups["dropout"],
    )


def _floating(name: str, value: np.ndarray) -> np.ndarray:
    if value.dtype.kind != "f":
        raise ValueError(f"{name!r} should hold floating-point numbers; got {value.dtype}")
    return value


def _boolean(value: np.ndarray) -> np.ndarray:
    """Booleans, or the zeros and ones of a language that writes no booleans."""
    if value.dtype.kind not in "biu" or not np.isin(value, (0, 1)).all():
        raise ValueError(f"'mask' should hold booleans, or integers 0 and 1; got {value.dtype}")
    return value.astype(bool)


def _text(single: Mapping[str, np.ndarray], name: str, default: str) -> str:
    """A string, or its bytes, one per number or all in one."""
    value = single.get(name, np.array(default))
    if value.dtype.kind == "U" and value.ndim == 0:
        return str(value)
    if value.dtype.kind in "SV" or value.dtype.itemsize == 1:
        return value.tobytes().rstrip(b"\0").decode()
    raise ValueError(f"{name!r} should be a string, or its bytes; got {value.dtype} {value.shape}")
