"""The golden pack: recurrent layers with everything that goes in and everything that must come out (docs/pack.md).

pack.json          the index: one case on each line, its configuration and its tolerances
pack.safetensors   the arrays, float64, each under "case/array"
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lstmcore.arrays import Plain

FORMAT, VERSION = "lstmcore pack", 1
HERE = Path(__file__).parent / "pack.json"
RESULTS = ("y", "state", "dx", "dstate0", "dweights")  # what an engine has to give; the first two are outputs


@dataclass(frozen=True)
class Golden:
    """One case. Its arrays go by the names of the file: "x", "weights/0.fw.W_ih", "dstate0/0.bw.c", ..."""

    name: str
    cell: str  # "lstm", "gru" or "rnn"
    options: Plain  # of the cell, in lstmcore's words: {"peepholes": True}
    direction: str  # "forward", "reverse" or "bidirectional"
    layers: int
    topology: str  # of bidirectional layers in a stack: "interleaved" or "towers"
    T: int
    B: int
    I: int
    H: int
    lengths: list[int] | None  # of each row, where they tell the mask
    features: list[str]  # what it has that the plain case lacks
    twins: dict[str, str]  # feature -> the name of the same case without it
    tolerance: dict[str, dict[str, float]]  # dtype -> group of results -> the largest error that rounding explains
    padding: str = "numbers"  # or "nan": what stands at masked steps of x and dy
    ambiguous: dict[str, str] = field(default_factory=dict)  # group -> what the standards leave open about it
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def x(self) -> np.ndarray:
        """(T, B, I)."""
        return self.arrays["x"]

    @property
    def mask(self) -> np.ndarray | None:
        """(T, B) bool, true on real steps; None if all are real."""
        return self.arrays.get("mask")

    @property
    def dy(self) -> np.ndarray | None:
        """The gradient of y, (T, B, width of y); None if the loss is one of the final state alone."""
        return self.arrays.get("dy")

    @property
    def width(self) -> int:
        """Of h: H, or what it is projected to."""
        return self.options.get("proj_size") or self.H

    @property
    def states(self) -> tuple[str, ...]:
        return ("h", "c") if self.cell == "lstm" else ("h",)

    @property
    def places(self) -> list[str]:
        """Of every layer and direction, in that order: "0.fw", "0.bw", "1.fw", ...; "bw" is the second of two."""
        directions = ("fw", "bw") if self.direction == "bidirectional" else ("fw",)
        return [f"{layer}.{way}" for layer in range(self.layers) for way in directions]

    def part(self, group: str, place: str = "") -> dict[str, np.ndarray]:
        """The arrays of a group ("weights", "state0", "dstate", "state", "dstate0", "dweights"), names without it.

        place: only those of "0.fw" say, their names without that too. Empty where the case gives none: zeros are meant.
        """
        before = f"{group}/{place}." if place else f"{group}/"
        return {name[len(before) :]: a for name, a in self.arrays.items() if name.startswith(before)}

    @cached_property
    def results(self) -> dict[str, np.ndarray]:
        """What an engine has to give."""
        return {name: a for name, a in self.arrays.items() if name.split("/")[0] in RESULTS}


def read_pack(index: Path = HERE) -> dict[str, Golden]:
    """The cases by name, in the order of the file. Raises ValueError for what is no pack of this version."""
    from safetensors.numpy import load_file

    with open(index, encoding="utf-8") as file:
        told = json.load(file)
    if (told.get("format"), told.get("version")) != (FORMAT, VERSION):
        raise ValueError(
            f"{index} should be a {FORMAT!r} of version {VERSION}; got {told.get('format')!r}, {told.get('version')!r}"
        )
    arrays: Mapping[str, np.ndarray] = load_file(index.parent / told["arrays"])
    by_case: dict[str, dict[str, np.ndarray]] = {}
    for key in sorted(arrays):
        case, _, name = key.partition("/")
        by_case.setdefault(case, {})[name] = arrays[key]
        arrays[key].flags.writeable = False
    return {case["name"]: Golden(**case, arrays=by_case[case["name"]]) for case in told["cases"]}
