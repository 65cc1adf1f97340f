"""Weights by name, without the program that they belong to: a state_dict of torch, an nnx or linen tree of Flax, the
variables of TensorFlow 1, or arrays of any layout of the table; and the files that hold such: .pt, .pth, .bin, .ckpt
(of Lightning), .safetensors alone or in pieces, .npz.

Names tell the parts; the order in which they stand tells the order of the parts. What names and shapes do not hold
(batch_first, functions without weights, dropout) is not there, and the model is unproved.
"""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain, embedding, linear, recurrent
from lstmcore.interop.host import shape
from lstmcore.interop.layouts import LAYOUTS
from lstmcore.interop.proof import Proof
from lstmcore.interop.why import feature
from lstmcore.layers import Layer, ReLU, Sigmoid, Softmax, Tanh

TORCH = re.compile(r"^(?:(.*)\.)?(?:weight|bias)_([ih]h|hr)(?:_l\d+(?:_reverse)?)?$")
BLOCKS = {4: "lstm", 3: "gru", 1: "rnn"}
HINTS = {  # what torch says of a file -> what it is
    "TorchScript": "a program of TorchScript: save torch.jit.load(path).state_dict()",
    "ScriptObject": "a quantised model: save module.state_dict() before it is quantised",
    "quantize": "a quantised model: save module.state_dict() before it is quantised",
    "Unsupported global": "save module.state_dict(), not the module",
}
TRIED = 2**14  # beginnings of orders of the parts: more than seven parts have
TAILS: dict[str, type[Layer]] = {"tanh": Tanh, "softmax": Softmax, "sigmoid": Sigmoid, "relu": ReLU}


def read(
    arrays: Mapping[str, object],
    *,
    dtype: str | None = None,
    layout: str | None = None,
    cell: str | None = None,
    end: str | None = None,
    **options: object,
) -> tuple[Layer, Proof]:
    """The model of arrays by name, in the order of the mapping; nested mappings are joined with "/".

    end: "tanh", "softmax", "sigmoid" or "relu", the function that follows the last layer. Raises ValueError where an
    option must be said, since the arrays do not hold it.
    """
    flat = dict(_flat(arrays))
    if any(TORCH.match(key.replace("/", ".")) for key in flat):  # of a module, its path joined by others
        flat = {key.replace("/", "."): value for key, value in flat.items()}
    if not flat:
        raise ValueError("there is no array in it")
    for name, value in flat.items():
        if not hasattr(value, "shape") and not hasattr(value, "get_value"):
            raise TypeError(f"`{name}` should be an array; got {type(value).__name__}")
    layout = layout or _layout(flat)
    if layout == "torch":
        layers = _torch(flat, dtype, cell, options)
    else:
        kind = cell or _cell(flat, layout)
        _must_be_said(layout, kind, options, any("bias" in key for key in flat))
        layers = recurrent(flat, layout, kind, dtype=dtype, **_renamed(options))
    if end is not None:
        if end not in TAILS:
            raise ValueError(f"`end` should be one of {', '.join(TAILS)}; got {end!r}")
        layers = [*layers, TAILS[end]()]
    model = chain(layers)
    broken = next((f"; {name} holds NaN" for name, w in model.params.items() if np.isnan(w).any()), "")
    words = f"weights alone hold no functions, no dropout and no axis order{broken}"
    return model, Proof(None, words)


def read_file(path: Path, **given: str | None) -> tuple[Layer, Proof]:
    """Raises ValueError for a damaged file and for one that holds something else than tensors by name."""
    if re.search(r"-\d{5}-of-\d{5}\.\w+$", path.name):
        raise ValueError(f"{path} is one of several pieces: hand over the folder, or the *.index.json beside them")
    readers = {".safetensors": _safetensors, ".json": _pieces, ".npz": _npz}
    held = readers.get(path.suffix, _checkpoint)(path)
    try:
        return read(held, **given)
    except KeyError as error:  # a name that no layer has: of a letter that was changed, say
        raise ValueError(f"{path}: {error.args[0]}") from error


def _safetensors(path: Path) -> dict[str, object]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format", "").startswith("lstmcore"):
                raise ValueError(f"{path} is a file of lstmcore itself: lc.load reads it")
            halves = any(file.get_slice(name).get_dtype() == "BF16" for name in file.keys())  # noqa: SIM118
        with safe_open(path, framework="torch" if halves else "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, truncated or no safetensors file: {error!s:.200}") from error
    except ImportError:
        raise ImportError("bfloat16 in a .safetensors file is read by torch: pip install torch") from None


def _pieces(index: Path) -> dict[str, object]:
    """The tensors of .safetensors or .bin files that lie beside an index, {"weight_map": {name: file}}."""
    try:
        files = json.loads(index.read_bytes())["weight_map"]
        names = sorted(set(files.values()))
        if not all(name == Path(name).name and name.endswith((".safetensors", ".bin")) for name in names):
            raise ValueError(f"it names {names[:3]}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is damaged, or no index of .safetensors files: {error!s:.200}") from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ValueError(f"{index} wants {', '.join(missing)} beside it, which is not there")
    held: dict[str, object] = {}
    for name in names:
        held |= (_checkpoint if name.endswith(".bin") else _safetensors)(index.parent / name)
    if held.keys() != files.keys():
        raise ValueError(
            f"{index} and the files beside it name other tensors: {sorted(held.keys() ^ files.keys())[:6]}"
        )
    return {key: held[key] for key in files}


def _npz(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as raw:
            if raw.read(2) != b"PK":  # which NumPy takes for something to be executed
                raise zipfile.BadZipFile("it is no archive of arrays")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, MemoryError, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged, or holds more than arrays: {error!s:.200}") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {error!s:.200}") from error


def _checkpoint(path: Path) -> Mapping[str, object]:
    """The tensors of a .pt file; of a checkpoint with more in it, those under its state_dict."""
    try:
        import torch
    except ImportError:
        raise ImportError("a .pt file is read by torch: pip install torch") from None
    with path.open("rb") as file:
        head = file.read(2)
    if head != b"PK" and not head.startswith(b"\x80"):  # an archive, or a pickle of torch before 1.6
        raise ValueError(f"{path} is damaged, or nothing that torch.save has written: it begins with {head!r}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch raises of a file that is not as it was written, or would be executed
        hint = next((words for part, words in HINTS.items() if part in str(error)), "")
        said = [line for line in str(error).splitlines() if line and "weights_only" not in line]  # that would run it
        reason = hint or next(iter(said), type(error).__name__)
        raise ValueError(f"{path} is damaged, or holds more than tensors: {reason:.200}") from error

    def tensors(value: object) -> bool:
        return isinstance(value, Mapping) and all(isinstance(v, torch.Tensor) for v in value.values())

    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            twins = [k for k, v in held.items() if k != name and tensors(v) and len(v) >= len(held[name])]
            if tensors(held[name]) and twins:
                raise ValueError(
                    f"{path} holds {name} and {', '.join(twins)}, each a state_dict: hand over one of them, as "
                    "torch.load(path, weights_only=True) has it"
                )
            held = held[name]
    if not tensors(held):
        inner = [v for v in held.values() if tensors(v) and v] if isinstance(held, Mapping) else []
        if len(inner) == 1:
            return inner[0]
        got = [f"{k}: {type(v).__name__}" for k, v in held.items()] if isinstance(held, Mapping) else []
        raise ValueError(
            f"{path} should hold a state_dict, tensors by name; got {', '.join(got[:8]) or type(held).__name__}"
            + ("; hand over one of them, as torch.load(path, weights_only=True) has it" if len(inner) > 1 else "")
        )
    return held


def _flat(arrays: Mapping[str, object], path: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in arrays.items():
        name = "if" if name == "if_" else name  # of nnx, where `if` could not be an attribute
        key = f"{path}/{name}" if path else str(name)
        found += _flat(value, key) if isinstance(value, Mapping) else [(key, value)]
    return found


def _layout(arrays: Mapping[str, object]) -> str:
    """Whose names these are. Raises ValueError where two systems use them."""
    names = [key.replace(":0", "") for key in arrays]
    last = {re.split(r"[./]", name)[-1] for name in names}
    if any(TORCH.match(name) for name in names):
        return "torch"
    if {"W", "R"} <= last:
        return "onnx"
    if last & {"W_ih", "W_hh"}:
        return "lstmcore"
    if last & {"Wx", "Wxh"}:
        return "mlx"
    if any(re.search(r"(^|/)h[ifgorzn]?/kernel$", name) for name in names):
        return "flax"
    if {"recurrent_kernel"} <= last:
        raise ValueError(
            "Keras and haste both call their arrays kernel and recurrent_kernel, and order the gates otherwise: pass "
            'layout="keras" or layout="haste"'
        )
    if {"kernel"} <= last:
        return "tf1"
    named = feature({key: np.empty(shape(value)) for key, value in arrays.items()})
    raise ValueError(
        named or f"whose names are these? {', '.join(names[:6])}; pass layout=, one of {', '.join(LAYOUTS)}"
    )


def _cell(arrays: Mapping[str, object], layout: str) -> str:
    """The cell by K, the blocks per unit, where the recurrent matrix shows it."""
    for key, value in arrays.items():
        size = shape(value)
        last = re.split(r"[./]", key.removesuffix(":0"))[-1]
        if last in ("R", "Wh", "Whh", "weight_hh", "recurrent_kernel", "W_hh"):
            K = max(size[-2:]) // min(size[-2:])
            if K in BLOCKS:
                return BLOCKS[K]
    if layout in ("tf1", "chainer-link"):
        return "lstm"
    if layout == "flax":
        return (
            "lstm"
            if any("/hf/" in f"/{key}" for key in arrays)
            else "gru"
            if any("hr/" in k for k in arrays)
            else "rnn"
        )
    raise ValueError(f"which cell is it? Pass cell=, one of {', '.join(LAYOUTS[layout].cells)}")


def _must_be_said(layout: str, cell: str, options: Mapping[str, object], bias: bool = True) -> None:
    """Raises ValueError for an option on which everything hangs and which no array holds."""
    if layout == "onnx" and cell == "gru" and not {"linear_before_reset", "reset_after"} & options.keys():
        raise ValueError(
            "a GRU of ONNX has its reset gate before the product (linear_before_reset=0, the default there) or after: "
            "its arrays do not tell, pass linear_before_reset=0 or 1 (or hand over the node)"
        )
    if layout == "keras" and cell == "gru" and not bias and "reset_after" not in options:
        raise ValueError(
            "a GRU of Keras without a bias has its reset gate before the product or after (reset_after=True, the "
            "default there): its arrays do not tell, pass reset_after="
        )
    if layout != "lstmcore" and cell == "rnn" and not {"nonlinearity", "activations"} & options.keys():
        raise ValueError('a plain RNN has tanh or relu, and its arrays do not tell: pass nonlinearity="tanh" or "relu"')


def _renamed(options: Mapping[str, object]) -> Plain:
    """linear_before_reset as reset_after, direction as reverse."""
    names = dict(options)
    if "linear_before_reset" in names:
        names["reset_after"] = bool(names.pop("linear_before_reset"))
    direction = names.pop("direction", "forward")
    if direction == "reverse":
        names["reverse"] = True
    elif direction == "bidirectional":
        names["bidirectional"] = True
    return names


def _torch(
    arrays: Mapping[str, object], dtype: str | None, cell: str | None, options: Mapping[str, object]
) -> list[Layer]:
    """The parts of a state_dict, in its order."""
    for key, value in arrays.items():
        if "parametrizations." in key:
            raise ValueError(f"{feature({key: np.empty(shape(value))})}, which cannot be read from arrays alone")
    arrays = _once(arrays)
    groups: dict[str, dict[str, object]] = {}
    for key, value in arrays.items():
        found = TORCH.match(key)
        path = found[1] or "" if found else key.rpartition(".")[0]
        groups.setdefault(path, {})[key.rpartition(".")[2]] = value
    layers: list[Layer] = []
    sorted_ = list(arrays) == sorted(arrays)
    for path in _in_order({path: _widths(group) for path, group in groups.items()}, sorted_):
        group = groups[path]
        projected = next((shape(value)[0] for key, value in group.items() if key.startswith("weight_hr")), 0)
        named = feature({k: np.empty(shape(v)) for k, v in group.items() if not k.startswith("weight_hr")})
        if named:
            raise ValueError(f"{path + ': ' if path else ''}{named}, which cannot be read from arrays alone")
        if any(TORCH.match(key) for key in group):
            K = {shape(v)[0] // shape(v)[-1] for k, v in group.items() if k.startswith("weight_hh") and shape(v)}
            kind = cell or ("lstm" if projected else BLOCKS.get(K.pop() if len(K) == 1 else 0))
            if kind is None:
                sizes = {k: shape(v) for k, v in group.items() if k.startswith("weight_hh")}
                turned = any(size[1:] and size[0] < size[1] for size in sizes.values())
                raise ValueError(
                    f"{path + ': ' if path else ''}weight_hh should be (4H, H), (3H, H) or (H, H); got {sizes}: "
                    + ("each matrix is transposed, hand over value.T" if turned else "which cell is it? Pass cell=")
                )
            _must_be_said("torch", kind, options)
            matrices = [key for key in group if key.startswith(("weight_ih", "weight_hh"))]
            gone = sorted({key.replace("weight_", "bias_") for key in matrices} - set(group))
            if gone and any(key.startswith("bias_") for key in group) and all(TORCH.match(key) for key in group):
                raise ValueError(
                    f"{path + ': ' if path else ''}{', '.join(gone)} missing, beside biases that are there"
                )
            said: Plain = {"proj_size": projected} | _renamed(options)
            layers += recurrent(group, "torch", kind, dtype=dtype, **said)
        elif set(group) <= {"weight", "bias"} and len(shape(group.get("weight"))) == 2:
            layers.append(_dense(path, group, layers, dtype, {**arrays}))
        else:
            held = ", ".join(f"{f'{path}.{key}'.strip('.')} {shape(value)}" for key, value in group.items())
            raise ValueError(
                f"{held} is no Linear, Embedding or recurrent layer: lstmcore has no layer of these arrays"
            )
    return layers


def _once(arrays: Mapping[str, object]) -> dict[str, object]:
    """Without the second names that Paddle gives the arrays of its layers, `0.cell.weight_ih` beside `weight_ih_l0`."""

    def first(key: str) -> str:
        way = {"_bw": "_reverse"}
        return re.sub(r"(\d+)\.cell(_[fb]w)?\.(\w+)$", lambda m: f"{m[3]}_l{m[1]}{way.get(m[2], '')}", key)

    return {key: value for key, value in arrays.items() if first(key) == key or first(key) not in arrays}


def _widths(group: Mapping[str, object]) -> tuple[int, int, bool] | None:
    """Of the part of these arrays: inputs, outputs, and whether it could be an Embedding; None for what is no part."""
    sizes = {key: shape(value) for key, value in group.items()}
    inner = [size for key, size in sizes.items() if key.startswith("weight_ih")]
    outer = [size for key, size in sizes.items() if key.startswith("weight_hh")]
    if inner and outer and all(len(size) == 2 for size in (*inner, *outer)):
        return inner[0][1], outer[0][1] * (1 + any(key.endswith("_reverse") for key in sizes)), False
    if len(sizes.get("weight", ())) == 2:
        return sizes["weight"][1], sizes["weight"][0], "bias" not in sizes
    return None


def _in_order(widths: Mapping[str, tuple[int, int, bool] | None], by_name: bool) -> list[str]:
    """The parts, one reading what the other gives: as they stand if that fits, else in the only order that does.

    A module holds them in the order in which they were made, a .safetensors file in the order of their names, by_name:
    then numbers tell ("lstm1", "lstm2"), and they alone. Raises ValueError where no order fits, or several.
    """
    known = {path: size for path, size in widths.items() if size is not None}
    given = sorted(widths, key=_number_by_number) if by_name else list(widths)
    if len(known) < len(widths):
        return given  # what is no part is refused by its name
    if not by_name and all(_reads(*pair, k == 0) for k, pair in enumerate(pairwise(known.values()))):
        return given
    found = _orders({path: known[path] for path in given}, by_name) or (by_name and _orders(known, False))
    if found and len(found) == 1:
        return found[0]
    many = "several" if found else "no"
    sizes = ", ".join(f"{path} {size[0]} -> {size[1]}" for path, size in known.items())
    if by_name and found:
        raise ValueError(
            f"the parts stand in the order of their names, and {many} orders would fit: {sizes:.1000}; hand over "
            "the module itself, or its state_dict, which has them in the order in which they were made"
        )
    raise ValueError(
        f"the parts do not read each other in the order in which they stand, and {many} others would "
        f"fit: {sizes:.1000}; hand over the module itself"
    )


def _reads(before: tuple[int, int, bool], after: tuple[int, int, bool], first: bool) -> bool:
    """Whether one part reads what the other gives; first: that one may be an Embedding, which is as wide."""
    return before[1] == after[0] or (first and before[2] and before[0] == after[0])


def _orders(known: Mapping[str, tuple[int, int, bool]], numbered: bool) -> list[list[str]]:
    """The first two orders in which each part reads what the one before gives.

    numbered: parts whose names differ in numbers alone stay in the order in which they are given. Raises ValueError
    where too many would have to be tried.
    """
    found: list[list[str]] = []
    kinds = {path: re.sub(r"\d+", "", path) if numbered else path for path in known}
    begun: list[tuple[list[str], list[str]]] = [([], list(known))]  # (what stands, what is left)
    for _ in range(TRIED):
        order, left = begun.pop()
        if not left:
            found.append(order)
        for path in {kinds[path]: path for path in reversed(left)}.values():  # the first of each kind
            if not order or _reads(known[order[-1]], known[path], len(order) == 1):
                begun.append(([*order, path], [other for other in left if other != path]))
        if not begun or len(found) == 2:
            return found
    raise ValueError(
        f"the parts do not tell in which order they stand: {', '.join(known)}; hand over the module itself"
    )


def _number_by_number(path: str) -> list[tuple[int, str]]:
    """For sorting: "rnn.10" behind "rnn.2"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def _dense(
    path: str, group: Mapping[str, object], before: list[Layer], dtype: str | None, arrays: Mapping[str, object]
) -> Layer:
    """A Linear layer; or an Embedding: a first matrix without bias, as wide as what follows reads."""
    W = group["weight"]
    if not before and "bias" not in group:
        reads = next((shape(v)[1] for k, v in arrays.items() if "weight_ih" in k), None)
        if reads == shape(W)[1] == shape(W)[0] and "emb" not in path.lower():
            raise ValueError(
                f"{path}.weight {shape(W)} is an Embedding of {reads} classes or a Linear layer without bias: its "
                "shape does not tell, hand over the module"
            )
        if reads == shape(W)[1]:
            return embedding(W, dtype, f"{path}.weight")
    return linear(W.T, group.get("bias"), dtype, f"{path}.weight")  # type: ignore[attr-defined]
