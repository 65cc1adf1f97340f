"""A training in a file (sealed.py): the whole of `Run.state`, so that it can go on bit for bit.

The text `state` is the state as JSON, each array in it replaced by {"array": name}; the arrays have the names of their
places: model.0.W_ih, opt.memory.0.W_ih.m, carried.0.1. JSON as Python writes it, with NaN and Infinity.
"""

import json
from pathlib import Path

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.train.files import contents, sealed
from lstmcore.train.files.sealed import CHECKPOINT, Damaged


def write(path: Path, state: Plain, about: object = None) -> None:
    """Writes `run.state`, whole or not at all. about: plain data that is kept with it.

    Raises ValueError for numbers that are not finite, from where no training goes on, TypeError for what is neither
    plain data nor an array, OSError as `sealed.write`.
    """
    arrays: dict[str, np.ndarray] = {}
    rest = {name: _taken_out(part, name, arrays) for name, part in state.items() if name != "config"}
    bad = _not_finite(arrays)
    if bad:
        raise ValueError(f"{bad} holds NaN or infinity: there is nothing to go on from")
    sealed.write(path, CHECKPOINT, arrays, **contents.texts(state["config"]), state=json.dumps(rest | {"about": about}))


def read(path: Path) -> tuple[Plain, object]:
    """(state, about), as they were written. Raises Damaged for a file that has changed since, and as `sealed.read`."""
    _, texts, arrays = sealed.read(path, (CHECKPOINT,), contents.check)
    try:
        bad = _not_finite(arrays)
        if bad:
            raise Damaged(f"{bad} holds NaN or infinity")
        state = _put_in(sealed.as_json(texts, "state"), arrays)
        if not isinstance(state, dict) or "about" not in state or arrays:
            raise Damaged(f"its state is not one of a training{''.join(f'; {name} is left over' for name in arrays)}")
        about = state.pop("about")
        return {"config": sealed.as_json(texts, "config")} | state, about
    except (Damaged, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: {error}") from error


def _taken_out(tree: object, place: str, arrays: dict[str, np.ndarray]) -> object:
    """The tree with names in place of its arrays, which are added to `arrays`."""
    if isinstance(tree, np.ndarray):
        if place in arrays:
            raise ValueError(f"two arrays are called {place}: a name in a state should hold no dot")
        arrays[place] = tree
        return {"array": place}
    if isinstance(tree, dict):
        return {name: _taken_out(part, f"{place}.{name}", arrays) for name, part in tree.items()}
    if isinstance(tree, list | tuple):
        return [_taken_out(part, f"{place}.{k}", arrays) for k, part in enumerate(tree)]
    if isinstance(tree, np.generic):
        return tree.item()
    if not (tree is None or isinstance(tree, str | int | float)):
        raise TypeError(f"a state should be plain data and NumPy arrays; {place} is {type(tree).__name__}")
    return tree


def _put_in(tree: object, arrays: dict[str, np.ndarray]) -> object:
    """Undoes `_taken_out`; each array is used once, and removed from `arrays`."""
    if isinstance(tree, dict):
        if tree.keys() == {"array"}:
            return arrays.pop(tree["array"])
        return {name: _put_in(part, arrays) for name, part in tree.items()}
    return [_put_in(part, arrays) for part in tree] if isinstance(tree, list) else tree


def _not_finite(arrays: dict[str, np.ndarray]) -> str | None:
    """The name of the first array with a number that is not finite."""
    return next((name for name, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()), None)
