"""How much sooner many cores are done, by a model of the cut that plan.py makes: `python -m benchmarks.cores`.

What it takes for known was measured on two cores; docs/cpu.md says how well it meets what can be measured there.
"""

from typing import NamedTuple

from benchmarks.shapes import NAMED, Shape
from lstmcore.ops.cells import lstm
from lstmcore.ops.recurrence.cpu.plan import cut

RATE = 80e9  # operations a second of one core, over whole passes: products, and gate functions in between
FETCH = 5e9  # bytes a second that a core gets from the caches of others
COPY = 10e9  # bytes a second that a core copies
MEMORY = 100e9  # bytes a second for all cores
MEETING = 0.1e-6  # seconds of a meeting for each of those who meet
CALL = 30e-6  # seconds around a kernel, in Python
LANES, SIZE = 16, 4  # float32 with AVX-512

CORES = (1, 2, 4, 8, 16, 64)
SHAPES = [NAMED["char128"], Shape(50, 128, 256, 256), NAMED["loop256"], Shape(50, 256, 256, 256), NAMED["loop64"]]
SHAPES += [NAMED["char512"], NAMED["ptb650"]]


class Estimate(NamedTuple):
    tiles: int
    parts: int
    seconds: float  # of a forward and a backward pass


def estimate(shape: Shape, cores: int) -> Estimate:
    """Of an LSTM without a mask, on as many threads as cores, which have nothing else to do."""
    T, B, I, H, _ = shape
    tiles, parts, _ = cut(lstm, T, B, I, H, LANES, SIZE, False, cores)
    K, S, rows = len(lstm.gates), len(lstm.states), -(-B // tiles)
    tasks = min(tiles * parts, cores)  # that run at the same time
    turns = -(-tiles * parts // cores)
    vectors = -(-H // LANES)
    share = -(-vectors // parts) / vectors  # of the largest part
    others = 1 - share  # what a part fetches from the others, and gathers although they do as well
    weights = K * H * (I + H)
    forward = 2 * rows * weights / RATE * share + rows * I * SIZE / COPY * others + rows * H * SIZE / FETCH * others
    backward = 4 * rows * weights / RATE * share
    backward += rows * (I + 1 + H) * SIZE / COPY * others + rows * K * H * SIZE / FETCH * others
    meetings = 2 * parts * MEETING if parts > 1 else 0
    alone = 2 * CALL + (3 * (tiles - 1) + 2) * (weights + K * H) * SIZE / COPY  # one thread adds the tiles' gradients
    packing = 2 * 2 * weights * SIZE / COPY / tasks
    moved = T * B * (3 * I + (2 * (K + S) + 1) * H) * SIZE / MEMORY  # x, dx, gates, states, dy
    return Estimate(tiles, parts, alone + packing + max(turns * T * (forward + backward + meetings), moved))


def table() -> str:
    """For docs/cpu.md: tiles x parts, and how many times as fast as one core."""
    lines = ["| shape (T, B, I, H) | " + " | ".join(f"{cores} cores" for cores in CORES[1:]) + " |"]
    lines.append("|---|" + "---|" * len(CORES[1:]))
    for shape in SHAPES:
        one, *more = [estimate(shape, cores) for cores in CORES]
        cells = [f"{tiles} x {parts}: {one.seconds / seconds:.1f}" for tiles, parts, seconds in more]
        lines.append(f"| {shape} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
