"""What a call gives the kernels of loop.py, in their order."""

from typing import NamedTuple

import numpy as np


class ForwardArguments(NamedTuple):
    """Of the forward kernel."""

    x: np.ndarray
    mask: np.ndarray
    state0: tuple[np.ndarray, ...]
    states: np.ndarray
    gates: np.ndarray
    y: np.ndarray
    x_kept: np.ndarray
    clean: np.ndarray
    W_ih: np.ndarray
    W_hh: np.ndarray
    bias: np.ndarray
    packed: np.ndarray
    groups: np.ndarray
    panels: np.ndarray
    unpacked: int
    joined: bool
    edges: np.ndarray
    parts: int
    chunk: int
    counters: np.ndarray


class BackwardArguments(NamedTuple):
    """Of the backward kernel."""

    x: np.ndarray
    mask: np.ndarray
    dy: np.ndarray
    states: np.ndarray
    gates: np.ndarray
    W_ih: np.ndarray
    W_hh: np.ndarray
    packed: np.ndarray
    dstate: tuple[np.ndarray, ...]
    dstate0: np.ndarray
    dx: np.ndarray
    sums: np.ndarray
    shared: np.ndarray
    edges: np.ndarray
    parts: int
    unit_panels: int
    input_panels: int
    chunk: int
    counters: np.ndarray
