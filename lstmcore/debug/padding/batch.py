"""Somebody's function on one padded batch: run as it is, poisoned, row by row, and with more padding."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from lstmcore.arrays import Array, dtype_name, to_numpy
from lstmcore.debug.step.rounding import CONFIDENCE

Results = Mapping[str, Array | None]
Function = Callable[..., Results]  # f(x, mask, dy) -> {"y": (T, B, .) or (B, .), "dx": ..., any gradients, "loss": ...}
EXTRA = 3  # steps of padding that `extended` appends


class PaddedBatch:
    """One function on one batch."""

    function: Function
    x: np.ndarray  # (T, B, ...)
    mask: np.ndarray  # (T, B) bool
    dy: np.ndarray | None
    rng: np.random.Generator

    def __init__(
        self, function: Function, x: np.ndarray, mask: np.ndarray, dy: np.ndarray | None, rng: np.random.Generator
    ):
        self.function, self.x, self.mask, self.dy, self.rng = function, x, mask, dy, rng
        self.T, self.B = mask.shape
        self.clean: dict[str, np.ndarray] = self.run(x, mask, dy)
        if "y" not in self.clean:
            raise ValueError(f"`layer` should return a result named 'y'; got {', '.join(self.clean) or 'nothing'}")
        self.timed: bool = self.clean["y"].ndim > 2
        self.wrong: np.ndarray = np.zeros(mask.shape, bool)  # filled in by the rules
        self.allowed: dict[str, np.ndarray] = self._allowed()

    def run(
        self, x: np.ndarray, mask: np.ndarray, dy: np.ndarray | None, rows: slice | None = None
    ) -> dict[str, np.ndarray]:
        """The function's results as arrays of its own; what it does not know how to warn of is ignored."""
        extra = {"rows": rows} if rows is not None and hasattr(self.function, "takes_rows") else {}
        with np.errstate(all="ignore"):
            results = self.function(x.copy(), mask.copy(), None if dy is None else dy.copy(), **extra)
        return {name: np.array(to_numpy(value)) for name, value in results.items() if value is not None}

    def alone(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Each row with a real step, by itself and cut down to its real steps."""
        for b in range(self.B):
            steps = np.flatnonzero(self.mask[:, b])
            rows = slice(b, b + 1)
            if len(steps):
                yield b, self.run(self.x[steps, rows], np.ones((len(steps), 1), bool), self.dy_of(steps, rows), rows)
            elif not self.timed and "loss" not in self.clean:  # a head over final states sees this row too
                yield b, self.run(self.x[:, rows], self.mask[:, rows], self.dy_of(slice(None), rows), rows)

    def extended(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        more = [np.concatenate([a, np.zeros((EXTRA, *a.shape[1:]), a.dtype)]) for a in (self.x, self.mask)]
        dy = self.dy
        if dy is not None and self.dy_by_step():
            dy = np.concatenate([dy, np.zeros((EXTRA, *dy.shape[1:]), dy.dtype)])
        return more[0], more[1], dy

    def dy_by_step(self) -> bool:
        """True for upstream gradients or targets over (T, B) or (T, B, ...)."""
        return self.dy is not None and self.dy.shape[:2] == self.mask.shape and (self.timed or self.dy.ndim > 2)

    def dy_of(self, steps: np.ndarray | slice, rows: slice) -> np.ndarray | None:
        return None if self.dy is None else self.dy[steps, rows] if self.dy_by_step() else self.dy[rows]

    def filled(self, array: np.ndarray, value: float) -> np.ndarray:
        """A copy with `value` in the padding; indices get one far out of range, arrays without time stay."""
        array = array.copy()
        if array.shape[:2] == self.mask.shape:
            array[~self.mask] = value if array.dtype.kind == "f" else 0 if value == 0 else -12345
        return array

    def _allowed(self) -> dict[str, np.ndarray]:
        """Per result: what one unit of rounding in every number changes, times what n-term sums allow."""
        dy = self.dy
        moved = [
            self.run(self._jostled(self.x), self.mask, None if dy is None else self._jostled(dy)) for _ in range(4)
        ]
        terms = self.T * self.B + self.x.shape[-1] + self.clean["y"].shape[-1]
        allowed = {}
        for name, value in self.clean.items():
            spread = max(float(np.max(abs(other[name] - value), initial=0)) for other in moved)
            eps = float(np.finfo(dtype_name(value.dtype)).eps) if value.dtype.kind == "f" else 0.0
            size = eps * float(np.max(abs(value), initial=0))
            allowed[name] = np.full(value.shape, CONFIDENCE * np.sqrt(terms) * (spread + size))
        return allowed

    def _jostled(self, array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        return array * (1 + np.finfo(array.dtype).eps * self.rng.choice([-1.0, 1.0], array.shape)).astype(array.dtype)

    def by_step(self, name: str) -> bool:
        """True for results over (T, B, ...)."""
        return name in ("y", "dx") and self.clean[name].shape[:2] == self.mask.shape and self.clean[name].ndim > 2

    def per_row(self, name: str) -> bool:
        return name in ("y", "dx") or "state" in name

    def places(self, where: np.ndarray) -> str:
        if where.shape[:2] == self.mask.shape and where.ndim > 2:
            bad = at_places(where)
            return f"at {(bad & self.mask).sum()} real and {(bad & ~self.mask).sum()} padded steps"
        return f"in {where.sum()} of {where.size} numbers"


def at_places(where: np.ndarray) -> np.ndarray:
    """The first two axes: where any number of what stands there is meant."""
    return np.any(where, axis=tuple(range(2, where.ndim)))
