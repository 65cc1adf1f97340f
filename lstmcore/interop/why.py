"""Why arrays do not fit a layout, in the words that people use for what they have."""

import os
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from lstmcore.interop.layouts import LAYOUTS, Layout

Arrays = Mapping[str, np.ndarray]
Fits = Callable[[Arrays, Layout, str], bool]

# What the name of an array tells, wherever it stands in the key.
NAMED = (
    (r"weight_hr|projection/kernel", "a projection (of h, proj_size)"),
    (r"(^|[./])(P|peep_\w+|w_[ifo]_diag)\b", "peepholes (the gates look at c)"),
    (r"gamma|layer_?norm|(^|[./])(ln|norm)_", "layer normalisation inside the cell"),
    (r"_[gvu]$|_orig$|_mask$|original\d?$", "weight_norm or another parametrization (hand over the module itself)"),
    (r"_all_weight_values|_packed_params|zero_point", "a quantised model (take its weights before it is quantised)"),
    (r"/(Adam|Adagrad|RMSProp|Momentum|ExponentialMovingAverage)(_\d+)?$", "an optimizer (leave it out)"),
    (r"(gates|candidate)/kernel", "a GRUCell of TensorFlow 1 (its reset gate comes before the product)"),
    (r"opaque_kernel", "an RNN of cuDNN (one array of all weights: save it by its canonical weights)"),
)  # fmt: skip


def why(arrays: Arrays, layout: Layout, cell: str, fits: Fits) -> str:
    """A sentence on what these arrays are, or nothing where nothing is recognised."""
    return next(_reasons(arrays, layout, cell, fits), "")


def feature(arrays: Arrays) -> str:
    """The feature that a name gives away: "`weight_hr_l0` (3, 5) belongs to a projection (of h, proj_size)"."""
    for pattern, words in NAMED:
        for key, value in arrays.items():
            if re.search(pattern, key):
                return f"`{key}` {value.shape} belongs to {words}"
    return ""


def _reasons(arrays: Arrays, layout: Layout, cell: str, fits: Fits) -> Iterator[str]:
    named = feature(arrays)
    if named:
        said = {"peepholes=True": layout.peepholes, "proj_size=P": layout.projection}
        known = [o for o, parts in said.items() for p in parts if any(p.key in re.split("[./]|_l", k) for k in arrays)]
        yield named + (f": say so, options=dict({known[0]})" if known else ", which this table lacks")
    for key, value in arrays.items():
        if cell == "gru" and key.endswith("bias") and layout is LAYOUTS["keras"] and value.ndim == 1:
            yield (
                f"`{key}` {value.shape} is one bias and not two: a GRU with reset_after=False, whose reset gate comes "
                'before the product (lc.interop.read(weights, layout="keras", cell="gru", reset_after=False))'
            )
        if value.ndim > 3:
            yield f"`{key}` {value.shape} has {value.ndim} axes: a convolutional LSTM?"
    for other in layout.cells:
        if other != cell and fits(arrays, layout, other):
            yield f"these are the weights of cell {other!r}"
    turned = {key: value.T if value.ndim == 2 else value for key, value in arrays.items()}
    if fits(turned, layout, cell):
        yield "each matrix is transposed: hand over value.T"
    for name, row in LAYOUTS.items():
        if row is not layout and cell in row.cells and fits(arrays, row, cell):
            yield f"these are the names and shapes of layout {name!r}"
    roots = sorted({re.split(r"[./](?=[^./]*$)", key)[0] for key in arrays if re.search(r"[./]", key)})
    if len(roots) > 1:
        yield f"more than one layer ({', '.join(roots[:6])}): lc.interop.read reads whole models"


def tidy(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays without the path that all their names begin with ("encoder.lstm."), without TensorFlow's ":0", and
    with the names of torch's cells as those of a first layer ("weight_ih" as "weight_ih_l0")."""
    names = {key: re.sub(r"^((?:.*\.)?(?:weight|bias)_[ih]h)$", r"\1_l0", key.removesuffix(":0")) for key in arrays}
    if not names:
        return {}
    shared = os.path.commonprefix(list(names.values()))  # noqa: RUF071  what follows cuts it at a separator
    begins = max(shared.rfind("."), shared.rfind("/")) + 1
    return {names[key][begins:]: value for key, value in arrays.items()}


def check_order(arrays: Arrays, layout: Layout, cell: str) -> None:
    """Raises ValueError for biases that prove another order of the gates.

    A forget gate begins at 1 and the others at 0. Where just that stands in another block, the arrays have not been
    trained, and are another system's with the same names and shapes. Trained ones do not tell.
    """
    if all(row.source != layout.source for row in LAYOUTS.values()):
        return  # somebody's own, or its order is a guess
    for part in layout.cells[cell]:
        if part.of != "b" or "f" not in part.blocks or part.by_unit or len(part.blocks) != 4 or layout.forget_bias:
            continue
        for key, value in arrays.items():
            blocks = value.reshape(4, -1) if key.endswith(part.key) and value.size % 4 == 0 else np.zeros((4, 1))
            if np.isin(blocks, (0, 1)).all() and (blocks == blocks[:, :1]).all() and blocks.sum() == blocks.shape[1]:
                one = int(blocks[:, 0].argmax())
                if part.blocks[one] != "f":
                    others = ", ".join(
                        repr(name)
                        for name, row in LAYOUTS.items()
                        for p in row.cells.get(cell, ())
                        if p.key == part.key
                        and p.blocks[one : one + 1] == "f"
                        and len(p.blocks) == 4
                        and not row.forget_bias
                    )
                    raise ValueError(
                        f"`{key}` is 1 in block {one + 1} of 4 and 0 elsewhere, as a forget gate begins; in this "
                        f"layout it stands in block {part.blocks.index('f') + 1}. Layout {others or 'of another name'}?"
                    )
