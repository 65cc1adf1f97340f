"""Noise for some rows of a batch, as it is drawn for all of them."""

import math

import numpy as np


class SharedDraws:
    """Draws noise for the rows of a share as for a whole batch: what N ranks draw is what one draws.

    Every share begins where the batch began. A number takes one step of PCG64, so the generator jumps over those of
    other rows (O'Neill 2014, section 4.3.1), and a rank draws no more than its own; another generator draws them all.
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.begin(1)

    def begin(self, B: int) -> None:
        """A batch of B rows comes next."""
        self.B, self.rows, self.start = B, slice(0, B), self.rng.bit_generator.state

    @property
    def bit_generator(self) -> np.random.BitGenerator:
        return self.rng.bit_generator

    def of(self, first: int, end: int) -> None:
        """For these rows, from the first draw on."""
        self.rng.bit_generator.state, self.rows = self.start, slice(first, end)

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        """As that of a generator: shape (..., rows, width), or (n,), which is the same for all rows."""
        if len(shape) < 2:
            return self.rng.random(shape)
        (*outer, _, width), bits = shape, self.rng.bit_generator
        if not isinstance(bits, np.random.PCG64):
            return self.rng.random((*outer, self.B, width))[..., self.rows, :]
        drawn = np.empty((math.prod(outer), self.rows.stop - self.rows.start, width))
        for part in drawn:
            bits.advance(self.rows.start * width)
            self.rng.random(out=part)
            bits.advance((self.B - self.rows.stop) * width)
        return drawn.reshape(*outer, *drawn.shape[1:])
