"""A case: weights, what went in, what came back, and the gradients that somebody got. As a value, and as a file."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.normed import Norm
from lstmcore.interop import Layout
from lstmcore.ops.cells import CELLS, Cell, variant
from lstmcore.train.files.decoded import parsed
from lstmcore.train.files.npz import FLOATING, Kind, open_npz

FLAGS = Kind("biu", "booleans, or integers 0 and 1")
FACTORS = Kind("fbiu", "numbers or booleans")
WORD = Kind("USViu", "a word, or its bytes")
WORDS = ("loss.kind", "loss.over")
KINDS = {"x": FLOATING, "dy": FLOATING, "y": FLOATING, "mask": FLAGS, "layout": WORD, "cell": WORD}
GROUPS = ("weights", "grads", "state", "dstate", "dropout", "steps", "loss")  # in a file "weights.W_ih" is one array
LONGEST = 400  # bytes of a word


class Case(NamedTuple):
    """One training step of somebody's recurrent layer, stack, or both directions."""

    weights: dict[str, np.ndarray]  # in the layout named
    x: np.ndarray  # (T, B, I)
    dy: np.ndarray  # (T, B, D H), or (B, D H) if only the final states h came out; (0,) if there is a loss instead
    grads: dict[str, np.ndarray]  # in the layout named; may hold "x", "h0", "c0"
    state: dict[str, np.ndarray]  # by name: "h0", "c0", or "0.fw.h0", ...; empty for zeros
    mask: np.ndarray | None  # (T, B) bool
    dstate: dict[str, np.ndarray]  # the gradient of the final state, by the same names; empty for zeros
    layout: str | Layout = "lstmcore"
    cell: str = ""  # "lstm", "gru", "rnn"; empty: the shapes tell
    top: tuple[str, ...] = ()  # the names of the top layer's h0, one per direction; not in a file, the weights tell
    dropout: Mapping[str, np.ndarray] = MappingProxyType(
        {}
    )  # "x", "y", "0": what inputs, outputs, layer 0's were multiplied with
    steps: Mapping[str, np.ndarray] = MappingProxyType({})  # (T, B, H) each, of "y", "c", "i", ..., "dh", "da_i", ...
    options: Mapping[str, object] = MappingProxyType({})  # of the cell: peepholes, ...; not in a file, the weights tell
    norm: Norm | None = None  # layer normalisation; not in a file, weights or outputs tell
    loss: Mapping[str, object] = MappingProxyType({})  # in place of dy: "kind", "targets", ..., as `diagnose` takes it

    @property
    def kind(self) -> Cell:
        """The cell with its options; not of a file that leaves it to the shapes."""
        return self.norm.cell if self.norm else variant(CELLS[self.cell], **self.options)

    @property
    def upstream(self) -> np.ndarray | None:
        """dy, if it is there."""
        return None if self.dy.shape == (0,) else self.dy


def save_case(path: str | PathLike[str], case: Case) -> None:
    """Writes a case as docs/case-format.md describes it: an .npz file without pickles."""
    if not isinstance(case.layout, str):
        raise TypeError("`layout` should be the name of a layout, to be written to a file; got a Layout")
    arrays: Plain = {"x": case.x} | ({} if case.upstream is None else {"dy": case.dy})
    arrays |= {"layout": np.array(case.layout), "cell": np.array(case.cell)}
    if case.mask is not None:
        arrays["mask"] = case.mask
    for group in GROUPS:
        arrays |= {f"{group}.{name}": value for name, value in getattr(case, group).items()}
    with open(path, "wb") as file:  # given a name, savez would add .npz to it
        np.savez(file, **arrays)


def load_case(path: str | PathLike[str]) -> Case:
    """Reads a case, from .npz or .json. Nothing in the file is executed.

    Raises ValueError that names what is missing, unknown, damaged or of the wrong kind; OSError if there is no such
    file.
    """
    if str(path).endswith(".json"):
        return _case(path, _json(path))
    with open_npz(path) as file:
        kinds = _kinds(path, file.names)
        for name, kind in kinds.items():
            file.header(name, kind)
        return _case(path, {name: file.data(name) for name in kinds})


def _json(path: str | PathLike) -> dict[str, np.ndarray]:
    """The members of a JSON object, nested or under names with dots; lists of numbers are arrays."""
    try:
        whole = parsed(Path(path))
    except ValueError as error:
        raise ValueError(f"{path}: this is not JSON ({error})") from None
    if not isinstance(whole, dict):
        raise ValueError(f"{path}: a case should be one JSON object; got {type(whole).__name__}")
    flat: Plain = {}
    for name, value in whole.items():
        flat |= {f"{name}.{key}": a for key, a in value.items()} if isinstance(value, dict) else {name: value}
    arrays = {}
    for name, kind in _kinds(path, flat).items():
        try:
            arrays[name] = np.asarray(flat[name])
        except ValueError:
            raise ValueError(f"{path}: {name!r} should be a list of lists of one length each") from None
        if kind is FLOATING and arrays[name].dtype.kind in "iu":
            arrays[name] = arrays[name].astype(float)  # 0 for 0.0
        if arrays[name].dtype.kind not in kind.letters:
            raise ValueError(f"{path}: {name!r} should hold {kind.words}; got {arrays[name].dtype}")
    return arrays


def _kinds(path: str | PathLike, names: Iterable[str]) -> dict[str, Kind]:
    """What each member should hold. Raises ValueError for what is unknown or missing."""
    kinds = {name: _kind(path, name) for name in names}
    missing = [name for name in ("x", "dy") if name not in kinds and not (name == "dy" and "loss.targets" in kinds)]
    missing += [group for group in GROUPS[:2] if not any(name.startswith(f"{group}.") for name in kinds)]
    if missing:
        held = ", ".join(kinds) or "nothing"
        raise ValueError(f"{path}: {', '.join(missing)} should be there; got {held:.200}")
    return kinds


def _case(path: str | PathLike, arrays: Mapping[str, np.ndarray]) -> Case:
    groups: dict[str, Plain] = {group: {} for group in GROUPS}
    for name, value in arrays.items():
        group, _, key = name.partition(".")
        if key:
            groups[group][key] = _text(path, arrays, name, "") if name in WORDS else value
    return Case(
        x=arrays["x"],
        dy=arrays.get("dy", np.zeros(0)),
        mask=None if "mask" not in arrays else _boolean(path, arrays["mask"]),
        layout=_text(path, arrays, "layout", "lstmcore"),
        cell=_text(path, arrays, "cell", ""),
        weights=groups["weights"],
        grads=groups["grads"],
        state=groups["state"],
        dstate=groups["dstate"],
        dropout=groups["dropout"],
        loss=groups["loss"],
        steps=groups["steps"] | ({"y": arrays["y"]} if "y" in arrays else {}),
    )


def _kind(path: str | PathLike[str], name: str) -> Kind:
    """What an array of that name should hold."""
    group, _, key = name.partition(".")
    if name not in KINDS and not (group in GROUPS and key):
        raise ValueError(
            f"{path}: no array {name!r:.80} is known; {', '.join(KINDS)}, and "
            f"{', '.join(f'{group}.NAME' for group in GROUPS)} are (docs/case-format.md)"
        )
    return WORD if name in WORDS else KINDS.get(name, FACTORS if group in ("dropout", "loss") else FLOATING)


def _boolean(path: str | PathLike[str], value: np.ndarray) -> np.ndarray:
    """Booleans, or the zeros and ones of a language that writes no booleans."""
    if not np.isin(value, (0, 1)).all():
        raise ValueError(f"{path}: 'mask' should hold {FLAGS.words}; got {value.dtype} {value.min()} to {value.max()}")
    return value.astype(bool)


def _text(path: str | PathLike[str], arrays: Mapping[str, np.ndarray], name: str, default: str) -> str:
    """A string, or its bytes, one per number or all in one."""
    value = arrays.get(name, np.array(default))
    if value.nbytes <= LONGEST:
        if value.dtype.kind == "U" and value.ndim == 0:
            return str(value)
        if value.dtype.kind == "S" or value.dtype.itemsize == 1:
            return value.tobytes().rstrip(b"\0").decode(errors="replace")
    raise ValueError(f"{path}: {name!r} should hold {WORD.words}; got {value.dtype} {value.shape}")
