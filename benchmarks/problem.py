"""One problem to be solved by everybody: a shape filled with numbers. NumPy arrays, as lstmcore lays them out."""

from typing import NamedTuple

import numpy as np

from benchmarks.shapes import Shape

CLASSES = 21
MODES = ("forward", "full", "train")


class Recipe(NamedTuple):
    """A training step: cross-entropy of a linear head on each row's last output, then clipping, then Adam."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    clip: float | None = None  # on the global norm of all gradients


# Checked: the weights after three updates. With eps = 1e-8 Adam moves a weight by the sign of its gradient, which
# rounding decides where the gradient is almost zero; with 1e-3 the update is a smooth function of it. The limit is
# below every norm here, and with such an eps the size of the gradient matters: a missing clip shows.
CHECKED = Recipe(lr=1e-2, eps=1e-3, clip=0.05)
UPDATES = 3
# Timed: the same work, with weights that hardly move, so that the last update costs what the first does.
TIMED = CHECKED._replace(lr=1e-7)


class Batch(NamedTuple):
    x: np.ndarray  # (T, B, I)
    targets: np.ndarray  # (B,) int64 in [0, CLASSES)
    lengths: np.ndarray | None = None  # (B,) int64; None: all T

    def mask(self) -> np.ndarray | None:
        """(T, B) bool, true on real steps."""
        return None if self.lengths is None else np.arange(len(self.x))[:, None] < self.lengths

    def steps(self) -> int:
        """Real steps of all rows."""
        return self.x.shape[0] * self.x.shape[1] if self.lengths is None else int(self.lengths.sum())


class Problem(NamedTuple):
    batch: Batch
    dy: np.ndarray  # (T, B, H): the gradient that reaches the outputs, zero at padding
    params: dict[str, np.ndarray]  # W_ih (I, 4H), W_hh (H, 4H), b (4H,), blocks i f g o
    head: dict[str, np.ndarray]  # W (H, CLASSES), b (CLASSES,)

    def astype(self, dtype: str) -> "Problem":
        """The same numbers in another dtype."""
        batch = self.batch._replace(x=self.batch.x.astype(dtype))
        params, head = ({k: v.astype(dtype) for k, v in d.items()} for d in (self.params, self.head))
        return Problem(batch, self.dy.astype(dtype), params, head)

    def rounded(self) -> "Problem":
        """In float32, x, dy and weights rounded to the 8 bits of bfloat16."""

        def near(a: np.ndarray) -> np.ndarray:
            mantissa, exponent = np.frexp(a.astype("float32"))  # 0.5 <= |mantissa| < 1
            return np.ldexp(np.rint(mantissa * 256) / 256, exponent)

        params, head = ({k: near(v) for k, v in d.items()} for d in (self.params, self.head))
        return Problem(self.batch._replace(x=near(self.batch.x)), near(self.dy), params, head)


def make(shape: Shape, dtype: str = "float32", seed: int = 0) -> Problem:
    """Random numbers that keep the gates in their soft range; the initial state is zero. The same for the same seed."""
    T, B, I, H, spread = shape
    rng = np.random.default_rng(seed)
    lengths = None if spread is None else rng.permutation(np.linspace(*spread, B).round().astype(np.int64))

    def normal(*size: int, scale: float = 1.0) -> np.ndarray:
        return rng.normal(size=size, scale=scale).astype(np.float32).astype(dtype)  # float32 values in either dtype

    batch = Batch(normal(T, B, I), rng.integers(CLASSES, size=B), lengths)
    dy, mask = normal(T, B, H), batch.mask()
    if mask is not None:
        dy[~mask] = 0
    params = {"W_ih": normal(I, 4 * H, scale=I**-0.5), "W_hh": normal(H, 4 * H, scale=H**-0.5), "b": normal(4 * H)}
    return Problem(batch, dy, params, {"W": normal(H, CLASSES, scale=H**-0.5), "b": normal(CLASSES)})


class Piece(NamedTuple):
    """What one update of a character model reads: the next characters of every strand of a text."""

    x: np.ndarray  # (T, B) int64 classes
    targets: np.ndarray  # (T, B) int64, the characters that follow
    first: bool  # the state starts at zero; else where the piece before ended


class Text(NamedTuple):
    """A character model at its start, and how it is trained: embedding, LSTM, dropout, linear layer; softmax
    cross-entropy, clipping, AdamW."""

    params: dict[str, np.ndarray]  # "0.W" (V, E), "1.W_ih" (E, 4H), "1.W_hh", "1.b", "3.W" (H, V), "3.b"
    rates: np.ndarray  # (updates,) the learning rate of each
    dropout: float  # of the LSTM's outputs
    seed: int  # of the dropout
    beta2: float = 0.99
    weight_decay: float = 0.01
    clip: float = 1.0
