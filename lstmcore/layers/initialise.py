"""How weights start: drawn in float64 and then rounded, so that every dtype starts from the same numbers."""

import numpy as np

Seed = int | np.random.Generator | None


class _Zeros(np.random.Generator):
    """Gives zeros in place of random numbers, in no time."""

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:  # type: ignore[override]
        return np.zeros(size)

    def standard_normal(self, size: int) -> np.ndarray:  # type: ignore[override]
        return np.zeros(size)


UNFILLED = _Zeros(np.random.PCG64(0))  # the seed of a layer whose weights come from a file


def generator(seed: Seed) -> np.random.Generator:
    """None: fresh; an int: repeatable; a Generator: shared, and moved on.

    Raises TypeError for anything else (a bool, a float, a string).
    """
    if isinstance(seed, bool) or not (seed is None or isinstance(seed, int | np.integer | np.random.Generator)):
        raise TypeError(f"`seed` should be None, an int or a numpy.random.Generator; got {seed!r}")
    return np.random.default_rng(seed)


def glorot_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """(n_in, n_out), uniform in +-sqrt(6 / (n_in + n_out)) (Glorot & Bengio 2010, equation 16)."""
    limit = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-limit, limit, (n_in, n_out))


def orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, n), uniform over the orthogonal matrices (Saxe et al. 2014): keeps the norm of what it multiplies."""
    if rng is UNFILLED:
        return np.zeros((n, n))
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))  # without the signs the distribution is not uniform (Mezzadri 2007)
