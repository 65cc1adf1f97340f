"""What a recorder hands on."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]


class Found(NamedTuple):
    """One step of training, under the program's own names."""

    weights: Arrays
    grads: Arrays  # by the names of the weights; and "x", "h0", "c0"
    x: np.ndarray | None
    dy: np.ndarray | None
    y: np.ndarray | None
    state: Arrays  # "h0", "c0", (B, H)
    dstate: Arrays
    said: tuple[str, ...]  # in words: what was taken for what, and what was not used
    own: Callable[[], str]  # whether the gradients are those of the program's own forward, in words
    added: tuple[str, ...] = ()  # the weights whose gradients each call back gave anew, added up here


def table(found: list[tuple[str, str, np.ndarray | None]], unused: list[str]) -> tuple[str, ...]:
    """Lines that say what was taken for what: (what, where it was found, the array)."""
    lines = [f"{what:<8} {where} {a.shape}" if a is not None else f"{what:<8} not found" for what, where, a in found]
    return (*lines, *([f"not used: {', '.join(unused)}"] if unused else []))
