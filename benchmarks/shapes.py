"""The shapes that are timed, by name; tests take them from here too."""

from typing import NamedTuple


class Shape(NamedTuple):
    """One layer and one batch. `lengths` (shortest, longest): rows of unequal length, evenly spread between the two."""

    T: int
    B: int
    I: int
    H: int
    lengths: tuple[int, int] | None = None

    def __str__(self) -> str:
        spread = "" if self.lengths is None else f", lengths {self.lengths[0]} to {self.lengths[1]}"
        return f"({self.T}, {self.B}, {self.I}, {self.H}{spread})"


# What people train: counting bits, closed loops of letters, characters, words, a stream of one row.
NAMED = {
    "count": Shape(20, 1000, 1, 24),
    "count8": Shape(20, 8, 1, 24),
    "loop64": Shape(31, 200, 128, 64),
    "char128": Shape(50, 50, 65, 128),
    "loop256": Shape(31, 200, 21, 256),
    "char512": Shape(100, 64, 128, 512),
    "ptb650": Shape(35, 20, 650, 650),
    "stream": Shape(128, 1, 64, 64),
}

# The same batch with and without padding: how much of the time do rows of half the length take?
PADDED = {
    "peptide": Shape(31, 200, 21, 64),
    "peptide-5-31": Shape(31, 200, 21, 64, (5, 31)),
    "peptide-half": Shape(31, 200, 21, 64, (1, 30)),
    "loop64-half": Shape(31, 200, 128, 64, (1, 30)),
}

# One axis at a time, the others as they are in most small models.
SWEEPS = {
    "T": {f"T{T}": Shape(T, 32, 64, 64) for T in (1, 4, 16, 64, 256)},
    "B": {f"B{B}": Shape(32, B, 64, 64) for B in (1, 4, 16, 64, 256, 1024)},
    "H": {f"H{H}": Shape(32, 32, 64, H) for H in (8, 24, 64, 100, 256, 512, 1024)},
}

# Models in service: few rows, often one step at a time.
SERVED = {
    f"served-{T}-{B}-{H}": Shape(T, B, I, H)
    for H, I in ((64, 32), (256, 64), (512, 128), (1024, 256))
    for B in (1, 4, 32)
    for T in (1, 35, 50, 128)
}

# Where products are all that counts: in bfloat16, beside torch's autocast.
WIDE = {name: NAMED[name] for name in ("loop256", "char512", "ptb650")} | {"wide512": Shape(50, 64, 128, 512)}

TINY = Shape(2, 2, 2, 2)  # to get started with; not timed

SHAPES = NAMED | PADDED | SWEEPS["T"] | SWEEPS["B"] | SWEEPS["H"]
GROUPS = {"named": NAMED, "padded": PADDED, "served": SERVED, "bf16": WIDE} | {
    f"sweep-{axis}": shapes for axis, shapes in SWEEPS.items()
}


def choose(text: str) -> dict[str, Shape]:
    """Shapes by a list of names and groups: "count,loop64", "named,sweep-H", "all". ValueError for an unknown name."""
    chosen: dict[str, Shape] = {}
    for name in text.split(","):
        if name == "all":
            chosen |= SHAPES
        elif name in GROUPS:
            chosen |= GROUPS[name]
        elif name in SHAPES | SERVED | WIDE:
            chosen[name] = (SHAPES | SERVED | WIDE)[name]
        else:
            raise ValueError(f"`shapes` should name some of {', '.join([*GROUPS, *SHAPES])}, or be all; got {name!r}")
    return chosen


def gigaflops(shape: Shape, mode: str, steps: int) -> float:
    """The products that the layer must do over `steps` real steps of all rows, in 10^9 multiplications and additions.

    Forward: x W_ih and h W_hh. Backward: dx, dh, dW_ih, dW_hh, twice as many. The gates, and in the training step the
    head and the update, are not counted.
    """
    forward = 2 * steps * 4 * shape.H * (shape.I + shape.H) / 1e9
    return forward if mode == "forward" else 3 * forward
